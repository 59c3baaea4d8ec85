/**
 * Search in product texts: by beginnings of words, singular or plural alike; where a word matches nothing, with typing
 * errors allowed (one letter from four letters on, two from eight on).
 */

/** Lower case without accents. */
export const plain = (text) => `${text ?? ""}`.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();

const words = (text) => plain(text).split(/[^\p{L}\p{N}]+/u).filter(Boolean);

/** English singular, roughly: what remains need not be a word, only be the same for both forms. */
export function singular(word) {
  if (word.length < 4) return word;
  if (word.endsWith("ies")) return `${word.slice(0, -3)}y`;
  if (/(s|x|z|ch|sh)es$/.test(word)) return word.slice(0, -2);
  return word.endsWith("s") && !word.endsWith("ss") ? word.slice(0, -1) : word;
}

/** Letters to insert, remove, change or swap with a neighbour to turn `a` into `b` (optimal string alignment). */
export function distance(a, b) {
  let [older, last] = [[], Array.from({ length: b.length + 1 }, (_, column) => column)];
  for (let row = 1; row <= a.length; row += 1) {
    const next = [row];
    for (let column = 1; column <= b.length; column += 1) {
      const same = a[row - 1] === b[column - 1];
      next[column] = Math.min(last[column] + 1, next[column - 1] + 1, last[column - 1] + (same ? 0 : 1));
      const swapped = row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1];
      if (swapped) next[column] = Math.min(next[column], older[column - 2] + 1);
    }
    [older, last] = [last, next];
  }
  return last[b.length];
}

const allowed = (length) => (length >= 8 ? 2 : length >= 4 ? 1 : 0);

export class TextSearch {
  #entries;
  #vocabulary = new Map();

  /** `products`: most popular first. */
  constructor(products) {
    this.#entries = products.map((product) => ({
      product,
      name: new Set(words(product.name)),
      rest: new Set([...words(product.category), ...words(product.brand), plain(product.id)]),
    }));
    for (const { name, rest } of this.#entries) {
      for (const word of [...name, ...rest]) this.#vocabulary.set(word, (this.#vocabulary.get(word) ?? 0) + 1);
    }
  }

  /**
   * `{found, corrected, partly}` for a question: products, words in names before words of category and brand;
   * `corrected`: the question with typing errors mended, null without any; `partly`: no product has every word, and those
   * found have some of them.
   */
  find(question) {
    const asked = plain(question).split(/\s+/).filter(Boolean);
    if (asked.length === 0) return { found: [], corrected: null, partly: false };
    const matches = asked.map((word) => this.#matching(word));
    const scored = this.#entries.map((entry) => {
      const hits = matches.filter(({ words: some }) => [...some].some((word) => entry.name.has(word) || entry.rest.has(word)));
      const inName = hits.filter(({ words: some }) => [...some].some((word) => entry.name.has(word)));
      return { product: entry.product, hits: hits.length, inName: inName.length };
    });
    const most = Math.max(0, ...scored.map(({ hits }) => hits));
    const found = scored.filter(({ hits }) => hits > 0 && hits === most).sort((a, b) => b.inName - a.inName);
    const mended = matches.some(({ instead }) => instead) ? matches.map(({ instead }, place) => instead ?? asked[place]).join(" ") : null;
    return { found: found.map(({ product }) => product), corrected: mended, partly: most > 0 && most < asked.length };
  }

  /** Categories and brands with a word that begins as a word of the question does: {categories, brands}, 4 of each at most. */
  suggest(question, categories) {
    const asked = words(question).map(singular);
    const fits = (text) => words(text).some((each) => asked.some((word) => each.startsWith(word)));
    const brands = [...new Set(this.#entries.map(({ product }) => product.brand).filter(Boolean))];
    return { categories: categories.filter(fits).slice(0, 4), brands: brands.filter(fits).slice(0, 4) };
  }

  /** Words of the shop that a word asked for stands for, and the nearest of them where it was mistyped. */
  #matching(asked) {
    const stem = singular(asked);
    const begins = [...this.#vocabulary.keys()].filter((word) => word.startsWith(asked) || word.startsWith(stem));
    if (begins.length > 0) return { words: new Set(begins), instead: null };
    const near = [];
    for (const [word, times] of this.#vocabulary) {
      if (Math.abs(word.length - asked.length) > 2) continue;
      const apart = Math.min(distance(asked, word), distance(stem, singular(word)));
      if (apart <= allowed(asked.length)) near.push({ word, apart, times });
    }
    const best = Math.min(...near.map(({ apart }) => apart));
    const chosen = near.filter(({ apart }) => apart === best).sort((a, b) => b.times - a.times);
    return { words: new Set(chosen.map(({ word }) => word)), instead: chosen[0]?.word ?? null };
  }
}
