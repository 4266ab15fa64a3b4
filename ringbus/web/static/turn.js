// One turn as a section: its prompt on top, its rows, what is quiet at its foot, its outcome.

import { h, fold } from "./dom.js";
import { visible, plain } from "./ansi.js";
import { dollars, duration, firstLine, isToday, lineCount, moment, plural } from "./format.js";
import { pieces } from "./long.js";
import { Quiet } from "./quiet.js";
import { addTo, row } from "./rows.js";

const PROMPT_LINES = 8;

export class Turn {
  constructor(start) {
    this.start = start;
    this.end = null;
    this.ended = false;
    this.quiet = new Quiet();
    this.rows = h("div", "rows");
    this.counts = h("span", "counts");
    this.outcome = h("span", "outcome");
    this.said = start ? "running" : ""; // in words, of how it goes or ended
    this.isSettled = false; // it is known how it ended
    this.cost = null;
    this.tell();
    this.head = start && this.header(start);
    this.element = h("section", start ? "turn is-running" : "turn is-loose", this.head, this.rows, this.quiet.element);
  }

  header(start) {
    const waiting = start.unread > 0 ? `${start.unread} more waiting` : "";
    const who = h("div", "who", h("span", "from", ...visible(firstLine(start.from))),
      h("span", isToday(start.ms) ? "started" : "started is-past", moment(start.ms)), waiting && h("span", "waiting", waiting), this.counts, this.outcome);
    return row("turn", start, who, prompt(start.body));
  }

  // Takes the rows before number `n` away; says whether anything is left.
  cutBefore(n) {
    if (this.head && this.head.n < n) {
      this.head.remove();
      this.head = null;
      this.start = null;
    }
    for (let first = this.rows.firstChild; first && first.n < n; first = this.rows.firstChild) first.remove();
    this.quiet.keep((event) => event.n >= n);
    return this.head !== null || this.rows.hasChildNodes() || this.quiet.events.length > 0;
  }

  // Takes the rows from number `n` on away; says whether anything is left.
  cutFrom(n) {
    if (this.head && this.head.n >= n) return false;
    for (let last = this.rows.lastChild; last && (last.n === undefined || last.n >= n); last = this.rows.lastChild) last.remove();
    this.quiet.keep((event) => event.n < n);
    this.ended = this.rows.lastChild?.classList.contains("row-end") ?? false;
    if (!this.ended) this.end = null;
    return this.head !== null || this.rows.hasChildNodes() || this.quiet.events.length > 0;
  }

  // Returns the row that says so.
  finish(end) {
    const took = this.close(end);
    const words = [end.ok ? "turn ok" : "turn failed", took && `after ${took}`].filter(Boolean).join(" ");
    const element = row(end.ok ? "end" : "end is-failure", end, h("span", "facts", words));
    if (end.note) addTo(element, h("span", "reason", ...visible(firstLine(end.note, 1000))));
    this.rows.append(element);
    if (!end.ok && end.note) this.outcome.title = firstLine(end.note);
    return element;
  }

  // Shows the outcome in the header; returns how long it took, in words, if that is known.
  close(end) {
    this.end = end;
    this.ended = true;
    return this.foretell(end);
  }

  // The same for a turn whose end is known, but not drawn.
  foretell(end) {
    const took = this.start ? duration(end.ms - this.start.ms) : "";
    this.settle(end.ok ? "ok" : "failed", [end.ok ? "ok" : "failed", took].filter(Boolean).join(", "));
    return took;
  }

  // The next turn began and this one never said how it ended.
  abandon() {
    if (!this.ended) this.giveUp();
    this.ended = true;
  }

  // The same where the next turn is not drawn.
  giveUp() {
    if (this.start && !this.isSettled) this.settle("unfinished", "no end recorded");
  }

  // Nothing that is loaded tells of its end: it goes on, unless there is more that is not loaded.
  goOn(isAllLoaded) {
    if (this.isSettled) return;
    this.element.classList.toggle("is-running", isAllLoaded);
    this.said = isAllLoaded ? "running" : "end not loaded";
    this.tell();
  }

  settle(state, words) {
    this.isSettled = true;
    this.element.classList.remove("is-running");
    this.element.classList.add(`is-${state}`);
    this.said = words;
    this.tell();
  }

  // So many dollars so far, null if nobody told.
  spend(cost) {
    this.cost = cost;
    this.tell();
  }

  // So much happened in it so far; more than that if it `lacks` something.
  count({ calls, thoughts, lacks }) {
    const words = [calls && plural(calls, "tool call"), thoughts && plural(thoughts, "thought")].filter(Boolean).join(", ");
    this.counts.textContent = words && lacks ? `at least ${words}` : words;
  }

  tell() {
    this.outcome.textContent = [this.said, this.cost !== null && dollars(this.cost)].filter(Boolean).join(", ");
  }

  // Takes over the rows of a section that turned out to be the rest of this turn.
  merge(rest) {
    this.rows.append(...rest.rows.childNodes);
    rest.quiet.addBefore(this.quiet.events);
    this.quiet.element.replaceWith(rest.quiet.element);
    this.quiet = rest.quiet;
    if (rest.end) this.close(rest.end);
    else if (rest.ended) this.abandon();
  }
}

function prompt(body) {
  if (body === "") return h("div", "prompt muted", "no message");
  if (lineCount(body) <= PROMPT_LINES && body.length <= 900) return h("div", "prompt", ...visible(body));
  return fold("prompt", [h("span", "preview", ...visible(plain(firstLine(body)))), h("span", "count", plural(lineCount(body), "line"))],
    () => pieces(body, (part) => h("div", "prompt-rest", ...visible(part))));
}
