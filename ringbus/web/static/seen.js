// Up to where this browser has seen an agent's events: kept per agent, moved on while the end of
// the page is looked at, and on the next visit shown as a line in front of what came since.

import { h } from "./dom.js";

const PULSE_MS = 1000;

const keyOf = (agent) => `ringbus:seen:${agent}`;

// The position of the newest event that was looked at, "" if none was.
export const seenPlace = (agent) => read(keyOf(agent));

export class Seen {
  constructor(agent, newest) {
    this.key = keyOf(agent);
    this.newest = newest; // () -> the position of the newest event if it is in sight, or null
    this.mark = read(this.key);
    setInterval(() => this.keep(), PULSE_MS);
    addEventListener("pagehide", () => this.keep());
  }

  keep() {
    const position = document.hidden ? null : this.newest();
    if (position === null || position === this.kept) return;
    this.kept = position;
    write(this.key, position);
  }

  // All that was there when the page opened is here: what comes from now on is met while it is open.
  settle(log) {
    if (this.mark && log.last?.position === this.mark) this.mark = "";
  }

  // Puts the line in front of the first drawn row after the mark.
  draw(root, log) {
    if (!this.mark || root.querySelector(".seen")) return;
    const last = log.find(this.mark);
    if (last === null || log.at(last.n + 1) === null) return;
    for (const row of root.querySelectorAll(".turn > .row, .rows > .row")) {
      if (row.n <= last.n) continue;
      const isNext = log.at(last.n + 1).n === row.n || row.previousElementSibling || row.parentElement.previousElementSibling;
      if (isNext) row.prepend(line());
      return;
    }
  }
}

function line() {
  const element = h("div", "seen", "new since you were here");
  element.setAttribute("role", "separator");
  element.setAttribute("aria-label", "new since you were here");
  return element;
}

// Storage may be forbidden; then there is no mark.
function read(key) {
  try {
    return localStorage.getItem(key) ?? "";
  } catch (error) {
    console.warn("no last-seen mark:", error.message);
    return "";
  }
}

function write(key, value) {
  try {
    localStorage.setItem(key, value);
  } catch (error) {
    console.warn("no last-seen mark:", error.message);
  }
}
