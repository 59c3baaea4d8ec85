/**
 * The page for an address that leads nowhere.
 */

import { h } from "../dom.js";
import { to } from "../router.js";

/** The content of a product's page where neither page nor service knows the product. */
export function noProduct(id) {
  return [
    h("h1", { text: "There is no such product" }),
    h("p", { text: `The shop has no product “${id}”. It may have been removed, or the address is mistyped.` }),
    h("a", { class: "button missing-way", href: to.home(), text: "Back to the shop" }),
  ];
}

/** {title, node, start(), react()}. */
export function missingView() {
  const node = h("div", { class: "view" }, h("h1", { text: "There is nothing here" }), h("p", { text: "The address may be mistyped, or old." }), h("a", { class: "button missing-way", href: to.home(), text: "Back to the shop" }));
  return { title: "Nothing here", node, start: () => undefined, react: () => undefined };
}
