/**
 * A notice in place of what failed: what happened, what to do, and a button to try again.
 */

import { h, icon } from "../dom.js";

const MARK = "M12 8v5M12 16.5v.5M12 3 2.5 20h19L12 3Z";

/** A notice with Retry; `retry` is called on the button, and by itself when the browser is back online. */
export function problemNotice(problem, retry) {
  const facts = [
    problem.status ? `Status ${problem.status}` : null,
    problem.details || null,
    problem.field ? `Field: ${problem.field}` : null,
    problem.requestId ? `Request ${problem.requestId}` : null,
  ].filter(Boolean);
  let asked = false;
  const again = () => {
    if (asked) return;
    asked = true;
    removeEventListener("online", again);
    retry();
  };
  if (problem.kind === "offline" || problem.kind === "unreachable") addEventListener("online", again);
  return h(
    "div",
    { class: "problem", role: "alert" },
    icon(MARK, "icon problem-sign"),
    h(
      "div",
      { class: "problem-text" },
      h("p", { class: "problem-title", text: problem.title ?? "Something went wrong" }),
      h("p", { text: problem.advice ?? `${problem.message}` }),
      facts.length > 0 && h("p", { class: "problem-facts", text: facts.join(" · ") }),
    ),
    h("button", { type: "button", class: "button", text: "Retry", on: { click: again } }),
  );
}
