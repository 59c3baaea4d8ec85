/**
 * One product in a list: its picture, name, price, why it is here, and a button that puts it into the cart.
 */

import { announce } from "../announce.js";
import { nameOf } from "../catalogue.js";
import { h, icon } from "../dom.js";
import { counted, oneDecimal } from "../formats.js";
import { picture } from "../pictures/picture.js";
import { to } from "../router.js";

const REASONS = {
  viewed: "M2.5 12S6 5.5 12 5.5 21.5 12 21.5 12 18 18.5 12 18.5 2.5 12 2.5 12ZM12 9.5a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5Z",
  carted: "M4 9h16l-1.6 11H5.6L4 9ZM8 9l3-5M16 9l-3-5",
  bought: "M5 12.5 10 17.5 19.5 7",
  buy_again: "M19 12a7 7 0 1 1-2-5M17.5 3v4.5H13",
  bought_together: "M9 8a4.5 4.5 0 1 0 0 8.5M15 16a4.5 4.5 0 1 0 0-8.5M8 12h8",
  popular: "M4 18 10 11l4 4 6-9M15 6h5v5",
  popular_in_category: "M4 18 10 11l4 4 6-9M15 6h5v5",
  similar: "M9.5 5a6 6 0 1 0 0 12 6 6 0 0 0 0-12ZM14.5 7a6 6 0 1 1 0 12",
  new_and_similar: "M12 3v6M12 15v6M3 12h6M15 12h6",
  exploration: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18ZM15.5 8.5 13.5 13.5 8.5 15.5 10.5 10.5Z",
  for_you: "M12 20C4 14 3 10 4.5 7.5S10 5 12 8.5C14 5 18 5 19.5 7.5S20 14 12 20Z",
};

/**
 * A list item for a product. `reason` {text, code} may be missing; `lead()` says which list brings the shopper there.
 * Returns {node, update({reason, moved, mark})}: `moved`: past products that moved the score, [{name, weight}]; `mark`:
 * {kind: "new"|"up", places} or null.
 */
export function productCard(shop, product, { reason = null, lead = () => null, level = 3 } = {}) {
  const name = nameOf(product);
  const follow = () => shop.store.setLead(product.id, lead());
  const why = h("p", { class: "card-reason" });
  const because = h("ul", { class: "card-moved", role: "list", hidden: true });
  const flag = h("p", { class: "card-flag", hidden: true });
  const link = h("a", { class: "card-link", href: to.product(product.id), text: name, on: { click: follow } });
  const node = h(
    "li",
    { class: "card", data: { product: product.id } },
    h("div", { class: "card-picture" }, picture(product)),
    h(`h${level}`, { class: "card-name" }, link),
    h("div", { class: "card-foot" }, h("div", {}, h("p", { class: "card-price", text: shop.price(product.price) }), rating(product, true)), addButton(shop, product, follow)),
    why,
    because,
    flag,
  );
  const update = ({ reason: said, moved = [], mark }) => {
    because.hidden = moved.length === 0;
    because.replaceChildren(...moved.map(({ name: past, weight }) => h("li", { text: `${past}: ${signed(weight)}` })));
    why.replaceChildren();
    if (said?.text) why.append(icon(REASONS[said.code] ?? REASONS.for_you, "icon reason-sign"), h("span", { text: said.text }));
    why.title = said?.text ?? "";
    node.classList.toggle("card-changed", Boolean(mark));
    flag.hidden = !mark;
    flag.replaceChildren();
    if (mark?.kind === "new") flag.append("New", h("span", { class: "hidden", text: " in this list" }));
    if (mark?.kind === "up") {
      const places = mark.places === 1 ? "place" : "places";
      flag.append(h("span", { "aria-hidden": "true", text: `↑ ${mark.places}` }), h("span", { class: "hidden", text: `Up ${mark.places} ${places}` }));
    }
  };
  update({ reason, mark: null });
  return { node, update };
}

function addButton(shop, product, follow) {
  if (product.available === false) return h("p", { class: "card-gone", text: "Sold out" });
  const name = nameOf(product);
  const add = () => {
    follow();
    void shop.addToCart(product);
    announce(`${name} is in the cart`);
  };
  return h(
    "button",
    { type: "button", class: "card-add", "aria-label": `Add to cart: ${name}`, on: { click: add } },
    icon("M12 5v14M5 12h14"),
  );
}

const signed = (weight) => `${weight < 0 ? "−" : "+"}${Math.abs(weight).toPrecision(2)}`;

/** Mean rating and how many rated (on a card `short`), or null where nothing is known. */
export function rating(product, short = false) {
  if (!Number.isFinite(product.rating)) return null;
  const known = !short && Number.isFinite(product.reviews);
  return h(
    "p",
    { class: "rating" },
    h("span", { class: "rating-star", "aria-hidden": "true", text: "★" }),
    h("span", { class: "hidden", text: "Rated " }),
    `${oneDecimal(product.rating)}${known ? `, ${counted(product.reviews, "review")}` : ""}`,
  );
}

/** A card's place while its content is on the way: the same size, so that nothing jumps. */
export const cardSkeleton = () =>
  h(
    "li",
    { class: "card card-skeleton", "aria-hidden": "true" },
    h("div", { class: "card-picture" }),
    h("p", { class: "card-name" }, h("span", { class: "bone" })),
    h("div", { class: "card-foot" }, h("span", { class: "bone bone-price" })),
    h("p", { class: "card-reason" }, h("span", { class: "bone bone-short" })),
  );
