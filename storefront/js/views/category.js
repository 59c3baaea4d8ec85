/**
 * One category: what of it is recommended to this shopper, and all its products.
 */

import { productGrid } from "../components/grid.js";
import { shelf } from "../components/shelf.js";
import { h } from "../dom.js";

/** {title, node, start(), react(event)}. */
export function categoryView(shop, name) {
  const products = shop.catalogue.inCategory(name);
  const forYou = shelf(shop, {
    title: `For you in ${name}`,
    count: 6,
    memory: [`for you in ${name}`],
    ask: (count) => shop.recommend({ page: "category", category: name }, count, [name]),
    hideEmpty: true,
  });
  const grid = productGrid(shop, { level: 3 });
  grid.show(products);
  const all = h("section", { class: "shelf", "aria-labelledby": "all-title" }, h("div", { class: "shelf-head" }, h("h2", { id: "all-title", text: `Everything in ${name}` })), grid.node);
  if (products.length === 0) all.append(h("p", { class: "empty", text: "No products of this category are in the catalogue." }));
  const node = h("div", { class: "view" }, h("h1", { text: name }), forYou.node, all);
  return { title: name, node, start: () => forYou.load(), react: (event) => forYou.load(event) };
}
