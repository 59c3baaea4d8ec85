/**
 * Choosing who is shopping: a dialog with a new visitor, shoppers the model was trained on, and a box for any id.
 */

import { announce } from "../announce.js";
import { h } from "../dom.js";
import { counted } from "../formats.js";
import { css, hash } from "../pictures/colours.js";
import { problemNotice } from "./problem.js";

const SVG = "http://www.w3.org/2000/svg";

/** A small round sign that is always the same for the same shopper. */
export function shopperSign(id) {
  const number = hash(`${id}`);
  const svg = document.createElementNS(SVG, "svg");
  const draw = (tag, attributes) => {
    const node = document.createElementNS(SVG, tag);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    svg.append(node);
  };
  for (const [key, value] of Object.entries({ class: "sign", viewBox: "0 0 40 40", "aria-hidden": "true", focusable: "false" })) svg.setAttribute(key, value);
  const hue = number % 360;
  draw("circle", { cx: 20, cy: 20, r: 20, fill: css([0.82, 0.07, hue]) });
  draw("circle", { cx: 20, cy: 16, r: 7, fill: css([0.45, 0.09, hue + 40]) });
  draw("path", { d: "M7 35 A14 12 0 0 1 33 35 A20 20 0 0 1 7 35 Z", fill: css([0.5 + (number % 3) * 0.08, 0.12, hue + 150]) });
  return svg;
}

/** Fill the dialog and the button that opens it. `shoppers()` resolves to data/shoppers.json; `chosen()` is called after. */
export function picker(shop, { dialog, button, shoppers, chosen }) {
  const list = h("ul", { class: "people", role: "list" });
  const close = h("button", { type: "button", class: "button", text: "Close", on: { click: () => dialog.close() } });
  dialog.replaceChildren(
    h("div", { class: "picker-head" }, h("h2", { id: "picker-title", text: "Who is shopping?" }), close),
    h("p", { class: "picker-note", text: "Shoppers that the model learned from, or somebody it has never seen." }),
    anyId(),
    list,
  );
  let listed = [];
  function anyId() {
    const box = h("input", { id: "any-id", class: "text", type: "text", autocomplete: "off", spellcheck: "false", maxlength: 128, required: true });
    const take = (event) => {
      event.preventDefault();
      const id = box.value.trim();
      if (id) choose(listed.find((shopper) => `${shopper.id}` === id) ?? { id, label: `Shopper ${id}`, events: 0, last_products: [], typed: true });
      box.value = "";
    };
    return h("form", { class: "any-id", on: { submit: take } }, h("label", { for: "any-id", text: "Id of any shopper" }), box, h("button", { type: "submit", class: "button", text: "Shop as this id" }));
  }
  const choose = (shopper) => {
    shop.store.shopAs(shopper);
    dialog.close();
    announce(`Shopping as ${shop.store.shopper.label}`);
    chosen();
  };
  const person = (shopper) => {
    const now = shopper ? shop.store.shopper.id === shopper.id : false;
    const facts = shopper ? describe(shopper) : "A fresh id, no history. One view is enough for a personal list.";
    return h(
      "li",
      {},
      h(
        "button",
        { type: "button", class: "person", "aria-current": now ? "true" : null, on: { click: () => choose(shopper) } },
        shopperSign(shopper?.id ?? "new visitor"),
        h("span", { class: "person-text" }, h("span", { class: "person-name", text: shopper?.label ?? "New visitor" }), h("span", { class: "person-facts", text: facts })),
      ),
    );
  };
  let fills = 0;
  const fill = async () => {
    const mine = ++fills; // opened again before the shoppers are here, the dialog is filled once, by the newest
    list.replaceChildren(person(null));
    let rows;
    try {
      listed = (await shoppers()).shoppers ?? [];
      rows = listed.map((shopper) => person({ ...shopper, id: `${shopper.id}` }));
    } catch (problem) {
      rows = [h("li", {}, problemNotice(problem, fill))];
    }
    if (mine === fills) list.append(...rows);
  };
  button.addEventListener("click", async () => {
    const filled = fill();
    dialog.showModal();
    await filled;
    list.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest" });
  });
  button.disabled = false;
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
}

function describe(shopper) {
  const last = (shopper.last_products ?? []).filter(Boolean).slice(0, 2);
  return [shopper.id, counted(shopper.events ?? 0, "event"), last.length > 0 && `last: ${last.join(", ")}`].filter(Boolean).join(" · ");
}
