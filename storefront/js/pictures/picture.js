/**
 * A product's picture: the shop's image, or one drawn in the browser from id, name and category, so that the same product
 * looks the same everywhere.
 */

import { css, hash, look } from "./colours.js";
import { HOME } from "./motifs_home.js";
import { KITCHEN } from "./motifs_kitchen.js";
import { STILL_LIFES, THINGS } from "./motifs_things.js";
import { PATTERNS } from "./patterns.js";

const SVG = "http://www.w3.org/2000/svg";
const MOTIFS = { ...KITCHEN, ...HOME, ...THINGS };

/** Words of a name that call for a motif; the first line that matches wins, so special before general. */
const CALLS = [
  [/travel mug|tumbler|thermos/, "tumbler"], [/tea ?cup|espresso cup|saucer/, "teacup"], [/\bmug\b|\bcups?\b/, "mug"],
  [/tealight|t-light|votive/, "tealights"], [/lantern/, "lantern"], [/candle ?(holder|stick)/, "candleHolder"], [/candle/, "candle"],
  [/coffee beans/, "coffeePouch"], [/capsule|\bpods?\b/, "capsules"], [/cold brew|\bwine\b|\bjuice\b/, "coldBrew"], [/coffee/, "groundCoffee"],
  [/string light|fairy light/, "stringLights"], [/floor lamp/, "floorLamp"], [/pendant light|chandelier/, "pendant"], [/lamp|\blight\b/, "tableLamp"],
  [/bolster/, "bolster"], [/seat pad|\bstool\b/, "seatPad"], [/\bthrow\b/, "throw"], [/cushion/, "cushion"],
  [/planner|calendar|diary/, "planner"], [/\bpens?\b|pencil|crayon|marker/, "pens"], [/\bcards?\b|envelope/, "card"], [/notebook|journal|sketch/, "notebook"],
  [/serum|\boil\b|perfume|fragrance/, "dropper"], [/cleanser|lotion|shampoo|conditioner|\bgel\b|body wash/, "pump"], [/balm|\btube\b|sunscreen|tooth/, "tube"], [/(face|hand|body|eye|night|day) cream|mask|moisturi/, "creamJar"],
  [/puzzle|jigsaw/, "puzzle"], [/train|\bcars?\b|truck/, "train"], [/bear|plush|doll|soft toy/, "bear"], [/blocks|lego|bricks/, "blocks"],
  [/chopping board|cutting board/, "board"], [/whisk|spatula|ladle/, "whisk"], [/\bjug\b|pitcher|teapot/, "jug"], [/knife|scissors/, "knife"],
  [/tea sampler|assort|selection/, "sampler"], [/herbal tea/, "teaSachet"], [/black tea/, "teaBox"], [/\bteas?\b/, "teaTin"],
  [/backpack|rucksack/, "backpack"], [/wash bag|toiletry|\bpurse\b|wallet|pouch/, "washBag"], [/shoulder bag|handbag|satchel/, "shoulderBag"], [/\bbags?\b|tote/, "tote"],
  [/watering can/, "wateringCan"], [/bird (feeder|house)|nest ?box/, "birdFeeder"], [/planter|trough/, "planter"], [/plant|\bpot\b|vase|flower ?pot/, "pot"],
  [/canvas|painting/, "canvas"], [/frame/, "frame"], [/clock|watch/, "clock"], [/poster|print|\bsign\b|picture/, "poster"],
  [/bath mat|\brug\b|doormat/, "mat"], [/soap dish|\bsoap\b bar/, "soapDish"], [/curtain/, "curtain"], [/towel/, "towel"],
  [/dish soap|detergent/, "dishSoap"], [/spray/, "spray"], [/sponge/, "sponge"], [/laundry|powder/, "powderBox"],
  [/headset|microphone/, "headset"], [/earbud|earphone/, "earbuds"], [/speaker|radio/, "speaker"], [/headphone/, "headphones"],
  [/plate/, "plate"], [/\btray\b/, "tray"], [/cutlery|spoon|fork/, "cutlery"], [/mixing bowl/, "mixingBowl"], [/bowl/, "bowl"],
  [/bracelet|bangle/, "bracelet"], [/earring/, "earrings"], [/\bring\b/, "ring"], [/necklace|pendant|jewel/, "necklace"],
  [/cat food/, "catFood"], [/treats?\b/, "treats"], [/bird seed|\bseeds?\b/, "birdSeed"], [/dog|pet\b/, "dogFood"],
  [/pillow/, "pillow"], [/sheet/, "sheet"], [/duvet|quilt|blanket/, "duvet"],
  [/yoga/, "yogaMat"], [/dumbbell|kettlebell|weights?\b/, "dumbbell"], [/resistance|\bband\b/, "band"], [/bottle|flask/, "flask"],
  [/chocolate/, "bar"], [/granola|cereal|muesli/, "coffeePouch"], [/\bnuts?\b|\bjam\b|honey|\bjars?\b/, "jarFood"], [/biscuit|cookies?$|cracker/, "biscuits"],
  [/hook/, "hooks"], [/rack|shelf|shelves/, "rack"], [/basket|hamper/, "basket"], [/storage|\bbox(es)?\b|crate|\btin\b(?<!cake tin)/, "box"],
  [/cake/, "cakeTin"], [/rolling pin/, "rollingPin"], [/cutters?/, "cutters"],
  [/shirt|dress|jacket|apron|sweater/, "shirt"], [/shoe|boot|sneaker|slipper/, "shoe"], [/\bbooks?\b|novel/, "book"], [/phone|mobile/, "phone"],
  [/laptop|tablet|monitor|\btv\b|camera/, "screen"], [/sofa|chair|couch|bench/, "sofa"], [/umbrella|parasol/, "umbrella"], [/bunting|garland/, "bunting"],
  [/\bball\b|football|game/, "ball"], [/heart/, "heart"],
];

