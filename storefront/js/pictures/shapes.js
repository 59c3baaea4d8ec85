/**
 * The few strokes every product picture is drawn with, on a canvas of 200 x 200 units.
 */

/** Filled path. */
export const path = (d, role = "body") => ({ tag: "path", attributes: { d }, role });

/** Line along a path, round at both ends. */
export const line = (d, role = "ink", width = 4) => ({ tag: "path", attributes: { d }, role, width });

/** Rectangle with corners of radius `r`. */
export const rect = (x, y, width, height, r = 4, role = "body") => ({
  tag: "rect",
  attributes: { x, y, width, height, rx: r },
  role,
});

/** Circle around (cx, cy). */
export const circle = (cx, cy, r, role = "body") => ({ tag: "circle", attributes: { cx, cy, r }, role });

/** Ring: a circle's line of some width. */
export const ring = (cx, cy, r, role = "body", width = 8) => ({ tag: "circle", attributes: { cx, cy, r }, role, width });

/** Ellipse around (cx, cy). */
export const ellipse = (cx, cy, rx, ry, role = "body") => ({ tag: "ellipse", attributes: { cx, cy, rx, ry }, role });
