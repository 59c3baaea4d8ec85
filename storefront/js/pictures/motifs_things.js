/**
 * Silhouettes of what people wear, carry, play, write and listen with, and the wrapped gift that stands for anything else.
 *
 * Every motif stands on the floor at y = 164, around x = 100.
 */

import { circle, ellipse, line, path, rect, ring } from "./shapes.js";

const earcups = [
  line("M46 118 V104 Q46 48 100 48 Q154 48 154 104 V118", "dark", 11), rect(30, 104, 34, 54, 15), rect(136, 104, 34, 54, 15),
  rect(54, 108, 14, 46, 7, "ink"), rect(132, 108, 14, 46, 7, "ink"),
];
const beads = (points, roles) => points.map(([x, y, r], i) => circle(x, y, r, roles[i % roles.length]));
const arc = (n, cx, cy, rx, ry, from, to, r) =>
  Array.from({ length: n }, (_, i) => {
    const angle = ((from + ((to - from) * i) / (n - 1)) * Math.PI) / 180;
    return [Math.round(cx + rx * Math.cos(angle)), Math.round(cy + ry * Math.sin(angle)), r];
  });

export const THINGS = {
  notebook: [rect(58, 42, 88, 122, 6, "paper"), rect(52, 38, 88, 122, 6), rect(52, 38, 18, 122, 6, "dark"), rect(84, 62, 42, 26, 3, "paper"), line("M150 60 V150", "accent", 6)],
  planner: [rect(42, 52, 116, 112, 8, "paper"), path("M42 60 Q42 52 50 52 H150 Q158 52 158 60 V84 H42 Z"), ...[0, 1, 2, 3].flatMap((c) => [0, 1, 2].map((r) => rect(54 + c * 25, 94 + r * 22, 16, 14, 3, (c + r * 2) % 5 === 2 ? "accent" : "light"))), line("M72 42 V60 M128 42 V60", "ink", 6)],
  pens: [...[[62, "body"], [90, "accent"], [118, "dark"]].flatMap(([x, role], i) => [rect(x, 46 + i * 6, 20, 96 - i * 6, 4, role), path(`M${x} 142 H${x + 20} L${x + 10} 164 Z`, "paper"), rect(x, 54 + i * 6, 20, 6, 0, "light")])],
  card: [path("M40 74 H160 V156 Q160 164 152 164 H48 Q40 164 40 156 Z", "dark"), rect(52, 40, 96, 84, 4, "paper"), path("M100 96 C70 74 80 52 100 66 C120 52 130 74 100 96 Z", "accent"), path("M40 74 L100 124 L160 74 V156 Q160 164 152 164 H48 Q40 164 40 156 Z")],
  creamJar: [rect(46, 96, 108, 68, 16), rect(50, 64, 100, 34, 8, "dark"), rect(66, 114, 68, 28, 4, "paper")],
  dropper: [rect(90, 24, 20, 26, 9, "ink"), rect(82, 46, 36, 20, 4, "dark"), path("M86 66 H114 V76 Q134 82 134 98 V154 Q134 164 124 164 H76 Q66 164 66 154 V98 Q66 82 86 76 Z"), rect(74, 104, 52, 40, 4, "paper"), path("M100 110 Q112 126 100 136 Q88 126 100 110 Z", "accent")],
  pump: [path("M74 36 H112 V46 H104 V62 H94 V46 H74 Z", "ink"), rect(82, 60, 34, 14, 4, "dark"), path("M70 74 H130 Q138 78 138 90 V152 Q138 164 126 164 H74 Q62 164 62 152 V90 Q62 78 70 74 Z"), rect(72, 98, 56, 42, 4, "paper"), line("M82 112 H118 M82 124 H106", "accent", 4)],
  tube: [path("M62 40 H138 L130 138 H70 Z"), rect(58, 32, 84, 12, 3, "dark"), path("M74 138 H126 V156 Q126 164 118 164 H82 Q74 164 74 156 Z", "ink"), rect(76, 70, 48, 36, 4, "paper"), circle(100, 88, 10, "accent")],
  puzzle: [path("M44 60 H86 Q78 40 100 40 Q122 40 114 60 H156 V100 Q136 92 136 112 Q136 132 156 124 V164 H44 V124 Q64 132 64 112 Q64 92 44 100 Z"), circle(82, 92, 7, "accent"), circle(118, 136, 7, "light")],
  train: [rect(30, 100, 74, 44, 8), rect(38, 64, 42, 40, 4, "dark"), rect(46, 72, 26, 20, 3, "paper"), rect(84, 76, 14, 28, 3, "accent"), rect(112, 104, 60, 40, 6, "light"), circle(50, 150, 14, "ink"), circle(86, 150, 14, "ink"), circle(128, 150, 14, "ink"), circle(158, 150, 14, "ink"), circle(132, 96, 12, "accent"), circle(152, 96, 10, "dark"), line("M102 132 H114", "ink", 5)],
  bear: [circle(66, 54, 17, "dark"), circle(134, 54, 17, "dark"), ellipse(100, 138, 42, 34), circle(56, 128, 15, "dark"), circle(144, 128, 15, "dark"), circle(100, 78, 43), ellipse(100, 92, 19, 15, "paper"), circle(84, 72, 5, "ink"), circle(116, 72, 5, "ink"), ellipse(100, 86, 6, 4.5, "ink"), ellipse(76, 158, 17, 10, "dark"), ellipse(124, 158, 17, 10, "dark")],
  blocks: [rect(36, 110, 56, 54, 6), rect(100, 110, 56, 54, 6, "accent"), rect(68, 52, 56, 54, 6, "dark"), circle(64, 137, 14, "paper"), path("M128 122 L144 150 H112 Z", "paper"), rect(84, 68, 24, 24, 3, "paper")],
  tote: [line("M72 84 Q72 38 100 38 Q128 38 128 84", "dark", 7), path("M48 78 H152 L158 156 Q158 164 150 164 H50 Q42 164 42 156 Z"), circle(100, 122, 19, "accent"), line("M48 84 H152", "dark", 4)],
  backpack: [line("M84 56 Q84 32 100 32 Q116 32 116 56", "ink", 7), rect(36, 100, 20, 50, 9, "dark"), rect(144, 100, 20, 50, 9, "dark"), path("M52 96 Q52 50 100 50 Q148 50 148 96 V150 Q148 164 134 164 H66 Q52 164 52 150 Z"), rect(66, 110, 68, 44, 9, "dark"), line("M66 126 H134", "accent", 5), line("M72 84 H128", "light", 4)],
  washBag: [rect(34, 80, 132, 84, 26), line("M52 84 H148", "ink", 5), rect(140, 80, 12, 24, 4, "accent"), line("M34 122 H166", "dark", 4)],
  shoulderBag: [line("M48 96 Q52 30 100 30 Q148 30 152 96", "dark", 6), path("M42 92 H158 L150 156 Q149 164 141 164 H59 Q51 164 50 156 Z"), path("M42 92 H158 Q150 134 100 134 Q50 134 42 92 Z", "dark"), rect(91, 124, 18, 20, 4, "accent")],
  headphones: earcups,
  headset: [...earcups, line("M154 150 Q150 174 112 168", "ink", 5), ellipse(108, 168, 11, 7, "accent")],
  earbuds: [rect(56, 84, 20, 78, 10, "dark"), circle(66, 76, 30), ellipse(84, 72, 12, 16, "ink"), rect(124, 84, 20, 78, 10, "dark"), circle(134, 76, 30), ellipse(116, 72, 12, 16, "ink"), rect(62, 148, 8, 8, 4, "accent"), rect(130, 148, 8, 8, 4, "accent")],
  speaker: [line("M72 52 Q72 32 100 32 Q128 32 128 52", "ink", 7), rect(58, 48, 84, 116, 22), circle(100, 118, 31, "ink"), circle(100, 118, 16, "dark"), circle(100, 74, 11, "ink"), circle(126, 62, 4, "accent")],
  necklace: [line("M52 36 Q52 124 100 128 Q148 124 148 36", "ink", 3), ...beads(arc(9, 100, 62, 48, 64, 160, 20, 6), ["body", "accent", "light"]), path("M100 126 L118 144 L100 166 L82 144 Z"), path("M100 126 L118 144 H82 Z", "light")],
  bracelet: [...beads(arc(18, 100, 108, 56, 46, 0, 340, 11), ["body", "dark", "light"]), circle(100, 156, 14, "accent")],
  earrings: [line("M66 62 q-2 -20 12 -20 t10 16", "ink", 3), line("M124 62 q-2 -20 12 -20 t10 16", "ink", 3), circle(66, 76, 13), path("M66 88 L84 120 L66 158 L48 120 Z", "accent"), path("M66 88 L84 120 H48 Z", "light"), circle(124, 76, 13), path("M124 88 L142 120 L124 158 L106 120 Z", "accent"), path("M124 88 L142 120 H106 Z", "light")],
  ring: [ring(100, 120, 40, "dark", 11), path("M72 62 L84 44 H116 L128 62 L100 92 Z", "accent"), path("M72 62 H128 L100 92 Z"), line("M84 44 L92 62 L100 92 L108 62 L116 44", "paper", 2)],
  yogaMat: [rect(58, 120, 118, 44, 8, "dark"), rect(24, 112, 140, 52, 26), circle(50, 138, 26, "light"), ring(50, 138, 15, "body", 5), circle(50, 138, 5, "dark"), rect(100, 110, 12, 56, 3, "accent")],
  dumbbell: [rect(40, 104, 120, 16, 8, "ink"), rect(36, 72, 28, 80, 10), rect(136, 72, 28, 80, 10), rect(22, 88, 16, 48, 7, "dark"), rect(162, 88, 16, 48, 7, "dark")],
  band: [line("M62 60 Q20 110 62 150 Q100 168 138 150 Q180 110 138 60", "body", 13), line("M62 60 Q100 92 138 60", "dark", 13), rect(42, 40, 34, 26, 8, "ink"), rect(124, 40, 34, 26, 8, "ink")],
  shirt: [path("M72 46 Q100 66 128 46 L168 70 L152 100 L138 92 V164 H62 V92 L48 100 L32 70 Z"), path("M78 46 Q100 74 122 46 Z", "dark")],
  shoe: [path("M34 92 H72 Q84 122 126 124 Q170 128 170 152 H34 Z"), rect(28, 150, 144, 14, 7, "paper"), line("M80 112 L94 102 M96 120 L108 108", "paper", 4)],
  book: [path("M100 62 Q70 44 34 56 V154 Q70 142 100 160 Z"), path("M100 62 Q130 44 166 56 V154 Q130 142 100 160 Z", "dark"), line("M50 80 Q70 74 88 84 M50 100 Q70 94 88 104 M112 84 Q130 74 150 80 M112 104 Q130 94 150 100", "paper", 4)],
  phone: [rect(64, 32, 72, 132, 14, "ink"), rect(71, 44, 58, 108, 6), circle(100, 158, 3, "paper"), circle(100, 84, 19, "accent"), rect(80, 116, 40, 8, 4, "light")],
  screen: [rect(30, 46, 140, 92, 9, "ink"), rect(38, 54, 124, 76, 4), rect(90, 138, 20, 16, 0, "ink"), rect(66, 154, 68, 10, 5, "dark"), circle(132, 78, 11, "accent"), path("M38 130 L78 86 L104 114 L122 98 L152 130 Z", "light")],
  ball: [circle(100, 110, 54), line("M60 74 Q100 110 60 148 M140 74 Q100 110 140 148", "dark", 5), line("M100 56 V164", "light", 4)],
  bunting: [line("M14 62 Q100 108 186 62", "ink", 4), ...[[34, 73], [70, 84], [106, 85], [142, 77]].map(([x, y], i) => path(`M${x - 14} ${y - 1} L${x + 18} ${y} L${x + 4} ${y + 50} Z`, ["body", "accent", "dark", "light"][i]))],
  heart: [path("M100 158 C14 96 46 34 100 76 C154 34 186 96 100 158 Z"), path("M58 82 Q64 64 82 68 Q66 74 58 82 Z", "light"), line("M100 74 V34", "ink", 3)],
  umbrella: [line("M100 100 V146 q0 18 16 18 t14 -16", "ink", 6), path("M28 104 Q36 40 100 38 Q164 40 172 104 Q148 90 136 104 Q120 90 100 104 Q80 90 64 104 Q52 90 28 104 Z"), path("M64 104 Q68 56 100 38 Q132 56 136 104 Q120 90 100 104 Q80 90 64 104 Z", "dark"), line("M100 38 V28", "ink", 5)],
  gift: [rect(44, 88, 112, 76, 6), rect(36, 68, 128, 26, 5, "dark"), rect(90, 68, 20, 96, 0, "accent"), path("M100 68 Q62 70 66 46 Q80 32 100 68 Z", "accent"), path("M100 68 Q138 70 134 46 Q120 32 100 68 Z", "accent")],
};

/** Calm still lifes of plain bodies, for products that come without a name and a category. */
export const STILL_LIFES = [
  [circle(78, 124, 40, "dark"), rect(96, 60, 44, 104, 22), circle(134, 146, 18, "accent")],
  [path("M44 164 L88 60 L132 164 Z"), circle(132, 126, 38, "accent"), rect(36, 146, 60, 18, 4, "dark")],
  [rect(46, 104, 60, 60, 6), path("M94 164 V104 Q94 74 124 74 Q154 74 154 104 V164 Z", "dark"), circle(76, 78, 26, "accent")],
  [path("M40 164 A60 60 0 0 1 160 164 Z"), rect(84, 48, 32, 60, 16, "accent"), circle(146, 84, 16, "dark")],
];
