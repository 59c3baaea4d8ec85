/**
 * Silhouettes of what is eaten, drunk, cooked and cleaned with: mugs, pouches, bottles, plates, tools.
 *
 * Every motif stands on the floor at y = 164, around x = 100.
 */

import { circle, ellipse, line, path, rect, ring } from "./shapes.js";

const leaf = (x, y, role = "accent") => path(`M${x} ${y} q2 -26 26 -28 q0 26 -26 28 Z`, role);
const paw = (x, y) => [
  ellipse(x, y, 11, 9, "paper"), circle(x - 13, y - 9, 5, "paper"), circle(x - 5, y - 16, 5, "paper"),
  circle(x + 6, y - 16, 5, "paper"), circle(x + 14, y - 9, 5, "paper"),
];
const pouch = (...label) => [
  path("M58 52 L142 52 L148 158 Q148 164 142 164 L58 164 Q52 164 52 158 Z"), path("M58 40 H142 V54 H58 Z", "dark"), ...label,
];
const bean = (x, y) => [ellipse(x, y, 9, 13, "ink"), line(`M${x} ${y - 10} q5 5 0 10 t0 10`, "light", 2)];
const bottle = (...label) => [
  rect(84, 34, 32, 20, 5, "dark"), path("M86 52 H114 V66 Q136 76 136 96 V154 Q136 164 126 164 H74 Q64 164 64 154 V96 Q64 76 86 66 Z"), ...label,
];
const carton = (...label) => [rect(58, 58, 84, 106, 5), path("M58 58 L70 40 H130 L142 58 Z", "dark"), ...label];

