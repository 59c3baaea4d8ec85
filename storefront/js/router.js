/**
 * Addresses of the page: what stands behind `#/`, so that any static host serves every view from one file.
 */

/** Addresses of views, for links. */
export const to = {
  home: () => "#/",
  product: (id) => `#/product/${encodeURIComponent(id)}`,
  category: (name) => `#/category/${encodeURIComponent(name)}`,
  categories: () => "#/categories",
  search: (question) => `#/search?q=${encodeURIComponent(question)}`,
  cart: () => "#/cart",
};

const decode = (text) => {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
};

/** `{view, value, query}` of an address; an address nobody knows is the view "missing". */
export function read(hash) {
  const [path, query = ""] = `${hash || "#/"}`.slice(1).split("?");
  const [view = "", ...rest] = path.replace(/^\//, "").split("/");
  const value = decode(rest.join("/"));
  const parameters = new URLSearchParams(query);
  if (view === "") return { view: "home", value: "", query: parameters };
  const known = { product: Boolean(value), category: Boolean(value), categories: true, search: true, cart: true };
  return { view: known[view] ? view : "missing", value, query: parameters };
}

/**
 * Calls `show(route, how)` for every move; `how` is "landing" (first page), "reload", "forward" (a link) or "traverse"
 * (back and forward). `show` resolves when the view stands, and only then the scroll position of before is restored.
 */
export class Router {
  #show;
  #positions = new Map();
  #key = "";
  #moves = 0;

  constructor(show) {
    this.#show = show;
    history.scrollRestoration = "manual";
    addEventListener("hashchange", () => {
      if (location.hash.startsWith("#/") || location.hash === "") void this.#move(history.state?.key ? "traverse" : "forward");
    });
    addEventListener("scroll", () => this.#positions.set(this.#key, scrollY), { passive: true });
  }

  start() {
    return this.#move(history.state?.key ? "reload" : "landing");
  }

  /** Change the address of the view that stands, without a new entry in the history. */
  replace(hash) {
    history.replaceState({ key: this.#key }, "", hash);
  }

  async #move(how) {
    this.#moves += 1;
    const move = this.#moves;
    if (how === "forward" || how === "landing") {
      this.#key = `${Date.now()}-${move}`;
      history.replaceState({ key: this.#key }, "");
    } else {
      this.#key = history.state.key;
    }
    const position = this.#positions.get(this.#key) ?? 0;
    await this.#show(read(location.hash), how);
    if (move !== this.#moves) return;
    scrollTo({ top: how === "traverse" ? position : 0, behavior: "instant" });
  }
}
