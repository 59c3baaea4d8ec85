/**
 * Silhouettes of what stands, hangs or lies in a home and its garden: lamps, candles, cushions, frames, pots, boxes.
 *
 * Every motif stands on the floor at y = 164, around x = 100.
 */

import { circle, ellipse, line, path, rect, ring } from "./shapes.js";

const flame = (x, y, size = 1) => [
  path(`M${x} ${y} q${-13 * size} ${-13 * size} 0 ${-32 * size} q${13 * size} ${19 * size} 0 ${32 * size} Z`, "warm"),
];
const sprig = (x, y, height) => [
  line(`M${x} ${y} V${y - height}`, "ink", 3),
  path(`M${x} ${y - height * 0.4} q-24 -2 -24 -24 q24 0 24 24 Z`, "leaf"),
  path(`M${x} ${y - height * 0.6} q24 -2 24 -24 q-24 0 -24 24 Z`, "leaf"),
  path(`M${x} ${y - height * 0.85} q-14 -12 0 -30 q14 18 0 30 Z`, "leaf"),
];
const landscape = (x, y, width, height) => [
  rect(x, y, width, height, 0, "paper"), circle(x + width * 0.66, y + height * 0.34, width * 0.13, "accent"),
  path(`M${x} ${y + height} V${y + height * 0.7} Q${x + width * 0.3} ${y + height * 0.4} ${x + width * 0.6} ${y + height * 0.72} T${x + width} ${y + height * 0.62} V${y + height} Z`),
  path(`M${x} ${y + height} V${y + height * 0.88} Q${x + width * 0.5} ${y + height * 0.68} ${x + width} ${y + height * 0.86} V${y + height} Z`, "dark"),
];
const folded = (x, y, width, role) => rect(x, y, width, 22, 11, role);

