/**
 * The panel beside the shop: who answered the last personal list, how fast, and what the model has seen of this shopper.
 */

import { nameOf } from "../catalogue.js";
import { h } from "../dom.js";
import { clockTime, counted, milliseconds } from "../formats.js";
import { to } from "../router.js";

const ACTS = { view: "Viewed", add_to_cart: "Added", purchase: "Bought", rating: "Rated" };
const LISTED = 8;

/** Fill `node` and keep it up to date with the shop. */
export function panel(shop, node) {
  const title = h("h2", { id: "panel-title", text: "Behind the list" });
  const list = h("p", { class: "panel-list" });
  const facts = h("dl", { class: "facts" });
  const seenTitle = h("h3", { text: "What the model has seen" });
  const state = h("div", { class: "seen-state" });
  const seen = h("ol", { class: "seen", role: "list" });
  const earlier = h("p", { class: "seen-earlier" });
  node.replaceChildren(h("div", {}, title, list), facts, trying(shop), seenTitle, state, seen, earlier);

  const fact = (name, value, kind = "") => [h("dt", { text: name }), h("dd", { class: kind, text: value })];
  const answered = ({ detail: { title: shown, answer, roundTripMs, problem } }) => {
    list.textContent = shown;
    if (problem) {
      facts.replaceChildren(...fact("Answered by", `Nobody: ${problem.title}`, "fact-warning"));
      return;
    }
    const fallback = answer.fallback ?? null;
    facts.replaceChildren(
      ...fact("Answered by", fallback ? `Fallback: ${fallback}` : "The model", fallback ? "fact-warning" : "fact-good"),
      ...fact("Model version", answer.model_version ?? "unknown", "fact-code"),
      ...fact("Variant", answer.variant ?? "none"),
      ...fact("Server time", milliseconds(answer.inference_time_ms)),
      ...fact("Round trip", milliseconds(roundTripMs)),
      ...fact("Request", answer.request_id ?? "unknown", "fact-code"),
    );
  };
  const remembered = () => {
    const waiting = new Set(shop.queue.waiting().map((event) => event.event_id));
    const events = shop.store.seen();
    seen.replaceChildren(...events.slice(0, LISTED).map((event) => line(shop, event, waiting.has(event.event_id))));
    earlier.textContent = history(shop.store.shopper, events.length);
    state.replaceChildren();
    if (waiting.size > 0 && shop.queue.problem) {
      const again = h("button", { type: "button", class: "button button-small", text: "Send now", on: { click: () => void shop.queue.flush() } });
      state.append(h("p", { text: `${counted(waiting.size, "event")} not sent yet: ${shop.queue.problem.title.toLowerCase()}. Kept on this device and sent again.` }), again);
    }
  };
  const forget = () => {
    list.textContent = "";
    facts.replaceChildren(...fact("Answered by", "Waiting for the first list"));
    remembered();
  };
  shop.addEventListener("answered", answered);
  shop.store.addEventListener("seen", remembered);
  shop.store.addEventListener("shopper", forget);
  shop.queue.addEventListener("change", remembered);
  forget();
}

/** Settings of `POST /recommend` to try on the personal lists. */
function trying(shop) {
  const { diversity, explain } = shop.store.trial();
  const figure = h("span", { class: "figure", "aria-hidden": "true", text: diversity.toFixed(1) });
  const slide = (event) => {
    figure.textContent = Number(event.target.value).toFixed(1);
  };
  const range = h("input", { id: "try-diversity", class: "range", type: "range", min: 0, max: 1, step: 0.1, value: diversity, on: { input: slide, change: (event) => shop.try({ diversity: Number(event.target.value) }) } });
  const toggle = (event) => {
    const wanted = event.currentTarget.getAttribute("aria-pressed") !== "true";
    event.currentTarget.setAttribute("aria-pressed", `${wanted}`);
    shop.try({ explain: wanted });
  };
  const moved = h("button", { type: "button", class: "button toggle", "aria-pressed": `${explain}`, text: "Explain scores", on: { click: toggle } });
  return h(
    "fieldset",
    { class: "trying" },
    h("legend", { text: "Try on personal lists" }),
    h("div", { class: "field" }, h("label", { for: "try-diversity", text: "Diversity" }), range, figure),
    h("div", {}, moved),
  );
}

function line(shop, event, waiting) {
  const product = shop.catalogue.product(event.product_id);
  return h(
    "li",
    { class: waiting ? "seen-line seen-waiting" : "seen-line" },
    h("span", { class: "seen-act", text: ACTS[event.event_type] ?? event.event_type }),
    h("a", { href: to.product(product.id), text: nameOf(product) }),
    h("span", { class: "seen-when", text: waiting ? "Waiting to be sent" : clockTime(event.timestamp) }),
  );
}

function history(shopper, here) {
  const names = (shopper.last_products ?? []).filter(Boolean).slice(0, 4);
  if (shopper.typed) return "Not among the shoppers that this page lists: what the model knows of this id shows in its list.";
  if (!shopper.events) return here > 0 ? "Nothing before this visit." : "Nothing yet: this visitor is new. Open a product and watch the list.";
  const last = names.length > 0 ? ` Most recent: ${names.join(", ")}.` : "";
  return `${counted(shopper.events, "event")} before this visit.${last}`;
}
