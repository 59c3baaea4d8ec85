/**
 * A section whose products the service chooses ("Recommended for you", "Similar to this", "Popular").
 */

import { announce } from "../announce.js";
import { nameOf } from "../catalogue.js";
import { h, lessMotion } from "../dom.js";
import { counted } from "../formats.js";
import { fillRows, fitting } from "./rows.js";
import { cardSkeleton, productCard } from "./card.js";
import { problemNotice } from "./problem.js";

const ACTS = { view: "viewed", add_to_cart: "added", purchase: "bought", rating: "rated" };

/**
 * What changed from one list of ids to the next: Map of id -> {kind: "new"} or {kind: "up", places}. Places are counted
 * among the ids of both lists, so that nothing "moves" merely because another product left or came.
 */
export function changesBetween(before, after) {
  const changes = new Map();
  if (!before) return changes;
  const stayed = after.filter((id) => before.includes(id));
  const was = before.filter((id) => after.includes(id));
  for (const id of after) {
    const risen = was.indexOf(id) - stayed.indexOf(id);
    if (!before.includes(id)) changes.set(id, { kind: "new" });
    else if (risen > 0) changes.set(id, { kind: "up", places: risen });
  }
  return changes;
}

let shelves = 0;

/**
 * A shelf: {node, load(cause), wait(), ids()}. Options: `title`; `count` to show, rounded up to whole rows; `ask(count)` ->
 * {answer, roundTripMs}; `without()`: ids that other lists of the page show already, left out here (`ask` is then asked for
 * that many more); `memory`: names under which the list is remembered (personal lists only), the first of which it is
 * compared with to mark what changed; `note(answer)` -> text under the title; `none`: text for an empty list; `hideEmpty`:
 * leave the section out instead.
 */
