/**
 * The pattern printed on a product's body: stripes, dots, flowers and others, as tiles that repeat.
 */

import { circle, ellipse, line, path, rect } from "./shapes.js";

const HEART = "M0 3 C-5 -4 -10 2 0 9 C10 2 5 -4 0 3 Z";
const at = (x, y, shapes) => shapes.map((shape) => ({ ...shape, at: [x, y] }));
const flower = (x, y) =>
  at(x, y, [
    circle(0, -4, 3.2, "light"), circle(4, -1, 3.2, "light"), circle(2.5, 4, 3.2, "light"),
    circle(-2.5, 4, 3.2, "light"), circle(-4, -1, 3.2, "light"), circle(0, 0, 2.4, "accent"),
  ]);

/** Each pattern: size of its tile in units, turn in degrees, and the shapes on it. */
export const PATTERNS = {
  stripes: { size: 16, turn: 0, shapes: [rect(0, 0, 7, 16, 0, "light")] },
  dots: { size: 18, turn: 30, shapes: [circle(5, 5, 3.4, "light"), circle(14, 14, 3.4, "light")] },
  confetti: {
    size: 24, turn: 12,
    shapes: [circle(5, 6, 2.6, "accent"), rect(14, 3, 6, 3, 1.5, "light"), circle(18, 17, 2.2, "light"), rect(4, 17, 3, 6, 1.5, "light")],
  },
  triangles: { size: 20, turn: 0, shapes: [path("M0 20 L10 2 L20 20 Z", "light"), path("M6 20 L10 12 L14 20 Z", "dark")] },
  flowers: { size: 30, turn: 0, shapes: [...flower(8, 9), ...flower(23, 23), circle(24, 7, 1.6, "light"), circle(7, 24, 1.6, "light")] },
  leaves: {
    size: 26, turn: 0,
    shapes: [path("M4 13 Q4 3 13 3 Q13 13 4 13 Z", "light"), path("M16 24 Q16 15 24 14 Q25 23 16 24 Z", "dark"), ellipse(20, 6, 1.6, 1.6, "light")],
  },
  hearts: { size: 24, turn: 0, shapes: [...at(7, 4, [path(HEART, "light")]), ...at(18, 15, [path(HEART, "light")])] },
  stars: { size: 22, turn: 0, shapes: at(11, 11, [path("M0 -6 L2 -2 L6 -1 L3 2 L4 6 L0 4 L-4 6 L-3 2 L-6 -1 L-2 -2 Z", "light")]) },
  checks: { size: 16, turn: 0, shapes: [rect(0, 0, 8, 8, 0, "light"), rect(8, 8, 8, 8, 0, "light")] },
  grain: { size: 28, turn: 0, shapes: [line("M0 7 Q14 2 28 7", "dark", 1.2), line("M0 19 Q14 24 28 19", "dark", 1.2)] },
};
