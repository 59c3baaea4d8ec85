/**
 * The first page: what is recommended to this shopper, what is popular, and the categories.
 */

import { shelf } from "../components/shelf.js";
import { h } from "../dom.js";
import { counted } from "../formats.js";
import { categoryTiles } from "./categories.js";

/** {title, node, start(), react(event)}. */
export function homeView(shop) {
  const { shopper } = shop.store;
  const known = () => shopper.events > 0 || shop.store.seen().length > 0;
  const forYou = shelf(shop, {
    title: "Recommended for you",
    count: 12,
    memory: ["first page", "latest"],
    ask: () => shop.recommend({ page: "homepage" }, 12),
    note: (answer) => (answer.fallback ? "The model could not answer; these are the next best." : known() ? "Chosen from what you viewed, added and bought." : "You are new here, so these are what others like. Open one."),
    none: "Nothing to recommend yet.",
  });
  const popular = shelf(shop, {
    title: "Popular",
    count: 6,
    ask: () => shop.api.popular(null, 6),
    note: () => "What everybody is buying.",
    none: "Nothing is popular yet.",
  });
  const greeting = () => {
    if (!shopper.fresh) return "Welcome back";
    return shop.store.seen().length > 0 ? "Welcome. The shop is getting to know you." : "Welcome. Nothing is known of you yet.";
  };
  const line = shopper.fresh
    ? "Open a product, or add one to the cart: the list below follows, and says why."
    : `You are shopping as “${shopper.label}”, with ${counted(shopper.events ?? 0, "event")} of history. Every view, cart and purchase changes the list below, and each card says why.`;
  const tiles = shop.catalogue.categories.slice(0, 12);
  const heading = h("h1", { text: greeting() });
  const node = h(
    "div",
    { class: "view" },
    h("div", { class: "greeting" }, heading, h("p", { text: line }), h("a", { class: "panel-jump", href: "#panel", text: "See what the model has seen", on: { click: jump } })),
    forYou.node,
    popular.node,
    tiles.length > 0 && h("section", { class: "shelf", "aria-labelledby": "tiles-title" }, h("div", { class: "shelf-head" }, h("h2", { id: "tiles-title", text: "Categories" })), categoryTiles(shop, tiles, 3)),
  );
  return {
    title: "Home",
    node,
    start: () => Promise.all([forYou.load(), popular.load()]),
    react: (event) => {
      heading.textContent = greeting();
      return forYou.load(event);
    },
  };
}

function jump(event) {
  event.preventDefault();
  const panel = document.getElementById("panel");
  panel.focus();
  panel.scrollIntoView({ block: "start" });
}