export const HOME = {
  candle: [rect(66, 76, 68, 88, 8), ellipse(100, 76, 34, 8, "light"), line("M100 76 V64", "ink", 3), ...flame(100, 66), rect(66, 110, 68, 30, 0, "paper")],
  tealights: [...[48, 100, 152].flatMap((x, i) => [rect(x - 22, 136 - (i === 1 ? 24 : 0), 44, 28, 5, i === 1 ? "accent" : "body"), ellipse(x, 136 - (i === 1 ? 24 : 0), 22, 6, "light"), ...flame(x, 130 - (i === 1 ? 24 : 0), 0.8)]), rect(70, 140, 60, 24, 4, "dark")],
  lantern: [ring(100, 44, 15, "ink", 4), path("M66 74 Q100 44 134 74 Z", "dark"), rect(66, 74, 68, 82, 4), rect(76, 84, 48, 62, 3, "paper"), rect(90, 116, 20, 30, 3, "light"), ...flame(100, 116, 0.8), rect(60, 154, 80, 10, 4, "dark")],
  candleHolder: [rect(91, 56, 18, 54, 3, "paper"), ...flame(100, 52), path("M80 104 H120 Q120 122 106 124 V148 H132 Q136 164 136 164 H64 Q64 164 68 148 H94 V124 Q80 122 80 104 Z")],
  tableLamp: [path("M72 40 H128 L150 100 H50 Z"), line("M100 100 V116", "ink", 6), path("M100 112 Q132 126 118 154 H82 Q68 126 100 112 Z", "dark"), rect(72, 152, 56, 12, 6, "ink"), line("M136 100 V120", "ink", 2), circle(136, 123, 4, "accent")],
  floorLamp: [path("M64 30 H120 L136 78 H48 Z"), line("M92 78 V158", "ink", 5), rect(66, 156, 52, 8, 4, "ink"), ellipse(146, 156, 24, 8, "dark"), path("M126 156 Q128 118 146 116 Q164 118 166 156 Z", "accent")],
  stringLights: [line("M18 60 Q60 118 100 84 T182 66", "ink", 3), ...[[38, 86], [66, 101], [96, 91], [126, 76], [156, 78]].flatMap(([x, y], i) => [rect(x - 5, y, 10, 9, 2, "ink"), ellipse(x, y + 22, 12, 15, i % 2 ? "warm" : "body")])],
  pendant: [line("M100 8 V66", "ink", 3), rect(91, 58, 18, 14, 4, "ink"), path("M44 124 Q46 70 100 70 Q154 70 156 124 Z"), ellipse(100, 124, 56, 9, "dark"), ellipse(100, 128, 15, 10, "warm")],
  cushion: [path("M46 58 Q100 70 154 58 Q144 110 154 162 Q100 150 46 162 Q56 110 46 58 Z"), path("M46 58 Q100 70 154 58 Q148 66 100 78 Q54 66 46 58 Z", "light"), circle(100, 110, 5, "dark")],
  throw: [path("M52 46 H148 V140 H52 Z"), path("M52 46 H112 V140 H52 Z", "dark"), rect(52, 74, 96, 10, 0, "accent"), ...[58, 74, 90, 106, 122, 138].map((x) => line(`M${x} 142 V160`, "light", 5))],
  seatPad: [ellipse(100, 136, 66, 28, "dark"), ellipse(100, 122, 66, 28), circle(100, 122, 4, "accent"), circle(66, 118, 3, "accent"), circle(134, 118, 3, "accent"), line("M38 132 q-12 14 -4 28 M162 132 q12 14 4 28", "ink", 4)],
  bolster: [rect(32, 92, 136, 68, 34), ellipse(150, 126, 20, 34, "dark"), ellipse(150, 126, 10, 18, "accent"), line("M58 94 V158", "light", 4)],
  poster: [rect(52, 34, 96, 130, 2, "ink"), ...landscape(58, 40, 84, 118)],
  canvas: [path("M32 58 L42 50 H170 V150 L160 160 H32 Z", "ink"), ...landscape(32, 58, 128, 102)],
  frame: [rect(46, 40, 108, 124, 5), rect(58, 52, 84, 100, 2, "dark"), rect(62, 56, 76, 92, 1, "paper"), circle(100, 90, 16, "accent"), path("M70 148 Q74 112 100 112 Q126 112 130 148 Z", "ink")],
  clock: [circle(100, 104, 60), circle(100, 104, 47, "paper"), line("M100 104 V72 M100 104 L122 116", "ink", 6), circle(100, 104, 5, "accent"), line("M100 62 V67 M100 141 V146 M58 104 H63 M137 104 H142", "ink", 4)],
  pot: [...sprig(100, 104, 62), path("M58 100 H142 L132 156 Q131 164 123 164 H77 Q69 164 68 156 Z"), rect(52, 92, 96, 18, 6, "dark")],
  wateringCan: [line("M66 118 L28 74", "dark", 12), line("M18 82 L36 66", "ink", 9), line("M128 84 Q170 70 160 120 Q156 136 138 140", "dark", 9), rect(62, 86, 76, 78, 12), ellipse(100, 86, 32, 7, "dark"), line("M14 98 v8 M24 104 v8", "paper", 3)],
  birdFeeder: [line("M100 18 V44", "ink", 4), path("M44 92 L100 40 L156 92 Z", "dark"), rect(62, 90, 76, 66, 3), circle(100, 120, 17, "ink"), rect(52, 154, 96, 10, 4, "dark"), line("M100 148 V160", "accent", 6)],
  planter: [...sprig(62, 112, 44), ...sprig(100, 112, 58), ...sprig(138, 112, 44), rect(32, 110, 136, 54, 8), rect(32, 110, 136, 14, 6, "dark")],
  towel: [rect(30, 48, 140, 9, 4, "ink"), path("M58 52 H142 V152 H58 Z"), rect(58, 124, 84, 10, 0, "accent"), rect(58, 52, 84, 14, 0, "dark"), ...[62, 76, 90, 104, 118, 132].map((x) => line(`M${x + 3} 152 V162`, "light", 4))],
  mat: [path("M50 92 H150 L176 160 H24 Z"), line("M60 102 H140 L160 150 H40 Z", "light", 4), circle(100, 126, 10, "accent")],
  soapDish: [rect(66, 92, 68, 40, 18, "accent"), rect(82, 104, 36, 14, 7, "paper"), path("M34 126 H166 Q164 158 132 160 H68 Q36 158 34 126 Z"), circle(60, 82, 8, "paper"), circle(140, 70, 11, "paper"), circle(122, 54, 6, "paper")],
  curtain: [rect(22, 34, 156, 8, 4, "ink"), path("M40 46 H150 Q144 104 154 160 Q140 168 126 158 Q112 168 98 158 Q84 168 70 158 Q56 168 38 160 Q46 104 40 46 Z"), line("M70 50 V154 M98 50 V154 M126 50 V154", "dark", 3), ...[46, 72, 98, 124, 146].map((x) => ring(x, 40, 6, "accent", 3))],
  duvet: [folded(34, 66, 132, "dark"), folded(34, 86, 132, "body"), folded(34, 106, 132, "light"), folded(34, 126, 132, "body"), rect(34, 144, 132, 20, 10, "dark"), rect(84, 60, 32, 106, 2, "accent")],
  pillow: [path("M34 84 Q100 60 166 84 Q176 120 166 158 Q100 176 34 158 Q24 120 34 84 Z"), line("M48 98 Q60 102 66 112 M152 98 Q140 102 134 112", "dark", 4)],
  sheet: [rect(36, 90, 128, 34, 15, "dark"), rect(36, 120, 128, 44, 18), line("M52 142 H150", "light", 4), rect(58, 58, 84, 36, 15, "accent")],
  box: [path("M44 86 H156 V156 Q156 164 148 164 H52 Q44 164 44 156 Z"), rect(36, 62, 128, 28, 5, "dark"), rect(82, 112, 36, 14, 7, "paper")],
  basket: [line("M58 92 Q60 40 100 40 Q140 40 142 92", "dark", 8), path("M40 90 H160 L148 156 Q146 164 138 164 H62 Q54 164 52 156 Z"), line("M47 112 H153 M50 134 H150", "dark", 4), line("M74 92 L80 162 M100 92 V162 M126 92 L120 162", "light", 3)],
  hooks: [rect(24, 68, 152, 28, 8), ...[52, 100, 148].map((x) => line(`M${x} 90 V120 q0 16 13 16 t13 -13`, "ink", 6)), line("M52 128 L34 164 H72 Z", "accent", 5)],
  rack: [line("M40 46 V164 M160 46 V164", "ink", 7), rect(36, 92, 128, 9, 3), rect(36, 142, 128, 9, 3), path("M52 90 V70 H68 Q74 84 94 84 V90 Z", "accent"), path("M104 90 V70 H120 Q126 84 146 84 V90 Z", "dark"), path("M74 140 V120 H90 Q96 134 116 134 V140 Z", "light")],
  sofa: [rect(40, 66, 120, 70, 18, "dark"), rect(24, 94, 34, 60, 14), rect(142, 94, 34, 60, 14), rect(52, 110, 96, 40, 10), line("M46 152 V164 M154 152 V164", "ink", 7)],
};
