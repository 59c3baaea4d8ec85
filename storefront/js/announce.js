/**
 * Announcements for screen readers, in one polite live region.
 */

let waiting = 0;

/** Say `text` politely. Emptied first, so that the same words twice are heard twice. */
export function announce(text) {
  const region = document.getElementById("live");
  region.textContent = "";
  clearTimeout(waiting);
  waiting = setTimeout(() => {
    region.textContent = text;
  }, 60);
}
