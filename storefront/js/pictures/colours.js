/**
 * Which colours and which pattern a product wears: read from the words of its name, else drawn from its id.
 *
 * Colours are [lightness 0-1, chroma, hue in degrees] in OKLCH, so that equal lightness looks equally light in every
 * hue.
 */

/** FNV-1a over the text's UTF-16 units: the same 32-bit number in every browser, for ever. */
export function hash(text) {
  let value = 0x811c9dc5;
  for (let i = 0; i < text.length; i += 1) {
    value = Math.imul(value ^ text.charCodeAt(i), 0x01000193);
  }
  value = Math.imul(value ^ (value >>> 15), 0x2c1b3c6d);
  return (value ^ (value >>> 13)) >>> 0;
}

/** The colour as CSS writes it. */
export const css = ([lightness, chroma, hue]) =>
  `oklch(${lightness.toFixed(3)} ${chroma.toFixed(3)} ${((hue % 360) + 360) % 360})`;

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const shade = ([lightness, chroma, hue], by) => [clamp(lightness + by, 0.18, 0.97), chroma, hue];

const COLOUR_WORDS = {
  red: [0.58, 0.19, 27], scarlet: [0.58, 0.19, 27], cherry: [0.54, 0.18, 20], pink: [0.78, 0.11, 0],
  rose: [0.74, 0.11, 10], coral: [0.72, 0.14, 35], orange: [0.73, 0.15, 58], yellow: [0.86, 0.14, 92],
  gold: [0.77, 0.11, 85], golden: [0.77, 0.11, 85], green: [0.6, 0.12, 150], mint: [0.85, 0.08, 165],
  olive: [0.6, 0.09, 115], blue: [0.58, 0.13, 250], navy: [0.37, 0.09, 262], turquoise: [0.73, 0.1, 195],
  teal: [0.55, 0.09, 195], purple: [0.52, 0.15, 305], lilac: [0.8, 0.08, 305], lavender: [0.8, 0.08, 300],
  violet: [0.55, 0.15, 295], brown: [0.5, 0.07, 55], black: [0.3, 0.01, 260], white: [0.96, 0.006, 100],
  cream: [0.94, 0.03, 92], ivory: [0.94, 0.03, 92], grey: [0.7, 0.01, 250], gray: [0.7, 0.01, 250],
  silver: [0.83, 0.015, 250], chrome: [0.83, 0.018, 245], polished: [0.78, 0.025, 230], metal: [0.74, 0.015, 240],
  oak: [0.7, 0.085, 68], wood: [0.66, 0.085, 62], wooden: [0.66, 0.085, 62], rustic: [0.58, 0.08, 52],
  vintage: [0.66, 0.085, 38], retro: [0.68, 0.14, 48], organic: [0.66, 0.085, 135], recycled: [0.74, 0.05, 110],
  botanical: [0.55, 0.1, 150], luxury: [0.38, 0.075, 300], premium: [0.36, 0.06, 240], elegant: [0.42, 0.09, 350],
  classic: [0.42, 0.08, 255], minimal: [0.93, 0.008, 250], modern: [0.36, 0.015, 255],
};

/** Words that turn the colour drawn from the id softer or louder. */
const TONE_WORDS = { pastel: [0.86, 0.07], neon: [0.83, 0.2], bold: [0.6, 0.18], playful: [0.74, 0.13], cheerful: [0.79, 0.13] };

const PATTERN_WORDS = {
  striped: "stripes", stripe: "stripes", stripes: "stripes", retrospot: "dots", polkadot: "dots", spot: "dots",
  spots: "dots", spotty: "dots", dotcom: "dots", playful: "dots", cheerful: "confetti", geometric: "triangles",
  floral: "flowers", flower: "flowers", rose: "flowers", daisy: "flowers", botanical: "leaves", leaf: "leaves",
  heart: "hearts", hearts: "hearts", love: "hearts", star: "stars", stars: "stars", checked: "checks", gingham: "checks",
  rustic: "grain", oak: "grain", wooden: "grain",
};

const ACCENTS = [[0.8, 0.13, 85], [0.7, 0.14, 35], [0.72, 0.1, 190], [0.66, 0.13, 350], [0.72, 0.11, 140], [0.62, 0.12, 260]];
/** Chosen so that the grounds of common categories lie far apart on the wheel of hues. */
const SALT = "light on 325";
const GOLD = [0.8, 0.11, 85];

/**
 * The look of one product: `{ground, colours: {body, dark, light, accent, leaf, warm, ink, paper}, pattern}`.
 * `ground` is the hue behind the object and depends on the category alone; `pattern` is a name or null.
 */
export function look(id, name, category) {
  const words = `${name ?? ""}`.toLowerCase().match(/[a-z]+/g) ?? [];
  const number = hash(`${id}`);
  const ground = hash(`${SALT} ${category ?? words.at(-1) ?? id}`) % 360;
  const tone = words.map((word) => TONE_WORDS[word]).find(Boolean);
  const named = words.map((word) => COLOUR_WORDS[word]).find(Boolean);
  const drawn = [0.64 + ((number >>> 4) % 5) * 0.04, 0.1, ground + 100 + ((number >>> 8) % 9) * 20];
  let body = named ?? drawn;
  // A soft body must not vanish before a ground of its own hue.
  const apart = named && named[1] > 0.03 && Math.abs(((named[2] - ground + 540) % 360) - 180) > 45;
  if (tone) body = [tone[0], tone[1], apart ? named[2] : drawn[2]];
  const rich = words.some((word) => word === "luxury" || word === "premium" || word === "gold" || word === "elegant");
  const accent = rich ? GOLD : ACCENTS[(number >>> 12) % ACCENTS.length];
  return {
    ground,
    number,
    pattern: words.map((word) => PATTERN_WORDS[word]).find(Boolean) ?? null,
    colours: {
      body,
      dark: shade(body, body[0] > 0.45 ? -0.13 : 0.11),
      light: shade(body, body[0] > 0.85 ? 0.03 : 0.12),
      accent: Math.abs(accent[0] - body[0]) + Math.abs(accent[1] - body[1]) < 0.06 ? shade(accent, -0.22) : accent,
      leaf: [0.6, 0.12, 148],
      warm: [0.82, 0.15, 75],
      ink: [0.33, 0.025, ground],
      paper: [0.965, 0.012, ground],
    },
  };
}
