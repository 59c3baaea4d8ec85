/**
 * A queue of events: written to localStorage first, sent, and kept until the service has them.
 *
 * Sending an event twice does no harm: the service knows it by its event id.
 */

import { lasting } from "./storage.js";

const KEY = "shop.events.waiting";
const BATCH = 50;
const KEPT = 1000;
const PAUSES_MS = [1_000, 2_000, 5_000, 15_000, 60_000];

/** Fires `change` when what waits changes, `refused` (detail: event, problem) when the service will never take an event. */
export class EventQueue extends EventTarget {
  #send;
  #running = null;
  #failures = 0;
  #timer = 0;

  /** `send(events)` resolves to `{answer: {retry: [event_id...]}}` or rejects with `ApiProblem`. */
  constructor(send) {
    super();
    this.#send = send;
    this.problem = null;
    addEventListener("online", () => void this.flush());
    addEventListener("pagehide", () => void this.flush());
  }

  /** Events the service does not have yet, oldest first. */
  waiting() {
    const events = lasting.read(KEY, []);
    return Array.isArray(events) ? events.filter((event) => event?.event_id) : [];
  }

  add(event) {
    lasting.write(KEY, [...this.waiting(), event].slice(-KEPT));
    this.dispatchEvent(new Event("change"));
  }

  /** Send what waits. Resolves when the service has it or cannot take it now; never rejects. One sending at a time. */
  flush() {
    this.#running ??= this.#drain().finally(() => {
      this.#running = null;
    });
    return this.#running;
  }

  async #drain() {
    clearTimeout(this.#timer);
    for (let batch = this.#next(BATCH); batch.length > 0; batch = this.#next(BATCH)) {
      const before = this.waiting().length;
      const sent = await this.#deliver(batch);
      if (!sent || this.waiting().length === before) {
        this.#later();
        return;
      }
    }
    this.#failures = 0;
    this.problem = null;
    this.dispatchEvent(new Event("change"));
  }

  #next(size) {
    return this.waiting().slice(0, size);
  }

  async #deliver(batch) {
    try {
      const { answer } = await this.#send(batch);
      const again = new Set(answer?.retry ?? []);
      this.#drop(batch.filter((event) => !again.has(event.event_id)));
      return true;
    } catch (problem) {
      this.problem = problem;
      if (problem.kind !== "refused") return false;
      if (batch.length === 1) return this.#untimed(batch[0], problem) || this.#refused(batch[0], problem);
      // One bad event must not hold back the others: send them one by one.
      for (const event of batch) if (!(await this.#deliver([event]))) return false;
      return true;
    }
  }

  /** A clock that runs ahead makes the service refuse the time: then the service may set it itself. */
  #untimed(event, problem) {
    if (event.timestamp === undefined || !/timestamp/.test(`${problem.field} ${problem.details}`)) return false;
    const untimed = this.waiting().map(({ timestamp, ...rest }) => (rest.event_id === event.event_id ? rest : { timestamp, ...rest }));
    lasting.write(KEY, untimed);
    return true;
  }

  #refused(event, problem) {
    this.#drop([event]);
    this.dispatchEvent(new CustomEvent("refused", { detail: { event, problem } }));
    return true;
  }

  #drop(events) {
    const gone = new Set(events.map((event) => event.event_id));
    lasting.write(KEY, this.waiting().filter((event) => !gone.has(event.event_id)));
    this.dispatchEvent(new Event("change"));
  }

  #later() {
    const pause = PAUSES_MS[Math.min(this.#failures, PAUSES_MS.length - 1)];
    this.#failures += 1;
    this.#timer = setTimeout(() => void this.flush(), pause);
    this.dispatchEvent(new Event("change"));
  }
}
