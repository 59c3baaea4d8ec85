/**
 * The cart: its lines, its total, buying, and what goes with it.
 */

import { announce } from "../announce.js";
import { nameOf } from "../catalogue.js";
import { shelf } from "../components/shelf.js";
import { focusOn, h, icon } from "../dom.js";
import { counted } from "../formats.js";
import { picture } from "../pictures/picture.js";
import { to } from "../router.js";

/** {title, node, start(), react(event)}. */
export function cartView(shop) {
  const lines = h("div", { class: "cart" });
  const heading = h("h1", { text: "Your cart" });
  const beside = () => shop.store.cart().slice(-50).map((line) => line.id);
  const forYou = shelf(shop, {
    title: "Recommended for you",
    count: 6,
    memory: ["with the cart"],
    ask: (count) => shop.recommend({ page: "cart", product_ids: beside() }, count),
    note: () => "Goes with what is in the cart and with what you like.",
    none: "Nothing to recommend yet.",
  });
  const done = (bought) => {
    const thanks = h("div", { class: "thanks" }, h("h2", { text: "Thank you" }), h("p", { text: `${counted(bought, "item")} bought. This is a demonstration: nothing is charged.` }), h("a", { class: "button", href: to.home(), text: "Back to the shop" }));
    lines.replaceChildren(thanks);
    focusOn(thanks.querySelector("h2"));
    announce("Bought. Thank you.");
  };
  const buy = () => {
    const cart = shop.store.cart();
    const bought = cart.reduce((sum, line) => sum + line.quantity, 0);
    const interactions = cart.map(({ id, quantity }) => {
      const { price } = shop.catalogue.product(id);
      return ["purchase", id, Number.isFinite(price) ? { quantity, price } : { quantity }];
    });
    const telling = shop.tellAll(interactions);
    shop.store.emptyCart();
    done(bought);
    return telling;
  };
  const change = (line, quantity, name) => {
    shop.store.setQuantity(line.id, quantity);
    draw();
    announce(quantity > 0 ? `${name}: ${quantity}` : `${name} is out of the cart`);
    if (quantity > 0) document.getElementById(`quantity-${CSS.escape(line.id)}`)?.focus();
    else focusOn(heading);
  };
  let drawn = "";
  const draw = () => {
    const cart = shop.store.cart();
    drawn = JSON.stringify(cart);
    if (cart.length === 0) {
      lines.replaceChildren(h("p", { class: "empty", text: "The cart is empty." }), h("a", { class: "button", href: to.home(), text: "Look around" }));
      return;
    }
    const total = cart.reduce((sum, { id, quantity }) => sum + (shop.catalogue.product(id).price ?? 0) * quantity, 0);
    lines.replaceChildren(
      h("ul", { class: "cart-lines", role: "list" }, ...cart.map((line) => cartLine(shop, line, change))),
      h("div", { class: "cart-foot" }, h("p", { class: "cart-total" }, "Total ", h("strong", { text: shop.price(total) })), h("button", { type: "button", class: "button button-strong", text: "Buy", on: { click: () => void buy() } })),
    );
  };
  draw();
  const refreshed = (event) => {
    // The cart is shown already: drawing it again would move the keyboard focus away from Buy.
    if (event?.event_type === "add_to_cart" && JSON.stringify(shop.store.cart()) !== drawn) draw();
    return forYou.load(event);
  };
  return { title: "Your cart", node: h("div", { class: "view" }, heading, lines, forYou.node), start: () => forYou.load(), react: refreshed };
}

function cartLine(shop, line, change) {
  const product = shop.catalogue.product(line.id);
  const name = nameOf(product);
  const field = `quantity-${line.id}`;
  const set = (event) => {
    const wanted = Number.parseInt(event.target.value, 10);
    change(line, Number.isFinite(wanted) && wanted > 0 ? wanted : 1, name);
  };
  return h(
    "li",
    { class: "cart-line" },
    h("div", { class: "cart-picture" }, picture(product)),
    h("div", { class: "cart-text" }, h("h2", { class: "cart-name" }, h("a", { href: to.product(product.id), text: name })), h("p", { class: "cart-each", text: shop.price(product.price) })),
    h("div", { class: "field" }, h("label", { class: "hidden", for: field, text: `Quantity of ${name}` }), h("input", { id: field, class: "quantity", type: "number", inputmode: "numeric", min: 1, max: 99, value: line.quantity, on: { change: set } })),
    h("p", { class: "cart-sum", text: Number.isFinite(product.price) ? shop.price(product.price * line.quantity) : "" }),
    h("button", { type: "button", class: "button button-plain", "aria-label": `Remove ${name}`, on: { click: () => change(line, 0, name) } }, icon("M6 6l12 12M18 6 6 18")),
  );
}
