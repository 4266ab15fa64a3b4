// What of the log is in the document: a window of a few hundred events round the screen, drawn by a
// transcript, with room kept above and below for all the rest, so that the scrollbar is true to the
// whole. Scrolling moves the window on by a step; a jump draws it anew elsewhere. With a filter the
// window is over the entries that pass it. Whoever changes what is drawn does so inside the tail's
// `keep`, or puts the screen elsewhere afterwards.

import { RETRY, ROW } from "./classes.js";
import { drawAnswers } from "./lines.js";
import { Hole } from "./log.js";
import { Transcript } from "./turns.js";

const STEP = 24; // events that are drawn at a time: what a frame has time for
const MOST = 320;
const MARGIN = 1200;
const KEPT = 2400;
const ROW_PIXELS = 28;
const MEASURE_MS = 500;
const MOST_PIXELS = 8_000_000;
const REST = 4; // times as long as the last drawing took, before the next under a flood

export class View {
  // `missing()` says how many events are known before and after what is loaded.
  constructor(log, { root, before, after, missing }) {
    this.missing = missing;
    this.log = log;
    this.root = root;
    this.before = before;
    this.after = after;
    this.transcript = new Transcript(root);
    this.passes = null;
    this.pixels = ROW_PIXELS;
    this.measured = 0;
    this.restUntil = 0;
    this.drawn = () => undefined;
    this.clear();
  }

  clear() {
    this.transcript.clear();
    this.shown = this.passes ? this.filtered(this.log.entries) : this.log.entries;
    this.low = 0; // the number of the first entry drawn
    this.high = 0; // one past the last
    this.space();
  }

  // --- which entries -------------------------------------------------------------------

  // Shows only the entries that `passes` says yes to, or all for null, round the entry numbered `place`.
  filter(passes, place) {
    this.passes = passes;
    this.refresh();
    this.show(place);
  }

  refresh() {
    this.shown = this.passes ? this.filtered(this.log.entries) : this.log.entries;
  }

  // Matches, with the other half of a call and result, each under the prompt of its turn.
  filtered(entries) {
    const found = [];
    let start = null;
    for (const entry of entries) {
      const passes = this.lets(entry);
      if (entry.isStart) start = entry;
      if (passes && start !== null && start !== entry) found.push(start);
      if (passes) found.push(entry);
      if (passes || entry.isEnd) start = null;
    }
    return found;
  }

  lets(entry) {
    return this.passes(entry) || (entry.partner !== null && this.passes(entry.partner));
  }

