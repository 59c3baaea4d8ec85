/**
 * The products the page knows: those of data/catalogue.json, and any the service sends besides.
 */

import { TextSearch, plain } from "./text_search.js";

/** Orders a shopper may choose; "popular" is the order of the catalogue itself. */
export const ORDERS = {
  popular: { label: "Most popular", compare: null },
  cheap: { label: "Price: low to high", compare: (a, b) => (a.price ?? Infinity) - (b.price ?? Infinity) },
  dear: { label: "Price: high to low", compare: (a, b) => (b.price ?? -Infinity) - (a.price ?? -Infinity) },
  rated: { label: "Best rated", compare: (a, b) => (b.rating ?? -Infinity) - (a.rating ?? -Infinity) },
  name: { label: "Name", compare: (a, b) => plain(a.name).localeCompare(plain(b.name)) },
};

export class Catalogue {
  #products = new Map();
  #text = null;

  /** `data`: the content of data/catalogue.json, most popular first. */
  constructor(data) {
    for (const product of data.products ?? []) this.#products.set(`${product.id}`, { ...product, id: `${product.id}` });
    this.all = [...this.#products.values()];
    const counts = new Map();
    for (const { category } of this.all) if (category) counts.set(category, (counts.get(category) ?? 0) + 1);
    const listed = (data.categories ?? []).filter((category) => counts.has(category));
    this.categories = [...new Set([...listed, ...counts.keys()])].map((name) => ({ name, products: counts.get(name) }));
  }

  /** A product by id; where nothing is known of it, a card that has only the id. */
  product(id) {
    return this.#products.get(`${id}`) ?? { id: `${id}`, name: null, category: null, brand: null, price: null, available: true, unknown: true };
  }

  /** Keep what the service said of a product ({product_id, name, ...}); returns the product as the page shows it. */
  learn(card) {
    if (!card?.product_id) return null;
    const { product_id: id, ...rest } = card;
    const product = { ...this.#products.get(`${id}`), ...rest, id: `${id}` };
    this.#products.set(product.id, product);
    return product;
  }

  inCategory(name) {
    return this.all.filter((product) => product.category === name);
  }

  /** See `TextSearch.find`. */
  search(question) {
    return this.#index().find(question);
  }

  /** See `TextSearch.suggest`. */
  suggest(question) {
    return this.#index().suggest(question, this.categories.map(({ name }) => name));
  }

  #index() {
    this.#text ??= new TextSearch(this.all);
    return this.#text;
  }
}

/** What a product is called, also where the shop has no name for it (its id stands for the name then). */
export const nameOf = (product) => (product.name && product.name !== product.id ? product.name : `Product ${product.id}`);
