/**
 * A list of catalogue products, so many at a time, with a choice of order.
 */

import { announce } from "../announce.js";
import { ORDERS } from "../catalogue.js";
import { h } from "../dom.js";
import { counted } from "../formats.js";
import { productCard } from "./card.js";

const PAGE = 24;
let grids = 0;

/** `{node, show(products)}`: products in an order the shopper chooses, `PAGE` at a time. `level`: heading of a card. */
export function productGrid(shop, { level = 2 } = {}) {
  grids += 1;
  let products = [];
  let shown = PAGE;
  const list = h("ul", { class: "grid", role: "list" });
  const tally = h("p", { class: "tally" });
  const more = h("button", { type: "button", class: "button more", text: "Show more", on: { click: () => grow() } });
  const options = Object.entries(ORDERS).map(([key, { label }]) => h("option", { value: key, text: label }));
  const order = h("select", { id: `order-${grids}`, class: "select", on: { change: () => draw() } }, ...options);
  const bar = h("div", { class: "grid-bar" }, tally, h("div", { class: "field" }, h("label", { for: order.id, text: "Order" }), order));
  const node = h("div", {}, bar, list, h("div", { class: "more-row" }, more));

  const sorted = () => {
    const { compare } = ORDERS[order.value];
    return compare ? [...products].sort(compare) : products;
  };
  const draw = () => {
    const visible = sorted().slice(0, shown);
    list.replaceChildren(...visible.map((product) => productCard(shop, product, { level }).node));
    tally.textContent = counted(products.length, "product");
    more.hidden = shown >= products.length;
    bar.hidden = products.length === 0;
  };
  const grow = () => {
    const before = list.children.length;
    shown += PAGE;
    const added = sorted().slice(before, shown).map((product) => productCard(shop, product, { level }).node);
    list.append(...added);
    more.hidden = shown >= products.length;
    added[0]?.querySelector("a")?.focus({ preventScroll: true });
    announce(`${counted(added.length, "more product")} shown`);
  };
  const show = (found) => {
    products = found;
    shown = PAGE;
    draw();
  };
  return { node, show };
}