const motifCalledBy = (words) => CALLS.find(([pattern]) => pattern.test(words))?.[1];

/** Silhouette of a product: by its name, else by its category, else a wrapped gift; a still life where it has neither. */
export function motifOf(product) {
  const name = product.name === product.id ? "" : `${product.name ?? ""}`.toLowerCase();
  const category = `${product.category ?? ""}`.toLowerCase();
  const singular = category.replace(/s\b/g, "");
  const called = motifCalledBy(name) ?? motifCalledBy(category) ?? motifCalledBy(singular);
  if (called) return MOTIFS[called];
  if (!name) return STILL_LIFES[hash(`${product.id}`) % STILL_LIFES.length];
  return MOTIFS.gift;
}

function element(tag, attributes, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

function stroke(shape, paint) {
  const attributes = { ...shape.attributes };
  if (shape.at) attributes.transform = `translate(${shape.at[0]} ${shape.at[1]})`;
  if (shape.width) {
    Object.assign(attributes, { fill: "none", stroke: paint, "stroke-width": shape.width, "stroke-linecap": "round", "stroke-linejoin": "round" });
  } else {
    attributes.fill = paint;
  }
  return element(shape.tag, attributes);
}

/** What stands behind the object; the hue comes by a custom property so that the style sheet can set light or dark. */
const BACKDROPS = [
  () => element("path", { class: "picture-back", d: "M36 200 V104 A64 64 0 0 1 164 104 V200 Z" }),
  () => element("circle", { class: "picture-back", cx: 100, cy: 100, r: 78 }),
  () => element("path", { class: "picture-back", d: "M0 132 Q60 78 118 112 T200 96 V200 H0 Z" }),
  () => element("rect", { class: "picture-back", x: 26, y: 26, width: 148, height: 148, rx: 34 }),
];

let drawn = 0;

/**
 * The picture of a product, hidden from screen readers (its name always stands beside it): the shop's own image where
 * the catalogue has one, else a drawing. A drawing also takes the place of an image that cannot be loaded.
 */
export function picture(product) {
  if (!product.image) return drawing(product);
  const image = document.createElement("img");
  image.className = "picture picture-photo";
  image.alt = "";
  image.loading = "lazy";
  image.addEventListener("error", () => image.replaceWith(drawing(product)), { once: true });
  image.src = product.image;
  return image;
}

/** An SVG element drawn from `id`, `name` and `category`, of which the last two may be missing. */
function drawing(product) {
  const { ground, number, pattern, colours } = look(product.id, product.name, product.category);
  const paint = Object.fromEntries(Object.entries(colours).map(([role, colour]) => [role, css(colour)]));
  const svg = element("svg", { class: "picture", viewBox: "0 0 200 200", "aria-hidden": "true", focusable: "false" });
  svg.style.setProperty("--hue", `${ground}`);
  const backdrop = BACKDROPS[hash(`backdrop of ${product.category ?? product.id}`) % BACKDROPS.length];
  svg.append(element("rect", { class: "picture-ground", width: 200, height: 200 }), backdrop());
  svg.append(element("ellipse", { class: "picture-shadow", cx: 100, cy: 165, rx: 62, ry: 7 }));
  let printed = null;
  if (pattern) {
    const tile = PATTERNS[pattern];
    drawn += 1;
    printed = `printed-${drawn}`;
    const size = { width: tile.size, height: tile.size, patternUnits: "userSpaceOnUse", patternTransform: `rotate(${tile.turn})` };
    const attributes = { id: printed, ...size };
    svg.append(element("defs", {}, element("pattern", attributes, ...tile.shapes.map((shape) => stroke(shape, paint[shape.role])))));
  }
  const flipped = number % 2 === 0 ? {} : { transform: "translate(200 0) scale(-1 1)" };
  const object = element("g", flipped);
  for (const shape of motifOf(product)) {
    object.append(stroke(shape, paint[shape.role]));
    if (printed && shape.role === "body") object.append(stroke(shape, `url(#${printed})`));
  }
  svg.append(object);
  return svg;
}
