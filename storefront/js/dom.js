/**
 * Building elements: everything that was sent by a server enters the page here, and always as text.
 *
 * There is no way to pass markup in.
 */

/**
 * An element. `properties`: `class`, `text`, `on` ({event: listener}), `data` ({name: value}); any other key is an
 * attribute, left out where its value is null, undefined or false. Strings among the children become text nodes.
 */
export function h(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "class") node.className = value;
    else if (key === "text") node.textContent = value;
    else if (key === "on") for (const [type, listener] of Object.entries(value)) node.addEventListener(type, listener);
    else if (key === "data") Object.assign(node.dataset, value);
    else node.setAttribute(key, value === true ? "" : `${value}`);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

const SVG = "http://www.w3.org/2000/svg";

/** A 24 x 24 line icon from one path, hidden from screen readers. */
export function icon(d, name = "icon") {
  const svg = document.createElementNS(SVG, "svg");
  for (const [key, value] of Object.entries({ class: name, viewBox: "0 0 24 24", "aria-hidden": "true", focusable: "false" })) {
    svg.setAttribute(key, value);
  }
  const stroke = document.createElementNS(SVG, "path");
  stroke.setAttribute("d", d);
  svg.append(stroke);
  return svg;
}

/** Whether the shopper asked for less movement. */
export const lessMotion = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

/** Move the keyboard to an element that is not in the tab order by itself (a heading, a region). */
export function focusOn(node) {
  if (!node.hasAttribute("tabindex")) node.setAttribute("tabindex", "-1");
  node.focus({ preventScroll: true });
}
