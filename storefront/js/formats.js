/**
 * How prices, durations and times are written, in the shopper's own language.
 */

const locale = () => navigator.languages?.[0] ?? navigator.language ?? "en";

/** A function price -> text. Without a currency, or with an unknown code, the bare number. */
export function priceFormat(currency = "") {
  let format = new Intl.NumberFormat(locale(), { minimumFractionDigits: 2, maximumFractionDigits: 2 });
  try {
    if (currency) format = new Intl.NumberFormat(locale(), { style: "currency", currency });
  } catch (refusal) {
    if (!(refusal instanceof RangeError)) throw refusal;
  }
  return (price) => (Number.isFinite(price) ? format.format(price) : "");
}

/** Milliseconds as people read them: one decimal under ten. */
export function milliseconds(value) {
  if (!Number.isFinite(value)) return "unknown";
  const digits = value < 10 ? 1 : 0;
  return `${new Intl.NumberFormat(locale(), { maximumFractionDigits: digits }).format(value)} ms`;
}

/** Clock time of a moment in seconds since 1970. */
export const clockTime = (seconds) =>
  new Intl.DateTimeFormat(locale(), { hour: "2-digit", minute: "2-digit", second: "2-digit" }).format(new Date(seconds * 1000));

/** A rating with one decimal: "4.3". */
export const oneDecimal = (value) => new Intl.NumberFormat(locale(), { minimumFractionDigits: 1, maximumFractionDigits: 1 }).format(value);

/** "1 product", "3 products". */
export const counted = (number, one, many = `${one}s`) => `${new Intl.NumberFormat(locale()).format(number)} ${number === 1 ? one : many}`;

/** An id that no other event has; also where the page is not served over HTTPS and `randomUUID` is missing. */
export function freshId() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}