export function shelf(shop, { title, count, ask, without = () => [], memory = [], note = null, none = "Nothing here yet.", hideEmpty = false }) {
  shelves += 1;
  const id = `shelf-${shelves}`;
  const cards = new Map();
  let asked = 0;
  let wanted = count;
  const noted = note !== null || memory.length > 0;
  const remark = h("p", { class: "shelf-note" });
  const list = h("ul", { class: "grid", role: "list" });
  const body = h("div", { class: "shelf-body" }, list);
  const node = h("section", { class: memory.length > 0 ? "shelf shelf-personal" : "shelf", "aria-labelledby": id }, h("div", { class: "shelf-head" }, h("h2", { id, text: title }), noted && remark), body);

  const wait = () => {
    if (cards.size > 0) return;
    body.replaceChildren(list);
    list.replaceChildren(...Array.from({ length: fitting(list, count) }, cardSkeleton));
    body.setAttribute("aria-busy", "true");
  };

  const load = async (cause = null) => {
    asked += 1;
    const mine = asked;
    wait();
    body.setAttribute("aria-busy", "true");
    try {
      wanted = fitting(list, count);
      const { answer, roundTripMs } = await ask(wanted);
      if (mine !== asked || !node.isConnected) return;
      show(answer, cause);
      if (memory.length > 0) shop.dispatchEvent(new CustomEvent("answered", { detail: { title, answer, roundTripMs } }));
    } catch (problem) {
      if (mine !== asked || !node.isConnected) return;
      fail(problem, cause);
    } finally {
      if (mine === asked) body.removeAttribute("aria-busy");
    }
  };

  const fail = (problem, cause) => {
    if (memory.length > 0) shop.dispatchEvent(new CustomEvent("answered", { detail: { title, problem } }));
    const retry = async () => {
      body.replaceChildren(list);
      wait();
      await load(cause);
      if (document.activeElement === document.body) list.querySelector("a")?.focus({ preventScroll: true });
    };
    // The last list stays below the notice.
    if (cards.size === 0) list.replaceChildren();
    body.replaceChildren(problemNotice(problem, retry), list);
  };

  const show = (answer, cause) => {
    const elsewhere = new Set(without());
    const listed = (answer.recommendations ?? []).filter((item) => item?.product_id !== undefined);
    const items = listed.filter((item) => !elsewhere.has(`${item.product_id}`)).slice(0, wanted);
    const ids = items.map((item) => `${item.product_id}`);
    const changes = changesBetween(shop.store.lastList(memory[0]), ids);
    for (const name of memory) shop.store.setLastList(name, ids);
    node.hidden = hideEmpty && items.length === 0;
    const content = items.length > 0 ? list : h("p", { class: "empty", text: none });
    // Taking the list out and in again would take the keyboard off its cards.
    if (body.children.length !== 1 || body.firstElementChild !== content) body.replaceChildren(content);
    arrange(list, () => place(items, answer, changes));
    fillRows(list);
    tell(items, answer, cause, changes);
  };

  const place = (items, answer, changes) => {
    const kept = new Set(items.map((item) => `${item.product_id}`));
    for (const key of [...cards.keys()]) if (!kept.has(key)) cards.delete(key);
    const nodes = items.map((item) => {
      const key = `${item.product_id}`;
      const reason = { text: item.reason ?? "", code: item.reason_code ?? "" };
      const product = shop.catalogue.learn(item.product ? { ...item.product, product_id: key } : null) ?? shop.catalogue.product(key);
      const moved = explained(item.explanation);
      const lead = { requestId: answer.request_id ?? null, reason: reason.text, from: title };
      const card = cards.get(key) ?? productCard(shop, product, { lead: () => cards.get(key)?.lead ?? lead });
      card.lead = lead;
      card.update({ reason, moved, mark: changes.get(key) ?? null });
      cards.set(key, card);
      return card.node;
    });
    // Only what moved is taken out of the page, so that the keyboard stays on a card that did not.
    reorder(list, nodes);
  };

  const explained = (explanation) =>
    (explanation ?? []).slice(0, 3).map(({ product_id: id, weight }) => ({ name: nameOf(shop.catalogue.product(id)), weight }));

  const tell = (items, answer, cause, changes) => {
    const fresh = [...changes.values()].filter((change) => change.kind === "new").length;
    const risen = changes.size - fresh;
    const happened = cause && `after you ${ACTS[cause.event_type] ?? "saw"} ${nameOf(shop.catalogue.product(cause.product_id))}`;
    remark.classList.toggle("shelf-note-changed", changes.size > 0);
    if (changes.size === 0) {
      remark.textContent = happened ? `The same products ${happened}.` : (note?.(answer) ?? "");
      return;
    }
    const what = [fresh && `${fresh} new`, risen && `${risen} moved up`].filter(Boolean).join(", ");
    const act = happened ?? "since you last saw this list";
    remark.textContent = `Changed ${act}: ${what}.`;
    const first = nameOf(shop.catalogue.product(items[0].product_id));
    announce(`${title} changed ${act}: ${counted(fresh, "new product")}, ${risen} moved up. First now: ${first}. ${items[0].reason ?? ""}`);
  };

  const watch = new ResizeObserver(() => fillRows(list));
  watch.observe(list);
  return { node, load, wait, ids: () => [...cards.keys()] };
}

/** Put `nodes` into `list` in this order, touching only those that are not in their place. */
function reorder(list, nodes) {
  const wanted = new Set(nodes);
  for (const child of [...list.children]) if (!wanted.has(child)) child.remove();
  nodes.forEach((node, place) => {
    const standing = list.children[place];
    if (standing !== node) list.insertBefore(node, standing ?? null);
  });
}

/** Change the list and animate what moved, unless the shopper prefers reduced motion. */
function arrange(list, change) {
  const held = list.contains(document.activeElement) ? document.activeElement : null;
  const place = held ? [...list.children].indexOf(held.closest("li")) : 0;
  const before = new Map([...list.children].map((child) => [child, child.getBoundingClientRect()]));
  change();
  if (held && document.activeElement !== held) {
    if (held.isConnected) held.focus({ preventScroll: true });
    else (list.children[place] ?? list.lastElementChild)?.querySelector("a")?.focus({ preventScroll: true });
  }
  if (lessMotion()) return;
  for (const child of list.children) {
    const was = before.get(child);
    if (!was) {
      child.animate([{ opacity: 0 }, { opacity: 1 }], { duration: 260, easing: "ease-out" });
      continue;
    }
    const is = child.getBoundingClientRect();
    const [x, y] = [was.left - is.left, was.top - is.top];
    if (x || y) child.animate([{ transform: `translate(${x}px, ${y}px)` }, { transform: "none" }], { duration: 420, easing: "cubic-bezier(.2,.7,.2,1)" });
  }
}
