/**
 * What the page remembers of the shopper: identity, interactions, cart, and which list led to which product.
 */

import { freshId } from "./formats.js";
import { lasting, passing } from "./storage.js";

const SHOPPER = "shop.shopper";
const SEEN = "shop.seen.";
const LEADS = "shop.leads.";
const CART = "shop.cart.";
const TRIAL = "shop.trial";
const REMEMBERED = 40;

/** Fires `shopper`, `cart`, and `seen` when the thing of that name changed. */
export class Store extends EventTarget {
  #lists = new Map();

  constructor() {
    super();
    this.shopper = passing.read(SHOPPER, null) ?? this.#keep(visitor());
  }

  #keep(shopper) {
    passing.write(SHOPPER, shopper);
    return shopper;
  }

  /** Shop as somebody else: one of data/shoppers.json, or a visitor never seen before when `shopper` is null. */
  shopAs(shopper) {
    this.shopper = this.#keep(shopper ? { ...shopper, id: `${shopper.id}`, fresh: false } : visitor());
    this.#lists.clear();
    for (const change of ["shopper", "cart", "seen"]) this.dispatchEvent(new Event(change));
  }

  /** What a person tries on personal lists: {diversity: 0 to 1, explain: boolean}. */
  trial() {
    return { diversity: 0, explain: false, ...passing.read(TRIAL, {}) };
  }

  setTrial(trial) {
    passing.write(TRIAL, { ...this.trial(), ...trial });
  }

  /** An interaction as the service wants it. The `lead` of the product is sent along as request_id. */
  interaction(type, productId, details = {}) {
    const lead = this.lead(productId);
    const event = { event_id: freshId(), user_id: this.shopper.id, product_id: productId, event_type: type };
    event.timestamp = Math.floor(Date.now() / 1000);
    if (lead?.requestId) event.request_id = lead.requestId;
    return { ...event, ...details };
  }

  /** Remember an interaction of this tab for the panel, newest first. */
  see(event) {
    passing.write(SEEN + this.shopper.id, [event, ...this.seen()].slice(0, REMEMBERED));
    this.dispatchEvent(new Event("seen"));
  }

  seen() {
    return passing.read(SEEN + this.shopper.id, []);
  }

  /** Which list ({requestId, reason, from}) led the shopper to a product; null where none did. */
  lead(productId) {
    return passing.read(LEADS + this.shopper.id, {})[productId] ?? null;
  }

  /** Set the lead of a product, or forget it (null) when the shopper came another way. */
  setLead(productId, lead) {
    const leads = passing.read(LEADS + this.shopper.id, {});
    delete leads[productId];
    if (lead) leads[productId] = lead;
    passing.write(LEADS + this.shopper.id, Object.fromEntries(Object.entries(leads).slice(-200)));
  }

  /** Lines of the cart: [{id, quantity}], oldest first. */
  cart() {
    return lasting.read(CART + this.shopper.id, []);
  }

  /** Set how many of a product are in the cart; 0 takes it out. */
  setQuantity(id, quantity) {
    const lines = this.cart().filter((line) => line.id !== id || quantity > 0);
    const line = lines.find((each) => each.id === id);
    if (line) line.quantity = Math.min(quantity, 99);
    else if (quantity > 0) lines.push({ id, quantity: Math.min(quantity, 99) });
    lasting.write(CART + this.shopper.id, lines);
    this.dispatchEvent(new Event("cart"));
  }

  quantity(id) {
    return this.cart().find((line) => line.id === id)?.quantity ?? 0;
  }

  emptyCart() {
    lasting.remove(CART + this.shopper.id);
    this.dispatchEvent(new Event("cart"));
  }

  /** Product ids last shown to this shopper in a list, to tell what changed; null the first time. */
  lastList(name) {
    return this.#lists.get(name) ?? null;
  }

  setLastList(name, ids) {
    this.#lists.set(name, ids);
  }
}

const visitor = () => ({ id: `visitor-${freshId()}`, label: "New visitor", events: 0, last_products: [], fresh: true });
