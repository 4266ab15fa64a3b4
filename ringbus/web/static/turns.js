// The transcript: events in, sections and rows out. Each turn is a section with its prompt on top;
// events outside a turn go into a section without one. Calls and results are joined here by their
// id, and a transcript built from older events is put in front without losing those joins. What is
// far from the screen is cut off at either end and drawn again later.

import { h, fold } from "./dom.js";
import { visible } from "./ansi.js";
import { lastMoment, tellLater } from "./later.js";
import { drawLine, fillResult } from "./lines.js";
import { Partials } from "./partial.js";
import { fallback, gap, note, place, row } from "./rows.js";
import { Turn } from "./turn.js";

const valueOf = (event) => (event.kind === "stream" ? event.data : event);

export class Transcript {
  constructor(root) {
    this.root = root;
    this.clear();
  }

  clear() {
    this.root.replaceChildren();
    this.turns = [];
    this.tools = new Map();
    this.orphans = new Map();
    this.tasks = new Map();
    this.partials = new Partials(this);
    this.retries = null;
    this.moment = null; // when the last of what is drawn happened
  }

  add(event) {
    try {
      this.draw(event);
    } catch (error) {
      console.error("cannot draw", event.position, error);
      this.put(fallback(event, valueOf(event)));
    }
  }

  draw(event) {
    if (event.kind === "turn_start") this.begin(event);
    else if (event.kind === "turn_end") this.end(event);
    else if (event.kind === "note") this.put(note(event));
    else if (event.kind !== "stream" || !drawLine(this, event)) this.put(fallback(event, valueOf(event)));
  }

  addGap(event, n) {
    this.partials.clear();
    this.put(gap(event, n));
  }

  begin(event) {
    this.partials.clear();
    this.turns.at(-1)?.abandon();
    tellLater(this.open(new Turn(event)).head, this.moment);
    this.moment = event.ms;
  }

  end(event) {
    this.partials.clear();
    tellLater(this.turn().finish(event), this.moment);
    this.moment = event.ms;
  }

  open(turn) {
    this.turns.push(turn);
    this.root.append(turn.element);
    return turn;
  }

  turn() {
    const last = this.turns.at(-1);
    return last && !last.ended ? last : this.open(new Turn(null));
  }

  put(element, parent = null) {
    this.append(element, parent);
    this.moment = element.ms ?? this.moment;
    return true;
  }

  // The same for a row whose place another will take.
  append(element, parent) {
    this.retries = null;
    const tool = parent === null ? undefined : this.tools.get(parent);
    if (parent !== null && !tool) element.dataset.parent = parent;
    if (tool) nest(tool, element);
    else {
      tellLater(element, this.moment);
      this.turn().rows.append(element);
    }
  }

  quiet(event) {
    this.turn().quiet.add(event);
    return true;
  }

  retry(event, words) {
    if (!this.retries) {
      const line = h("span", "preview");
      const list = h("div", "retries");
      const element = row("notice", event, fold("json", [line], () => list));
      this.put(element);
      this.retries = { line, list, number: 0 };
    } else {
      this.retries.number += 1;
      this.moment = event.ms;
    }
    const entry = h("div", "", ...visible(words));
    if (this.retries.number > 0) place(entry, event);
    this.retries.list.append(entry);
    this.retries.line.textContent = this.retries.number > 0 ? `${words}, ${this.retries.number + 1} retries so far` : words;
  }

  openTool(id, entry) {
    this.tools.set(id, entry);
  }

  // Joins a result to its call; says whether the call was there.
  closeTool(id, event, block, isPlace) {
    const entry = this.tools.get(id);
    if (!entry) return false;
    fillResult(entry, event, block, isPlace);
    if (isPlace) this.moment = event.ms;
    return true;
  }

  // A call goes on, as its program says now and then.
  progress(id, words) {
    const entry = this.tools.get(id);
    if (entry?.tool.classList.contains("is-open")) entry.elapsed.textContent = words;
  }

  // Puts a transcript of earlier events in front of this one.
  absorb(older) {
    const [first] = this.turns;
    const last = older.turns.at(-1);
    const row = first?.head ?? first?.rows.firstElementChild;
    if (first && last && !last.ended) {
      if (first.start === null) {
        last.merge(first);
        this.turns[0] = last;
        older.turns.pop();
        first.element.replaceWith(last.element);
      } else last.abandon();
    }
    this.root.prepend(...older.turns.map((turn) => turn.element));
    this.turns.unshift(...older.turns);
    this.rejoin(older);
    if (row?.isConnected) tellLater(row, older.moment);
    this.moment ??= older.moment;
  }

  rejoin(older) {
    for (const [id, { piece, event, block }] of this.orphans) {
      const entry = older.tools.get(id);
      if (!entry) continue;
      const owner = piece.closest(".row");
      piece.remove();
      const isEmpty = !owner.querySelector(":scope > .cell").hasChildNodes();
      if (isEmpty) owner.remove();
      fillResult(entry, event, block, isEmpty);
      this.orphans.delete(id);
    }
    for (const element of this.root.querySelectorAll("[data-parent]")) {
      const tool = older.tools.get(element.dataset.parent);
      if (tool && !tool.inner.contains(element)) {
        delete element.dataset.parent;
        nest(tool, element);
      }
    }
    this.tools = new Map([...older.tools, ...this.tools]);
    this.orphans = new Map([...older.orphans, ...this.orphans]);
    this.tasks = new Map([...older.tasks, ...this.tasks]);
  }

  // Takes away what stands for events before number `n`.
  cutBefore(n) {
    while (this.turns.length && !this.turns[0].cutBefore(n)) this.turns.shift().element.remove();
    this.forgetCut();
  }

  // Takes away what stands for events from number `n` on; what follows then can be added again.
  cutFrom(n) {
    this.partials.clear();
    this.retries = null;
    while (this.turns.length && !this.turns.at(-1).cutFrom(n)) this.turns.pop().element.remove();
    for (const element of this.root.querySelectorAll(".inner .row, .retries > div")) if (element.n >= n) element.remove();
    this.forgetCut();
    this.moment = lastMoment(this.root);
  }

  forgetCut() {
    const forget = (map, key) => {
      for (const [id, entry] of map) if (!this.root.contains(entry[key])) map.delete(id);
    };
    forget(this.tools, "tool");
    forget(this.orphans, "piece");
    forget(this.tasks, "state");
    if (this.retries && !this.root.contains(this.retries.line)) this.retries = null;
  }
}

// The rows of a subagent have a time of their own: it begins with the call.
function nest({ inner, ms }, element) {
  element.querySelector(":scope > .later")?.remove();
  tellLater(element, lastMoment(inner) ?? ms);
  inner.append(element);
}
