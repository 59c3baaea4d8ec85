/**
 * The parts of the shop, connected: an interaction is sent to the service, then every list of recommendations on the page
 * is requested again.
 */

import { Catalogue } from "./catalogue.js";
import { EventQueue } from "./event_queue.js";
import { priceFormat } from "./formats.js";
import { Store } from "./store.js";

/** How long a list waits until the service has the event; then the event is sent with the question. */
const TELLING_MS = 2_500;
const TELLING_AGAIN_MS = 300;

/** Fires `react` (detail: the event told) when lists should be asked for again, `answered` (detail) when one came. */
export class Shop extends EventTarget {
  constructor(config, api) {
    super();
    this.config = config;
    this.api = api;
    this.store = new Store();
    this.catalogue = new Catalogue({});
    this.price = priceFormat(config.currency);
    this.queue = new EventQueue((events) => api.feedback(events));
    this.router = null;
  }

  /** Send an interaction to the service, then let the lists react to it. */
  async tell(type, productId, details = {}) {
    const event = this.store.interaction(type, productId, details);
    this.store.see(event);
    this.queue.add(event);
    await this.#told();
    this.dispatchEvent(new CustomEvent("react", { detail: event }));
  }

  /** Send several interactions that are one act (buying a whole cart). */
  async tellAll(interactions) {
    const events = interactions.map(([type, id, details]) => this.store.interaction(type, id, details));
    for (const event of events) {
      this.store.see(event);
      this.queue.add(event);
    }
    await this.#told();
    if (events.length > 0) this.dispatchEvent(new CustomEvent("react", { detail: events.at(-1) }));
  }

  #told() {
    const patience = this.queue.problem ? TELLING_AGAIN_MS : TELLING_MS;
    return Promise.race([this.queue.flush(), new Promise((resolve) => setTimeout(resolve, patience))]);
  }

  /**
   * Ask for `count` recommendations on a page ({page, product_ids?, category?}), optionally only of some `categories`.
   * What is in the cart already is left out. Events that the service does not have yet are sent with the question, so that
   * the list reacts to them too.
   */
  recommend(context, count, categories = null) {
    const question = { user_id: this.store.shopper.id, num_recommendations: count, include_products: true, context };
    const carted = this.store.cart().map((line) => line.id);
    const { diversity, explain } = this.store.trial();
    if (diversity > 0) question.diversity = diversity;
    if (explain) question.explain = true;
    if (carted.length > 0) question.exclude_product_ids = carted.slice(-500);
    if (categories) question.filters = { categories };
    const mine = this.queue.waiting().filter((event) => event.user_id === this.store.shopper.id).slice(-100);
    if (mine.length > 0) {
      question.events = mine.map(({ product_id, event_type, timestamp }) => ({ product_id, event_type, timestamp }));
    }
    return this.api.recommend(question);
  }

  /** Try other settings on personal lists ({diversity, explain}), and ask for them again. */
  try(trial) {
    this.store.setTrial(trial);
    this.dispatchEvent(new CustomEvent("react", { detail: null }));
  }

  /** Put one more of a product into the cart, and tell the service. */
  addToCart(product) {
    this.store.setQuantity(product.id, this.store.quantity(product.id) + 1);
    const details = { quantity: 1 };
    if (Number.isFinite(product.price)) details.price = product.price;
    return this.tell("add_to_cart", product.id, details);
  }
}
