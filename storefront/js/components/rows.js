/**
 * Rows of cards without gaps: how many cards fill whole rows, and which are hidden until they do.
 */

/** Columns that a grid has at its present width. */
export const columnsOf = (list) => Math.max(1, getComputedStyle(list).gridTemplateColumns.split(" ").filter(Boolean).length);

/** `count` rounded up to whole rows of `list`. */
export function fitting(list, count) {
  const columns = columnsOf(list);
  return Math.ceil(count / columns) * columns;
}

/** Hide the cards of an incomplete last row, unless it is the only one. */
export function fillRows(list) {
  const cards = [...list.children];
  const columns = columnsOf(list);
  const whole = cards.length < columns ? cards.length : Math.floor(cards.length / columns) * columns;
  cards.forEach((card, place) => {
    card.hidden = place >= whole;
  });
}
