/**
 * The top of every page: the shop's name, search, who is shopping, the cart, and the categories.
 */

import { h } from "../dom.js";
import { counted } from "../formats.js";
import { to } from "../router.js";
import { shopperSign } from "./picker.js";

const TYPING_MS = 180;
/** Categories in the bar; the others are behind "All categories". */
const LISTED = 40;

/** Wire the header; returns {at(route), aisles()}: mark where the shopper is, fill the categories. `search(question, submitted)` on input. */
export function masthead(shop, { search }) {
  const part = (id) => document.getElementById(id);
  const question = part("question");
  part("shop-name").textContent = shop.config.shop || "Shop";
  part("wordmark").setAttribute("aria-label", `${shop.config.shop || "Shop"}, home`);
  const who = () => {
    part("who-sign").replaceChildren(shopperSign(shop.store.shopper.fresh ? "new visitor" : shop.store.shopper.id));
    part("who-name").textContent = shop.store.shopper.label;
  };
  const basket = () => {
    const items = shop.store.cart().reduce((sum, line) => sum + line.quantity, 0);
    part("basket-count").textContent = `${items}`;
    part("basket").classList.toggle("basket-full", items > 0);
    part("basket").setAttribute("aria-label", `Cart, ${counted(items, "item")}`);
  };
  let typing = 0;
  question.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => search(question.value, false), TYPING_MS);
  });
  part("search").addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(typing);
    search(question.value, true);
  });
  shop.store.addEventListener("shopper", who);
  shop.store.addEventListener("cart", basket);
  who();
  basket();
  const aisles = () => {
    const links = [["All categories", to.categories()], ...shop.catalogue.categories.slice(0, LISTED).map(({ name }) => [name, to.category(name)])];
    part("aisles").replaceChildren(...links.map(([name, address]) => h("li", {}, h("a", { href: address, text: name }))));
  };
  const at = (route) => {
    if (route.view === "search") {
      if (document.activeElement !== question) question.value = route.query.get("q") ?? "";
    } else {
      question.value = "";
    }
    for (const link of part("aisles").querySelectorAll("a")) {
      const here = link.getAttribute("href") === location.hash;
      if (here) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
      if (here) link.scrollIntoView({ block: "nearest", inline: "nearest", behavior: "instant" });
    }
  };
  return { at, aisles };
}
