/**
 * The first page: what is recommended to this shopper, what is popular, and the categories.
 */

import { fillRows } from "../components/rows.js";
import { shelf } from "../components/shelf.js";
import { h } from "../dom.js";
import { counted } from "../formats.js";
import { categoryTiles } from "./categories.js";

/** Products of the first list, which the second does not repeat. */
const FIRST = 12;
/** How long the second list waits for the first. */
const PATIENCE_MS = 2_000;

/**
 * What `answer` resolves to, but not before the first list has its own or a short time is over. `first()` is asked when
 * the answer is there: after an outage both lists are asked for again at once, in any order.
 */
export async function afterFirst(first, answer) {
  const patience = new Promise((resolve) => setTimeout(resolve, PATIENCE_MS));
  const found = await answer;
  await Promise.race([first(), patience]);
  return found;
}

/** {title, node, start(), react(event)}. */
export function homeView(shop) {
  const { shopper } = shop.store;
  let first = Promise.resolve();
  const known = () => shopper.events > 0 || shop.store.seen().length > 0;
  const forYou = shelf(shop, {
    title: "Recommended for you",
    count: FIRST,
    memory: ["first page", "latest"],
    ask: (count) => {
      const asked = shop.recommend({ page: "homepage" }, count);
      first = asked.catch(() => {});
      return asked;
    },
    note: (answer) => (answer.fallback ? "The model could not answer; these are the next best." : known() ? "Chosen from what you viewed, added and bought." : "You are new here, so these are what others like. Open one."),
    none: "Nothing to recommend yet.",
  });
  const popular = shelf(shop, {
    title: "Popular",
    count: 6,
    without: () => forYou.ids(),
    ask: (count) => afterFirst(() => first, shop.api.popular(null, count + FIRST)),
    note: () => "What everybody is buying.",
    none: "Nothing is popular yet.",
  });
  const greeting = () => {
    if (!shopper.fresh) return "Welcome back";
    return shop.store.seen().length > 0 ? "Welcome. The shop is getting to know you." : "Welcome. Nothing is known of you yet.";
  };
  const line = shopper.fresh
    ? "Open a product, or add one to the cart: the list below is asked for again, and each card says why it is there."
    : `You are shopping as “${shopper.label}”${shopper.events ? `, with ${counted(shopper.events, "event")} of history` : ""}. After every view, cart and purchase the list below is asked for again, and each card says why it is there.`;
  const listed = shop.catalogue.categories.slice(0, 12);
  const tiles = listed.length > 0 && categoryTiles(shop, listed, 3);
  if (tiles) new ResizeObserver(() => fillRows(tiles)).observe(tiles);
  const heading = h("h1", { text: greeting() });
  const node = h(
    "div",
    { class: "view" },
    h("div", { class: "greeting" }, heading, h("p", { text: line }), h("a", { class: "panel-jump", href: "#panel", text: "See what the model has seen", on: { click: jump } })),
    forYou.node,
    popular.node,
    tiles && h("section", { class: "shelf", "aria-labelledby": "tiles-title" }, h("div", { class: "shelf-head" }, h("h2", { id: "tiles-title", text: "Categories" })), tiles),
  );
  return {
    title: "Home",
    node,
    start: () => {
      return Promise.all([forYou.load(), popular.load()]);
    },
    react: (event) => {
      heading.textContent = greeting();
      return Promise.all([forYou.load(event), popular.load()]);
    },
  };
}

function jump(event) {
  event.preventDefault();
  const panel = document.getElementById("panel");
  panel.focus();
  panel.scrollIntoView({ block: "start" });
}
