// The events of a turn that have no row of their own: counted at its foot, each a row once that is
// unfolded.

import { h, fold } from "./dom.js";
import { plural } from "./format.js";
import { fallback } from "./rows.js";

const drawn = (event) => fallback(event, event.data);

export class Quiet {
  constructor() {
    this.element = h("div", "foot");
    this.clear();
  }

  clear() {
    this.element.replaceChildren();
    this.events = [];
    this.box = null; // the rows, once unfolded
    this.count = null;
  }

  add(...events) {
    this.events.push(...events);
    this.box?.append(...events.map(drawn));
    this.tell();
  }

  addBefore(events) {
    this.events.unshift(...events);
    this.box?.prepend(...events.map(drawn));
    this.tell();
  }

  keep(isKept) {
    const kept = this.events.filter(isKept);
    if (kept.length === this.events.length) return;
    if (!kept.length) {
      this.clear();
      return;
    }
    this.events = kept;
    for (const row of [...(this.box?.children ?? [])]) if (!isKept(row)) row.remove();
    this.tell();
  }

  tell() {
    if (!this.events.length) return;
    if (this.count === null) {
      this.count = h("span", "preview");
      const list = fold("json", [this.count], () => this.unfold());
      this.element.append(h("div", "row row-quiet", h("span", "gutter"), h("div", "cell", list)));
    }
    this.count.textContent = plural(this.events.length, "quiet event");
  }

  unfold() {
    this.box = h("div", "quiet", ...this.events.map(drawn));
    return this.box;
  }
}
