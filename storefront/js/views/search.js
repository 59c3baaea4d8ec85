/**
 * What was found for a search, and what to do when nothing was.
 */

import { announce } from "../announce.js";
import { productGrid } from "../components/grid.js";
import { h } from "../dom.js";
import { counted } from "../formats.js";
import { categoryTiles } from "./categories.js";

/** {title, node, start(), react(), update(question)}: `update` shows another question's products in place. */
export function searchView(shop, question) {
  const heading = h("h1", {});
  const grid = productGrid(shop, { level: 2 });
  const nothing = h("div", { class: "nothing" });
  const node = h("div", { class: "view" }, heading, grid.node, nothing);
  const update = (asked) => {
    const found = shop.catalogue.search(asked);
    const words = asked.trim();
    heading.textContent = words ? `${counted(found.length, "result")} for “${words}”` : "Search";
    grid.show(found);
    nothing.replaceChildren();
    if (found.length === 0) {
      const advice = words ? "No product has all of these words. Try fewer or shorter ones, or look through the categories." : "Type a name, a brand or a category.";
      nothing.append(h("p", { class: "empty", text: advice }), categoryTiles(shop, shop.catalogue.categories.slice(0, 12), 2));
    }
    if (words) announce(heading.textContent);
    return heading.textContent;
  };
  const title = update(question);
  return { title, node, update, start: () => undefined, react: () => undefined };
}
