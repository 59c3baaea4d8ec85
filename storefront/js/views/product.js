/**
 * One product: its picture, what is known of it, the cart, what is similar, and what is recommended now that it was seen.
 */

import { announce } from "../announce.js";
import { rating } from "../components/card.js";
import { nameOf } from "../catalogue.js";
import { shelf } from "../components/shelf.js";
import { focusOn, h } from "../dom.js";
import { picture } from "../pictures/picture.js";
import { to } from "../router.js";
import { afterFirst } from "./home.js";
import { noProduct } from "./missing.js";

/** Products of the first list, and how many more the second asks for because it repeats none of them. */
const FIRST = 6;
const SPARE = 12;

/** {title, node, start(how), react(event)}. Coming by a link counts as a view; going back or reloading does not. */
export function productView(shop, id) {
  const product = shop.catalogue.product(id);
  const name = nameOf(product);
  let first = Promise.resolve();
  const similar = shelf(shop, {
    title: "Similar to this",
    count: 6,
    without: () => forYou.ids(),
    ask: (count) => afterFirst(() => first, similarTo(shop, id, count + SPARE)),
    none: "Nothing similar is known yet.",
  });
  const forYou = shelf(shop, {
    title: "Recommended for you",
    count: FIRST,
    memory: ["latest"],
    ask: (count) => {
      const asked = shop.recommend({ page: "product", product_ids: [id] }, count);
      first = asked.catch(() => {});
      return asked;
    },
    none: "Nothing to recommend yet.",
  });
  const node = h("div", { class: "view" }, trail(product, name), detail(shop, product, name), forYou.node, similar.node);
  const start = async (how) => {
    if (product.unknown && !(await isKnown(shop, id))) {
      node.replaceChildren(...noProduct(id));
      focusOn(node.querySelector("h1"));
      return;
    }
    const seen = how === "forward" || how === "landing";
    if (seen) {
      forYou.wait();
      void shop.tell("view", id);
    }
    await Promise.all([seen ? null : forYou.load(), similar.load()]);
  };
  const react = (event) => {
    if (!forYou.node.isConnected) return undefined;
    return Promise.all([forYou.load(event), similar.load()]);
  };
  return { title: name, node, start, react };
}

/** What is similar to a product; nothing where the service does not know it, which is no failure to the shopper. */
function similarTo(shop, id, count) {
  return shop.api.similar(id, count).catch((problem) => {
    if (problem.kind !== "missing") throw problem;
    return { answer: { recommendations: [] } };
  });
}

/** Whether the service knows a product that the page does not: a large shop's page holds its most popular ones only. */
async function isKnown(shop, id) {
  try {
    await shop.api.similar(id, 1);
    return true;
  } catch (problem) {
    return problem.kind !== "missing";
  }
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
      rating(product),
      h("p", { class: "detail-price", text: shop.price(product.price) }),
      h("p", { class: sold ? "stock stock-gone" : "stock", text: sold ? "Sold out" : product.unknown ? "Not in the catalogue of this page" : "In stock" }),
      h("div", { class: "detail-act" }, h("button", { type: "button", class: "button button-strong", text: sold ? "Sold out" : "Add to cart", disabled: sold, on: { click: add } }), inCart),
      rate(shop, product, name),
      lead && h("p", { class: "detail-lead" }, `You came from “${lead.from}”`, lead.reason ? `: ${lead.reason}` : "."),
      h("p", { class: "detail-id", text: `Product ${product.id}` }),
    ),
  );
}

/** Five buttons that send a rating of one to five. */
function rate(shop, product, name) {
  const buttons = [1, 2, 3, 4, 5].map((stars) =>
    h("button", { type: "button", class: "rate", "aria-label": `Rate ${stars} of 5`, "aria-pressed": "false", text: "★", on: { click: () => give(stars) } }),
  );
  const give = (stars) => {
    buttons.forEach((button, place) => {
      button.classList.toggle("rate-given", place < stars);
      button.setAttribute("aria-pressed", `${place + 1 === stars}`);
    });
    announce(`${name} is rated ${stars} of 5`);
    void shop.tell("rating", product.id, { rating: stars });
  };
  return h("div", { class: "rating-row", role: "group", "aria-label": `Rate ${name}` }, h("span", { class: "rate-label", "aria-hidden": "true", text: "Rate it" }), ...buttons);
}
