// How much later a row is than all that is drawn above it, where one would wonder: a line of text on
// the row itself, so that it comes, moves and goes with it.

import { h } from "./dom.js";
import { roughDuration } from "./format.js";

const LATER_MS = 5 * 60_000;

// `before` is when the last of what is drawn above happened, null for nothing.
export function tellLater(row, before) {
  if (before === null || !(row.ms - before >= LATER_MS) || row.querySelector(":scope > .later")) return;
  row.prepend(h("div", "later", `${roughDuration(row.ms - before)} later`));
}

// When the last of what is drawn in `root` happened, null for nothing.
export function lastMoment(root) {
  const moments = [...root.querySelectorAll("[data-position]:not(.quiet *)")].map((element) => element.ms);
  return moments.length ? Math.max(...moments) : null;
}
