/**
 * The products the page knows: those of data/catalogue.json, and any the service sends besides.
 */

const plain = (text) => `${text ?? ""}`.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();

/** Orders a shopper may choose; "popular" is the order of the catalogue itself. */
export const ORDERS = {
  popular: { label: "Most popular", compare: null },
  cheap: { label: "Price: low to high", compare: (a, b) => (a.price ?? Infinity) - (b.price ?? Infinity) },
  dear: { label: "Price: high to low", compare: (a, b) => (b.price ?? -Infinity) - (a.price ?? -Infinity) },
  name: { label: "Name", compare: (a, b) => plain(a.name).localeCompare(plain(b.name)) },
};

export class Catalogue {
  #products = new Map();
  #searchable = [];

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

  /** Products whose words begin with every word asked for; names before categories and brands, then most popular first. */
  search(question) {
    const asked = plain(question).split(/\s+/).filter(Boolean);
    if (asked.length === 0) return [];
    if (this.#searchable.length === 0) {
      const words = (text) => plain(text).split(/[^\p{L}\p{N}]+/u).filter(Boolean);
      this.#searchable = this.all.map((product) => ({
        product,
        name: words(product.name),
        rest: [...words(product.category), ...words(product.brand), plain(product.id)],
      }));
    }
    const begins = (words, word) => words.some((each) => each.startsWith(word));
    const found = this.#searchable.filter((entry) => asked.every((word) => begins(entry.name, word) || begins(entry.rest, word)));
    const rank = (entry) => asked.filter((word) => !begins(entry.name, word)).length;
    return found.map((entry) => [rank(entry), entry.product]).sort((a, b) => a[0] - b[0]).map(([, product]) => product);
  }
}

/** What a product is called, also where the shop has no name for it (its id stands for the name then). */
export const nameOf = (product) => (product.name && product.name !== product.id ? product.name : `Product ${product.id}`);
