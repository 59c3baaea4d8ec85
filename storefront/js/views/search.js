/**
 * What was found for a search, and what to do when nothing was.
 */

import { announce } from "../announce.js";
import { productGrid } from "../components/grid.js";
import { h } from "../dom.js";
import { counted } from "../formats.js";
import { to } from "../router.js";
import { categoryTiles } from "./categories.js";

function noteOf(corrected, partly) {
  const mended = corrected ? `Nothing is spelled like that: these are for “${corrected}”.` : "";
  return [mended, partly ? "No product has all of these words. These have some of them." : ""].filter(Boolean).join(" ");
}

/** {title, node, start(), react(), update(question)}: `update` shows another question's products in place. */
export function searchView(shop, question) {
  const heading = h("h1", {});
  const grid = productGrid(shop, { level: 2 });
  const nothing = h("div", { class: "nothing" });
  const suggested = h("ul", { class: "suggested", role: "list", "aria-label": "Suggestions", hidden: true });
  const note = h("p", { class: "empty", hidden: true });
  const node = h("div", { class: "view" }, h("div", { class: "greeting" }, heading, note, suggested), grid.node, nothing);
  const update = (asked) => {
    const words = asked.trim();
    const { found, corrected, partly } = shop.catalogue.search(asked);
    heading.textContent = words ? `${counted(partly ? 0 : found.length, "result")} for “${words}”` : "Search";
    note.textContent = noteOf(corrected, partly);
    note.hidden = note.textContent === "";
    const { categories, brands } = shop.catalogue.suggest(corrected ?? asked);
    const suggestion = (text, href) => h("li", {}, h("a", { class: "button", href, text }));
    suggested.replaceChildren(...categories.map((name) => suggestion(`All of ${name}`, to.category(name))), ...brands.map((name) => suggestion(`Brand ${name}`, to.search(name))));
    suggested.hidden = suggested.children.length === 0;
    grid.show(found);
    nothing.replaceChildren();
    if (found.length === 0) {
      const advice = words ? "No product has any of these words. Try others, or look through the categories." : "Type a name, a brand or a category.";
      nothing.append(h("p", { class: "empty", text: advice }), categoryTiles(shop, shop.catalogue.categories.slice(0, 12), 2));
    }
    if (words) announce(heading.textContent);
    return heading.textContent;
  };
  const title = update(question);
  return { title, node, update, start: () => undefined, react: () => undefined };
}
