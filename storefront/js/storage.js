/**
 * Browser storage that never throws: values as JSON, kept in memory where the browser refuses storage.
 */

/** Wrap one Storage. `area` is a function, as merely naming localStorage may throw where it is blocked. */
export function wrap(area) {
  const memory = new Map();
  const attempt = (use, otherwise) => {
    try {
      return use(area());
    } catch (refusal) {
      if (refusal instanceof DOMException || refusal instanceof TypeError) return otherwise();
      throw refusal;
    }
  };
  return {
    /** The value under a key, or `fallback` where there is none or it is not JSON. */
    read(key, fallback) {
      const text = attempt((storage) => storage.getItem(key), () => null) ?? memory.get(key) ?? null;
      if (text === null) return fallback;
      try {
        return JSON.parse(text);
      } catch {
        return fallback;
      }
    },
    write(key, value) {
      const text = JSON.stringify(value);
      attempt(
        (storage) => {
          storage.setItem(key, text);
          memory.delete(key);
        },
        () => memory.set(key, text),
      );
    },
    remove(key) {
      memory.delete(key);
      attempt((storage) => storage.removeItem(key), () => undefined);
    },
  };
}

/** Outlives the browser: unsent events, carts. */
export const lasting = wrap(() => window.localStorage);
/** Ends with the tab: who is shopping, what they did here. */
export const passing = wrap(() => window.sessionStorage);
