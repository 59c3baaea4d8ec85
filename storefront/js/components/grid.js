/**
 * A list of catalogue products, so many at a time, with a choice of order, category and brand.
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
  const filters = [filter("Category", "category"), filter("Brand", "brand")];
  const ordering = h("div", { class: "field" }, h("label", { for: order.id, text: "Order" }), order);
  const bar = h("div", { class: "grid-bar" }, tally, h("div", { class: "grid-choices" }, ...filters.map(({ field }) => field), ordering));
  const node = h("div", {}, bar, list, h("div", { class: "more-row" }, more));

  /** A choice among the values that products have in `property`; hidden where there is only one. */
  function filter(label, property) {
    const select = h("select", { id: `${property}-${grids}`, class: "select", on: { change: () => draw() } });
    const field = h("div", { class: "field" }, h("label", { for: select.id, text: label }), select);
    const offer = () => {
      const before = select.value;
      const counts = new Map();
      for (const product of products) if (product[property]) counts.set(product[property], (counts.get(product[property]) ?? 0) + 1);
      const values = [...counts.keys()].sort((a, b) => a.localeCompare(b));
      const option = (value) => h("option", { value, text: `${value} (${counts.get(value)})` });
      select.replaceChildren(h("option", { value: "", text: "All" }), ...values.map(option));
      select.value = counts.has(before) ? before : "";
      field.hidden = values.length < 2;
    };
    return { field, offer, keeps: (product) => select.value === "" || product[property] === select.value };
  }

  const sorted = () => {
    const { compare } = ORDERS[order.value];
    const kept = products.filter((product) => filters.every(({ keeps }) => keeps(product)));
    return compare ? kept.sort(compare) : kept;
  };
  const draw = () => {
    const kept = sorted();
    list.replaceChildren(...kept.slice(0, shown).map((product) => productCard(shop, product, { level }).node));
    tally.textContent = kept.length === products.length ? counted(kept.length, "product") : `${kept.length} of ${counted(products.length, "product")}`;
    more.hidden = shown >= kept.length;
    bar.hidden = products.length === 0;
  };
  const grow = () => {
    const before = list.children.length;
    shown += PAGE;
    const added = sorted().slice(before, shown).map((product) => productCard(shop, product, { level }).node);
    list.append(...added);
    more.hidden = shown >= sorted().length;
    added[0]?.querySelector("a")?.focus({ preventScroll: true });
    announce(`${counted(added.length, "more product")} shown`);
  };
  const show = (found) => {
    products = found;
    shown = PAGE;
    for (const { offer } of filters) offer();
    draw();
  };
  return { node, show };
}
