/**
 * All categories, each with a picture of its most popular product.
 */

import { h } from "../dom.js";
import { counted } from "../formats.js";
import { picture } from "../pictures/picture.js";
import { to } from "../router.js";

/** Tiles of `categories` ({name, products}); `level` of their headings. */
export function categoryTiles(shop, categories, level) {
  const tile = ({ name, products }) =>
    h(
      "li",
      { class: "tile" },
      h("div", { class: "tile-picture" }, picture(shop.catalogue.inCategory(name)[0])),
      h(`h${level}`, { class: "tile-name" }, h("a", { class: "card-link", href: to.category(name), text: name })),
      h("p", { class: "tile-count", text: counted(products, "product") }),
    );
  return h("ul", { class: "tiles", role: "list" }, ...categories.map(tile));
}

/** {title, node, start(), react()}. */
export function categoriesView(shop) {
  const node = h("div", { class: "view" }, h("h1", { text: "All categories" }), categoryTiles(shop, shop.catalogue.categories, 2));
  if (shop.catalogue.categories.length === 0) node.append(h("p", { class: "empty", text: "This shop has no categories. Search finds every product." }));
  return { title: "All categories", node, start: () => undefined, react: () => undefined };
}
