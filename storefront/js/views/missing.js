/**
 * The page for an address that leads nowhere.
 */

import { h } from "../dom.js";
import { to } from "../router.js";

/** {title, node, start(), react()}. */
export function missingView() {
  const node = h("div", { class: "view" }, h("h1", { text: "There is nothing here" }), h("p", { text: "The address may be mistyped, or old." }), h("a", { class: "button", href: to.home(), text: "Back to the shop" }));
  return { title: "Nothing here", node, start: () => undefined, react: () => undefined };
}