export const KITCHEN = {
  mug: [line("M134 84 q32 -2 30 24 t-34 26", "dark", 11), path("M54 66 H136 V146 Q136 164 118 164 H72 Q54 164 54 146 Z"), ellipse(95, 66, 41, 9, "dark"), ellipse(95, 67, 33, 6, "ink")],
  teacup: [ellipse(100, 158, 66, 8, "dark"), line("M142 96 q26 -4 22 16 t-32 20", "dark", 8), path("M50 84 H146 Q144 150 112 154 H84 Q52 150 50 84 Z"), ellipse(98, 84, 48, 9, "dark"), ellipse(98, 85, 40, 6, "accent"), line("M86 66 q-6 -9 0 -17 t0 -16", "paper", 4), line("M108 66 q-6 -9 0 -17 t0 -16", "paper", 4)],
  tumbler: [path("M66 62 H134 L126 156 Q125 164 117 164 H83 Q75 164 74 156 Z"), rect(60, 46, 80, 18, 8, "ink"), rect(90, 36, 22, 12, 4, "ink"), rect(69, 96, 62, 26, 3, "accent")],
  coffeePouch: pouch(rect(72, 84, 56, 56, 28, "paper"), ...bean(92, 112), ...bean(110, 112)),
  groundCoffee: pouch(rect(66, 80, 68, 62, 4, "paper"), path("M82 106 H112 V120 Q112 130 102 130 H92 Q82 130 82 120 Z", "ink"), line("M112 110 q12 0 10 8 t-11 7", "ink", 3), line("M92 98 q-4 -5 0 -10 M102 98 q-4 -5 0 -10", "accent", 3)),
  capsules: [path("M36 112 H84 L76 160 Q75 164 71 164 H49 Q45 164 44 160 Z"), ellipse(60, 112, 25, 7, "dark"), path("M116 112 H164 L156 160 Q155 164 151 164 H129 Q125 164 124 160 Z"), ellipse(140, 112, 25, 7, "dark"), path("M76 78 H124 L115 158 Q114 164 108 164 H92 Q86 164 85 158 Z", "accent"), ellipse(100, 78, 25, 7, "ink")],
  coldBrew: bottle(rect(64, 104, 72, 40, 0, "paper"), ...bean(100, 124)),
  teaTin: [rect(58, 62, 84, 102, 8), rect(54, 50, 92, 20, 6, "dark"), circle(100, 118, 27, "paper"), leaf(87, 132)],
  teaBox: carton(rect(58, 88, 84, 46, 0, "paper"), leaf(76, 126), line("M128 58 q22 10 16 38", "ink", 2.5), rect(135, 94, 20, 24, 3, "accent")),
  teaSachet: [line("M100 66 V38 H142 V62", "ink", 2.5), rect(128, 60, 28, 30, 4, "accent"), path("M70 82 L100 62 L130 82 L142 158 Q142 164 136 164 H64 Q58 164 58 158 Z", "paper"), path("M66 112 L134 112 L142 158 Q142 164 136 164 H64 Q58 164 58 158 Z"), leaf(90, 150, "light")],
  sampler: [rect(40, 52, 120, 112, 8, "dark"), rect(50, 62, 46, 44, 4), rect(104, 62, 46, 44, 4, "accent"), rect(50, 112, 46, 44, 4, "light"), rect(104, 112, 46, 44, 4, "paper"), leaf(114, 146), leaf(60, 96, "paper")],
  bowl: [path("M40 96 H160 Q156 152 118 158 V164 H82 V158 Q44 152 40 96 Z"), ellipse(100, 96, 60, 12, "dark"), ellipse(100, 98, 50, 8, "paper")],
  mixingBowl: [line("M118 96 L150 40", "accent", 9), path("M34 92 H166 Q160 154 120 164 H80 Q40 154 34 92 Z"), ellipse(100, 92, 66, 12, "dark"), ellipse(100, 95, 56, 8, "light")],
  plate: [circle(100, 106, 60, "dark"), circle(100, 103, 60), circle(100, 103, 40, "paper"), ring(100, 103, 34, "light", 2)],
  tray: [path("M26 116 H174 L160 152 Q158 158 152 158 H48 Q42 158 40 152 Z"), rect(22, 106, 156, 14, 7, "dark"), circle(74, 88, 17, "accent"), rect(100, 62, 40, 44, 6, "paper"), ellipse(120, 62, 20, 5, "light")],
  cutlery: [rect(92, 96, 16, 70, 8), ellipse(100, 68, 19, 28, "light"), rect(44, 92, 14, 74, 7), path("M36 44 H42 V72 H48 V44 H54 V72 H60 V44 H66 V80 Q66 94 51 94 Q36 94 36 80 Z", "light"), rect(142, 100, 14, 66, 7), path("M142 42 Q166 62 158 104 H142 Z", "light")],
  board: [path("M58 74 Q58 62 70 62 H88 V46 Q88 34 100 34 Q112 34 112 46 V62 H130 Q142 62 142 74 V152 Q142 164 130 164 H70 Q58 164 58 152 Z"), circle(100, 48, 6, "paper"), line("M74 88 V146", "dark", 3)],
  whisk: [rect(91, 104, 18, 60, 9), ring(100, 72, 36, "ink", 4), line("M100 36 V106 M82 42 Q74 76 96 106 M118 42 Q126 76 104 106", "ink", 4), rect(89, 98, 22, 12, 5, "accent")],
  jug: [line("M138 78 q30 4 24 34 t-30 28", "dark", 10), path("M48 56 L64 66 H140 L134 152 Q133 164 121 164 H77 Q65 164 64 152 L58 76 Z"), line("M76 92 H96 M78 112 H92 M80 132 H96", "paper", 4)],
  knife: [path("M92 28 Q126 60 116 112 H92 Z", "light"), rect(88, 108, 32, 12, 4, "accent"), path("M90 118 H118 L114 158 Q113 166 104 166 Q94 166 94 158 Z")],
  powderBox: carton(circle(100, 112, 29, "paper"), circle(92, 114, 11, "accent"), circle(108, 104, 7, "light"), circle(111, 120, 5, "accent")),
  dishSoap: [rect(90, 30, 20, 14, 4, "ink"), path("M82 42 H118 V56 Q138 66 136 92 L130 156 Q129 164 121 164 H79 Q71 164 70 156 L64 92 Q62 66 82 56 Z"), ellipse(100, 112, 22, 26, "paper"), path("M100 94 Q114 112 100 126 Q86 112 100 94 Z", "accent")],
  spray: [path("M70 34 H120 Q128 34 128 44 V58 H84 V46 H70 Z", "ink"), line("M86 56 Q74 62 76 76", "ink", 6), rect(90, 56, 24, 16, 2, "dark"), path("M92 70 H112 Q134 82 134 104 V154 Q134 164 124 164 H80 Q70 164 70 154 V104 Q70 82 92 70 Z"), rect(78, 108, 48, 34, 5, "paper"), circle(54, 32, 3, "paper"), circle(46, 42, 3, "paper"), circle(55, 48, 2, "paper")],
  sponge: [rect(38, 104, 124, 34, 10), rect(38, 132, 124, 30, 10, "dark"), rect(58, 70, 92, 40, 10, "accent"), circle(62, 120, 4, "dark"), circle(98, 114, 5, "dark"), circle(132, 122, 4, "dark")],
  dogFood: pouch(...paw(100, 122)),
  catFood: [rect(44, 88, 112, 76, 10), ellipse(100, 88, 56, 14, "light"), ellipse(100, 88, 44, 9, "dark"), ...paw(100, 136)],
  treats: [path("M58 72 Q100 86 142 72 L138 154 Q138 164 128 164 H72 Q62 164 62 154 Z"), rect(56, 50, 88, 26, 8, "ink"), line("M80 118 H120", "paper", 12), circle(78, 112, 8, "paper"), circle(78, 124, 8, "paper"), circle(122, 112, 8, "paper"), circle(122, 124, 8, "paper")],
  birdSeed: pouch(circle(100, 112, 30, "paper"), path("M82 118 Q84 98 106 100 L118 94 L114 106 Q112 126 94 126 Z", "accent"), circle(104, 107, 2.5, "ink"), line("M80 122 L70 128", "accent", 6)),
  bar: [path("M62 72 H138 V148 L130 164 L122 156 L114 164 L106 156 L98 164 L90 156 L82 164 L74 156 L66 164 L62 156 Z"), rect(62, 30, 76, 46, 4, "ink"), line("M87 32 V74 M113 32 V74 M64 53 H136", "light", 2), rect(74, 92, 52, 34, 4, "paper")],
  jarFood: [rect(60, 58, 80, 106, 16, "paper"), path("M60 92 H140 V148 Q140 164 124 164 H76 Q60 164 60 148 Z"), rect(64, 38, 72, 24, 7, "dark"), rect(72, 104, 56, 34, 4, "accent")],
  biscuits: [circle(76, 128, 36, "dark"), circle(124, 124, 40), circle(100, 84, 40, "light"), circle(90, 76, 5, "ink"), circle(112, 84, 5, "ink"), circle(96, 98, 5, "ink"), circle(136, 132, 5, "ink"), circle(118, 140, 5, "ink")],
  cakeTin: [path("M36 98 H164 L154 158 Q153 164 147 164 H53 Q47 164 46 158 Z"), ellipse(100, 98, 64, 13, "dark"), path("M48 98 Q52 62 100 60 Q148 62 152 98 Q126 108 100 108 Q74 108 48 98 Z", "accent"), circle(100, 54, 9, "ink")],
  rollingPin: [line("M40 150 L160 54", "dark", 12), line("M66 129 L134 75", "body", 34), line("M78 112 L122 77", "light", 4)],
  cutters: [ring(70, 128, 30, "body", 9), line("M128 70 L138 90 L160 92 L144 108 L148 130 L128 119 L108 130 L112 108 L96 92 L118 90 Z", "accent", 8), line("M72 86 C50 60 34 88 72 104 C108 88 94 60 72 86 Z", "dark", 8)],
  flask: [rect(84, 30, 32, 22, 6, "ink"), path("M80 52 H120 Q130 62 130 76 V152 Q130 164 118 164 H82 Q70 164 70 152 V76 Q70 62 80 52 Z"), rect(70, 108, 60, 16, 0, "accent"), line("M80 78 V98", "light", 5)],
};
