// The transcript: events in, sections and rows out. Each turn is a section with its prompt on top;
// events outside a turn go into a section without one. Calls and results are joined here by their
// id, and a transcript built from older history is put in front without losing those joins.

import { h, fold } from "./dom.js";
import { visible, plain } from "./ansi.js";
import { duration, firstLine, isToday, lineCount, moment, plural } from "./format.js";
import { drawLine, fillResult } from "./lines.js";
import { Partials } from "./partial.js";
import { addTo, fallback, gap, note, place, row } from "./rows.js";
import { Status } from "./status.js";

const PROMPT_LINES = 8;
const MAX_ROWS = 6000;
const KEPT_ROWS = 5000;

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
    this.status = new Status();
    this.retries = null;
    this.ranges = new Map(); // epoch -> the seqs [low, high] that are drawn
    this.oldest = null;
    this.rows = 0;
  }

  // Draws an event unless its position was drawn before; says whether it did.
  add(event) {
    if (!this.claim(event)) return false;
    this.status.feed(event);
    try {
      this.draw(event);
    } catch (error) {
      console.error("cannot draw", event.position, error);
      this.put(fallback(event, event.data ?? event));
    }
    return true;
  }

  claim({ epoch, seq, position }) {
    const range = this.ranges.get(epoch);
    if (range && seq <= range.high) return false;
    if (range) range.high = seq;
    else this.ranges.set(epoch, { low: seq, high: seq });
    this.oldest ??= position;
    return true;
  }

  draw(event) {
    if (event.kind === "turn_start") this.begin(event);
    else if (event.kind === "turn_end") this.end(event);
    else if (event.kind === "note") this.put(note(event));
    else if (event.kind !== "stream" || !drawLine(this, event)) this.put(fallback(event, event.data ?? event));
  }

  addGap(event) {
    this.partials.clear();
    this.put(gap(event));
  }

  begin(event) {
    this.partials.clear();
    this.turns.at(-1)?.abandon();
    this.open(new Turn(event));
  }

  end(event) {
    this.partials.clear();
    this.turn().finish(event);
    this.rows += 1;
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
    this.retries = null;
    this.rows += 1;
    const tool = parent === null ? undefined : this.tools.get(parent);
    if (parent !== null && !tool) element.dataset.parent = parent;
    (tool ? tool.inner : this.turn().rows).append(element);
    return true;
  }

  quiet(event) {
    this.turn().hush(event);
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
    return true;
  }

  // Puts a transcript of earlier events in front of this one.
  absorb(older) {
    const [first] = this.turns;
    const last = older.turns.at(-1);
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
    this.rows += older.rows;
    this.oldest = older.oldest ?? this.oldest;
    for (const [epoch, { low, high }] of older.ranges) {
      const range = this.ranges.get(epoch);
      this.ranges.set(epoch, { low, high: range ? range.high : high });
    }
    this.status.learn(older.status);
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
        tool.inner.append(element);
      }
    }
    this.tools = new Map([...older.tools, ...this.tools]);
    this.orphans = new Map([...older.orphans, ...this.orphans]);
    this.tasks = new Map([...older.tasks, ...this.tasks]);
  }

  // A page that stays open for days drops its oldest rows; "load earlier" brings them back.
  trim() {
    if (this.rows <= MAX_ROWS) return;
    const rows = [...this.root.querySelectorAll(".row")];
    for (const element of rows.slice(0, rows.length - KEPT_ROWS)) element.remove();
    while (this.turns.length > 1 && !this.turns[0].element.querySelector(".row")) this.turns.shift().element.remove();
    this.rows = this.root.querySelectorAll(".row").length;
    const oldest = this.root.querySelector("[data-position]")?.dataset.position;
    if (oldest) this.forgetBefore(oldest);
  }

  forgetBefore(position) {
    const [epoch, seq] = position.split("-");
    for (const known of [...this.ranges.keys()]) {
      if (known === epoch) break;
      this.ranges.delete(known);
    }
    this.ranges.get(epoch).low = Number(seq);
    this.oldest = position;
  }
}

class Turn {
  constructor(start) {
    this.start = start;
    this.end = null;
    this.ended = false;
    this.hushed = [];
    this.rows = h("div", "rows");
    this.foot = h("div", "foot");
    this.outcome = h("span", "outcome", start ? "running" : "");
    this.element = h("section", start ? "turn is-running" : "turn is-loose", start && this.header(start), this.rows, this.foot);
  }

  header(start) {
    const waiting = start.unread > 0 ? `${start.unread} more waiting` : "";
    const who = h("div", "who", h("span", "from", ...visible(start.from)),
      h("span", isToday(start.ms) ? "started" : "started is-past", moment(start.ms)), waiting && h("span", "waiting", waiting), this.outcome);
    return row("turn", start, who, prompt(start.body));
  }

  hush(event) {
    this.hushed.push(event);
    if (!this.quietFold) {
      this.quietCount = h("span", "preview");
      this.quietFold = fold("json", [this.quietCount], () => this.quietRows());
      this.foot.append(h("div", "row row-quiet", h("span", "gutter"), h("div", "cell", this.quietFold)));
    }
    this.quietCount.textContent = `${plural(this.hushed.length, "quiet event")}`;
  }

  quietRows() {
    return h("div", "quiet", ...this.hushed.map((event) => fallback(event, event.data)));
  }

  finish(end) {
    const took = this.close(end);
    const words = [end.ok ? "turn ok" : "turn failed", took && `after ${took}`].filter(Boolean).join(" ");
    const element = row(end.ok ? "end" : "end is-failure", end, h("span", "facts", words));
    if (end.note) addTo(element, h("span", "reason", ...visible(end.note)));
    this.rows.append(element);
    if (!end.ok && end.note) this.outcome.title = end.note;
  }

  // Shows the outcome in the header; returns how long it took, in words, if that is known.
  close(end) {
    this.end = end;
    const took = this.start ? duration(end.ms - this.start.ms) : "";
    this.settle(end.ok ? "ok" : "failed", [end.ok ? "ok" : "failed", took].filter(Boolean).join(", "));
    return took;
  }

  // The next turn began and this one never said how it ended.
  abandon() {
    if (!this.ended && this.start) this.settle("unfinished", "no end recorded");
    this.ended = true;
  }

  settle(state, words) {
    this.ended = true;
    this.element.classList.remove("is-running");
    this.element.classList.add(`is-${state}`);
    this.outcome.textContent = words;
  }

  // Takes over the rows of a section that turned out to be the rest of this turn.
  merge(rest) {
    this.rows.append(...rest.rows.childNodes);
    for (const event of rest.hushed) this.hush(event);
    if (rest.end) this.close(rest.end);
    else if (rest.ended) this.abandon();
  }
}

function prompt(body) {
  if (body === "") return h("div", "prompt muted", "no message");
  if (lineCount(body) <= PROMPT_LINES && body.length <= 900) return h("div", "prompt", ...visible(body));
  return fold("prompt", [h("span", "preview", ...visible(plain(firstLine(body)))), h("span", "count", plural(lineCount(body), "line"))],
    () => h("div", "prompt-rest", ...visible(body)));
}
