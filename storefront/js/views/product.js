/**
 * One product: its picture, what is known of it, the cart, what is similar, and what is recommended now that it was seen.
 */

import { announce } from "../announce.js";
import { nameOf } from "../catalogue.js";
import { shelf } from "../components/shelf.js";
import { h } from "../dom.js";
import { picture } from "../pictures/picture.js";
import { to } from "../router.js";

/** {title, node, start(how), react(event)}. Coming by a link counts as a view; going back or reloading does not. */
export function productView(shop, id) {
  const product = shop.catalogue.product(id);
  const name = nameOf(product);
  const similar = shelf(shop, {
    title: "Similar to this",
    count: 6,
    // A product the service does not know has no neighbours; that is no failure to the shopper.
    ask: () =>
      shop.api.similar(id, 6).catch((problem) => {
        if (problem.kind !== "missing") throw problem;
        return { answer: { recommendations: [] } };
      }),
    none: "Nothing similar is known yet.",
  });
  const forYou = shelf(shop, {
    title: "Recommended for you",
    count: 6,
    memory: ["latest"],
    ask: () => shop.recommend({ page: "product", product_ids: [id] }, 6),
    none: "Nothing to recommend yet.",
  });
  const node = h("div", { class: "view" }, trail(product, name), detail(shop, product, name), forYou.node, similar.node);
  const start = (how) => {
    const seen = how === "forward" || how === "landing";
    if (seen) {
      forYou.wait();
      void shop.tell("view", id);
    }
    return Promise.all([similar.load(), seen ? undefined : forYou.load()]);
  };
  return { title: name, node, start, react: (event) => forYou.load(event) };
}

function trail(product, name) {
  const steps = [h("li", {}, h("a", { href: to.home(), text: "Home" }))];
  if (product.category) steps.push(h("li", {}, h("a", { href: to.category(product.category), text: product.category })));
  steps.push(h("li", { "aria-current": "page", text: name }));
  return h("nav", { class: "trail", "aria-label": "Where you are" }, h("ol", { role: "list" }, ...steps));
}

function detail(shop, product, name) {
  const lead = shop.store.lead(product.id);
  const sold = product.available === false;
  const inCart = h("p", { class: "in-cart" });
  const count = () => {
    const quantity = shop.store.quantity(product.id);
    inCart.replaceChildren();
    if (quantity > 0) inCart.append(`${quantity} in your cart. `, h("a", { href: to.cart(), text: "Go to the cart" }));
  };
  const add = () => {
    void shop.addToCart(product);
    count();
    announce(`${name} is in the cart`);
  };
  count();
  return h(
    "div",
    { class: "detail" },
    h("div", { class: "detail-picture" }, picture(product)),
    h(
      "div",
      { class: "detail-text" },
      product.brand && h("p", { class: "detail-brand", text: product.brand }),
      h("h1", { text: name }),
      h("p", { class: "detail-price", text: shop.price(product.price) }),
      h("p", { class: sold ? "stock stock-gone" : "stock", text: sold ? "Sold out" : product.unknown ? "Not in the catalogue of this page" : "In stock" }),
      h("div", { class: "detail-act" }, h("button", { type: "button", class: "button button-strong", text: sold ? "Sold out" : "Add to cart", disabled: sold, on: { click: add } }), inCart),
      lead && h("p", { class: "detail-lead" }, `You came from “${lead.from}”`, lead.reason ? `: ${lead.reason}` : "."),
      h("p", { class: "detail-id", text: `Product ${product.id}` }),
    ),
  );
}