  // The index in `shown` of the first entry with number `n` or later.
  index(n) {
    let [low, high] = [0, this.shown.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.shown[middle].n < n) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  get from() {
    return this.index(this.low);
  }

  get to() {
    return this.index(this.high);
  }

  get isAtEnd() {
    return this.to >= this.shown.length;
  }

  // --- drawing -------------------------------------------------------------------------

  // Draws the window anew so that it holds the entry numbered `n` and what is round it.
  show(n) {
    const at = this.index(n);
    this.draw(at - STEP / 2, at + STEP);
  }

  showEnd() {
    this.draw(this.shown.length - STEP * 2, this.shown.length);
  }

  draw(from, to) {
    this.transcript.clear();
    const first = this.whole(Math.max(0, from));
    const last = this.whole(Math.min(this.shown.length, to));
    this.low = this.high = this.shown[first]?.n ?? 0;
    this.addTo(last);
    this.measure();
    this.space();
  }

  // An index at which a row that counts retries is not cut in two.
  whole(index) {
    let at = index;
    while (at > 0 && this.shown[at]?.bits & RETRY && this.shown[at - 1].bits & RETRY) at -= 1;
    return at;
  }

  addTo(index) {
    const { to } = this;
    const until = this.shown[index - 1]?.n;
    for (let at = to; at < index; at += 1) this.put(this.transcript, this.shown[at], until);
    if (index > to) this.high = this.shown[index - 1].n + 1;
    this.space();
    this.drawn();
  }

  // Draws an entry, and with it how a turn or a call ended if that comes after `until`, undrawn.
  put(transcript, entry, until) {
    if (entry instanceof Hole) {
      transcript.addGap(entry.gap, entry.n);
      return;
    }
    transcript.add(entry.event());
    if (entry.partner?.n > until) drawAnswers(transcript, entry.partner.event());
    if (entry.isStart) this.foretell(transcript.turns.at(-1), entry);
  }

  foretell(turn, start) {
    const { end, isOver, cost, ...happened } = this.log.turnOf(start);
    turn.spend(cost);
    turn.count(happened);
    if (end) turn.foretell(end.event());
    else if (isOver) turn.giveUp();
    else turn.goOn(isOver === false);
  }

  // Of what is drawn, entries that came in behind all others change the head of the last turn alone.
  learn(entries) {
    if (entries.some((entry) => entry.isStart || entry.isEnd || entry.spent || entry.calls || entry.thoughts || entry instanceof Hole)) this.tellLast();
  }

  // So does whether the end of the log is the newest event.
  tellLast() {
    const turn = this.transcript.turns.at(-1);
    const start = turn?.start ? this.log.at(turn.start.n) : null;
    if (start) this.foretell(turn, start);
  }

  // How many rows come of entries.
  rowsOf(entries) {
    const isShown = (entry) => !this.passes || this.lets(entry);
    const before = (at) => entries[at - 1] ?? this.log.at(entries[at].n - 1);
    const isMore = (at) => entries[at].bits & RETRY & before(at)?.bits;
    return entries.filter((entry, at) => entry.bits & ROW && !isMore(at) && isShown(entry)).length;
  }

  // Events came in behind all others: with a filter they are to be shown if they pass it.
  take(entries) {
    if (!this.passes) return;
    for (const entry of entries) if (this.lets(entry)) this.join(entry);
  }

  // Draws what came in, as far as the end; more than can be added is drawn anew, not more often than
  // is bearable. Says whether the end is drawn.
  reachEnd() {
    const start = performance.now();
    if (this.shown.length - this.to <= STEP * 2) this.addTo(this.shown.length);
    else if (start < this.restUntil) return false;
    else {
      this.showEnd();
      this.restUntil = performance.now() + (performance.now() - start) * REST;
    }
    this.trimBefore();
    return true;
  }

  // A result may bring its call with it, and any match the prompt of its turn.
  join(entry) {
    const last = this.shown.at(-1)?.n ?? -Infinity;
    for (let at = this.log.index(entry.n); at >= 0; at -= 1) {
      const before = this.log.entries[at];
      if (before.n <= last) break;
      if (before.isStart && before !== entry) this.shown.push(before);
      if (before.isStart || before.isEnd) break;
    }
    if (entry.partner && entry.partner.n > (this.shown.at(-1)?.n ?? -Infinity)) this.shown.push(entry.partner);
    if (entry.n > (this.shown.at(-1)?.n ?? -Infinity)) this.shown.push(entry);
  }

  cutBefore(index) {
    const at = this.whole(index);
    this.low = this.shown[at]?.n ?? this.high;
    this.transcript.cutBefore(this.low);
    this.space();
  }

  cutFrom(index) {
    const at = this.whole(index);
    this.high = this.shown[at]?.n ?? this.high;
    this.transcript.cutFrom(this.high);
    this.space();
  }

  // Keeps what is loaded within its budget, round what is drawn, or up to the end.
  bound(isToEnd) {
    const { isLive } = this.log;
    this.log.bound(this.low, isToEnd ? Infinity : this.high);
    if (this.log.isLive !== isLive) this.tellLast();
    this.space();
  }

  // --- room and scrolling --------------------------------------------------------------

  // Keeps the room for what is not drawn; its height goes by the height of what was.
  space() {
    const { from, to } = this;
    const missing = this.passes ? { before: 0, after: 0 } : this.missing();
    const room = (count) => `${Math.min(Math.round(count * this.pixels), MOST_PIXELS)}px`;
    this.before.style.height = room(from + missing.before);
    this.after.style.height = room(this.shown.length - to + missing.after);
  }

  // The mean height of what is drawn, not looked up more often than it matters: that costs a layout.
  // Only while what is read is held in its place, for the room above changes with it.
  measure() {
    const [now, number] = [performance.now(), this.to - this.from];
    if (number < STEP || now - this.measured < MEASURE_MS) return;
    this.measured = now;
    this.pixels = this.root.offsetHeight / number || ROW_PIXELS;
  }

  // Where the screen stands relative to the drawn part, in pixels: above and below it.
  edges() {
    const { top, bottom } = this.root.getBoundingClientRect();
    return { above: -top, below: bottom - innerHeight };
  }

  // Moves the window on, if the screen is near its edge. `keep(change)` keeps what is read in its
  // place while rows above it change. Says what is to be done next: nothing (null), to look again
  // after rows were "drawn", or to load rows "before", "after", or at a place in what is missing.
  followScreen(keep) {
    const { above, below } = this.edges();
    if (above < -innerHeight || below < -innerHeight) return this.jump(keep, above);
    const { from, to } = this;
    if (above < MARGIN && from > 0) return this.extend(keep, () => this.extendBefore());
    if (below < MARGIN && to < this.shown.length) return this.extend(keep, () => this.extendAfter());
    if (above < MARGIN && this.wants("before")) return "before";
    return below < MARGIN && this.wants("after") ? "after" : null;
  }

  // Whether there is more to load that way. With a filter much of it is loaded for little that is
  // shown: as much as there is room for.
  wants(way) {
    if (this.passes && this.log.isFull) return false;
    return way === "before" ? !this.log.isWhole : !this.log.isLive;
  }

  // The same while the end is followed, and drawn: draws above it what the screen is near to.
  followEnd(keep) {
    if (this.edges().above >= MARGIN) return null;
    if (this.from > 0) return this.extend(keep, () => this.extendBefore());
    return this.passes && this.wants("before") ? "before" : null;
  }

  extend(keep, change) {
    keep(() => {
      change();
      this.measure();
      this.space();
    });
    return "drawn";
  }

  extendBefore() {
    const { from } = this;
    const start = this.whole(Math.max(0, from - STEP));
    const part = new Transcript(document.createElement("div"));
    for (let at = start; at < from; at += 1) this.put(part, this.shown[at], this.high - 1);
    part.partials.clear();
    this.transcript.absorb(part);
    this.low = this.shown[start].n;
    this.trimAfter();
    this.space();
    this.drawn();
  }

  extendAfter() {
    this.addTo(this.whole(Math.min(this.shown.length, this.to + STEP)));
    this.trimBefore();
  }

  // What is far from the screen goes: by its distance, since a row may be high or have no height.
  trimBefore() {
    if (this.to - this.from <= MOST) return;
    const near = this.rows().find((row) => row.getBoundingClientRect().bottom > -KEPT);
    if (near?.n > this.low) this.cutBefore(this.index(near.n));
  }

  trimAfter() {
    if (this.to - this.from <= MOST) return;
    const near = this.rows().findLast((row) => row.getBoundingClientRect().top < innerHeight + KEPT);
    if (near?.n < this.high - 1) this.cutFrom(this.index(near.n) + 1);
  }

  rows() {
    return [...this.root.querySelectorAll(".turn > .row, .rows > .row")].filter((row) => row.n !== undefined);
  }

  // The screen is far outside: draws what belongs there.
  jump(keep, above) {
    const isBefore = above < 0;
    const room = parseFloat((isBefore ? this.before : this.after).style.height) || 1;
    const { from, to } = this;
    const missing = this.passes ? 0 : this.missing()[isBefore ? "before" : "after"];
    const undrawn = isBefore ? from : this.shown.length - to;
    const part = Math.min(1, Math.max(0, isBefore ? 1 + above / room : (above - this.root.offsetHeight) / room));
    const event = part * (missing + undrawn);
    const index = isBefore ? event - missing : to + event;
    if (!this.passes && (index < 0 || index >= this.shown.length + 1)) return { isBefore, event };
    const entry = this.shown[Math.min(Math.max(Math.floor(index), 0), this.shown.length - 1)];
    if (entry === undefined) return null;
    keep(() => {
      this.show(entry.n);
      this.reveal(entry.n);
    });
    return "drawn";
  }

  // Brings the screen to where the entry numbered `n` is drawn.
  reveal(n) {
    const row = this.rows().find((one) => one.n >= n) ?? this.rows().at(-1);
    (row ?? this.root).scrollIntoView({ block: "start", behavior: "instant" });
  }
}
