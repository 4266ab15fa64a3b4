// The events that are loaded, in their order and without a hole, whether they are drawn or not.
// Each has a number of its own: newer ones count up, older ones that are put in front count down,
// so a number stays true whatever is added or dropped. An event is kept as the text it came in and
// parsed again when it is drawn; beyond a budget the end farther from what is read is dropped.

import { ERROR, ROW, classify, isTask } from "./classes.js";
import { parseEnvelope } from "./envelope.js";
import { spentBy, sum } from "./spent.js";

const BUDGET_CHARACTERS = 16 << 20;
const ENTRY_CHARACTERS = 200;

export class Entry {
  constructor(event, n) {
    this.n = n;
    this.epoch = event.epoch;
    this.seq = event.seq;
    this.ms = event.ms;
    this.isStart = event.kind === "turn_start";
    this.isEnd = event.kind === "turn_end";
    this.bits = 0;
    this.raw = event.raw;
    this.partner = null;
    this.calls = 0; // that begin with it
    this.thoughts = 0;
    this.folder = null; // where its program said last that it works
    this.spent = event.kind === "stream" ? spentBy(event.data) : null;
  }

  get position() {
    return `${this.epoch}-${this.seq}`;
  }

  event() {
    const event = parseEnvelope(this.raw);
    event.n = this.n;
    event.cwd = this.isOf(event.data) ? this.folder.cwd : "";
    return event;
  }

  // Whether the session of a line is that which told its folder, as far as they name themselves.
  isOf(line) {
    if (this.folder === null) return false;
    return !this.folder.session || !line?.session_id || this.folder.session === line.session_id;
  }
}

// A hole that was told. It has no position of its own, only its place.
export class Hole {
  constructor(gap, n) {
    this.n = n;
    this.gap = gap;
    this.bits = ERROR | ROW;
    this.raw = "";
    this.position = placeOf({ gap }).position;
    this.partner = null;
    this.calls = 0;
    this.thoughts = 0;
    this.folder = null;
  }
}

// Where in the history an event or a gap is, and what it is found by.
export function placeOf({ event, gap }) {
  if (event) return { epoch: event.epoch, seq: event.seq, position: event.position };
  return { epoch: gap.epoch, seq: gap.from, position: `gap-${gap.epoch}-${gap.from}` };
}

export class Log {
  constructor() {
    this.epochs = new Map(); // every epoch met, oldest first -> the seqs met in it, [low, high]
    this.clear();
  }

  clear() {
    this.entries = [];
    this.characters = 0;
    this.calls = new Map(); // id of a task, or of a call without its result -> its entry
    this.answers = new Map(); // id of a call that is not loaded -> the entries of its results
    this.isLive = true; // its end is the newest event
    this.isWhole = false; // its start is the oldest event
  }

  get first() {
    return this.entries.find((entry) => entry instanceof Entry) ?? null;
  }

  // There is no room for more that would be far from what is read.
  get isFull() {
    return this.characters > BUDGET_CHARACTERS * 0.8;
  }

  get last() {
    return this.entries.findLast((entry) => entry instanceof Entry) ?? null;
  }

  // Adds an event behind all others unless it is there already; its entry, or null.
  append(event) {
    this.meet(event);
    const { last } = this;
    if (last !== null && !this.isAfter(event, last)) return null;
    const entry = new Entry(event, this.next());
    this.push(entry);
    this.join(entry, event, last?.folder ?? null);
    return entry;
  }

  // What an event would be that is not added since the log has lost its end.
  glimpse(event) {
    this.meet(event);
    const entry = new Entry(event, NaN);
    entry.bits = classify(event).bits;
    return entry;
  }

  // The same for a gap.
  appendGap(gap) {
    const hole = new Hole(gap, this.next());
    if (this.entries.at(-1)?.position === hole.position) return null;
    this.push(hole);
    return hole;
  }

  push(entry) {
    this.entries.push(entry);
    this.characters += entry.raw.length + ENTRY_CHARACTERS;
  }

  next() {
    return this.entries.length ? this.entries.at(-1).n + 1 : 0;
  }

  // Puts items, each {event} or {gap}, in front of all others; their entries.
  prepend(items) {
    const { first } = this;
    const isThere = (item) => this.entries[0]?.position === placeOf(item).position;
    const before = items.filter((item) => (item.event ? first === null || this.isAfter(first, item.event) : !isThere(item)));
    const from = (this.entries[0]?.n ?? 0) - before.length;
    this.meetOlder(before.flatMap(({ event }) => event ?? []));
    const entries = before.map(({ event, gap }, index) => (event ? new Entry(event, from + index) : new Hole(gap, from + index)));
    let folder = null;
    entries.forEach((entry, index) => {
      if (before[index].event) this.join(entry, before[index].event, folder);
      folder = entry.folder ?? folder;
    });
    for (let at = 0; this.entries[at]?.folder === null; at += 1) this.entries[at].folder = folder;
    this.entries = entries.concat(this.entries);
    for (const entry of entries) this.characters += entry.raw.length + ENTRY_CHARACTERS;
    return entries;
  }

  isAfter(one, other) {
    if (one.epoch === other.epoch) return one.seq > other.seq;
    const order = [...this.epochs.keys()];
    return order.indexOf(one.epoch) > order.indexOf(other.epoch) || !this.epochs.has(one.epoch);
  }

  meet({ epoch, seq }) {
    const range = this.epochs.get(epoch);
    if (!range) this.epochs.set(epoch, { low: seq, high: seq });
    else if (seq > range.high) range.high = seq;
    else if (seq < range.low) range.low = seq;
  }

  meetOlder(events) {
    const strange = new Map();
    for (const event of events) {
      if (this.epochs.has(event.epoch)) this.meet(event);
      else if (strange.has(event.epoch)) strange.get(event.epoch).high = event.seq;
      else strange.set(event.epoch, { low: event.seq, high: event.seq });
    }
    if (strange.size) this.epochs = new Map([...strange, ...this.epochs]);
  }

  // A call and its result are one thing to filters, and the failure of one is that of both.
  join(entry, event, folder) {
    const { bits, calls, answers, thoughts, folder: told } = classify(event);
    entry.bits = bits;
    entry.calls = calls.filter((id) => !isTask(id) && !this.calls.has(id)).length;
    entry.thoughts = thoughts;
    entry.folder = told ?? folder;
    for (const id of calls) {
      const known = this.answers.get(id) ?? [];
      for (const answer of known) link(entry, answer);
      if (!known.length || isTask(id)) this.calls.set(id, entry);
      this.answers.delete(id);
    }
    for (const id of answers) {
      const call = this.calls.get(id);
      if (call) link(call, entry);
      else this.answers.set(id, [...(this.answers.get(id) ?? []), entry]);
      if (!isTask(id)) this.calls.delete(id);
    }
  }

  // Of the turn which `start` began: the entry that ends it, null if it is not loaded; whether it is
  // over, null if that is not known; what was spent in it and how much happened so far, and whether
  // that lacks what is missing or not loaded.
  turnOf(start) {
    const spent = [];
    let [calls, thoughts, lacks] = [0, 0, false];
    let at = this.index(start.n) + 1;
    for (; at < this.entries.length && !isEdge(this.entries[at]); at += 1) {
      const entry = this.entries[at];
      if (entry.spent) spent.push(entry.spent);
      calls += entry.calls;
      thoughts += entry.thoughts;
      lacks ||= entry instanceof Hole;
    }
    const edge = this.entries[at] ?? null;
    const isOver = edge !== null || (this.isLive ? false : null);
    return { end: edge?.isEnd ? edge : null, isOver, cost: sum(spent), calls, thoughts, lacks: lacks || isOver === null };
  }

  // The index of the first entry with that number or a later one.
  index(n) {
    return this.entries.length ? Math.min(Math.max(n - this.entries[0].n, 0), this.entries.length) : 0;
  }

  at(n) {
    return this.entries[n - (this.entries[0]?.n ?? 0)] ?? null;
  }

  find(position) {
    if (position.startsWith("gap-")) return this.entries.find((entry) => entry.raw === "" && entry.position === position) ?? null;
    const [epoch, text] = position.split("-");
    const seq = Number(text);
    return this.entries.find((entry) => entry.seq === seq && entry.epoch === epoch) ?? null;
  }

  // The same, or what is nearest to it.
  near({ epoch, seq, position }) {
    return this.find(position) ?? this.entries.find((entry) => entry.epoch === epoch && entry.seq >= seq) ?? this.last;
  }

  // Drops what is over the budget, from the end that is farther from the entries `low` to `high`.
  bound(low, high) {
    if (this.characters <= BUDGET_CHARACTERS || !this.entries.length) return;
    const isFront = low - this.entries[0].n >= this.entries.at(-1).n - high;
    let drop = 0;
    let over = this.characters - BUDGET_CHARACTERS * 0.9;
    const room = isFront ? this.index(low) : this.entries.length - this.index(high);
    while (over > 0 && drop < room) {
      drop += 1;
      over -= this.entries.at(isFront ? drop - 1 : -drop).raw.length + ENTRY_CHARACTERS;
    }
    this.drop(isFront, drop);
  }

  drop(isFront, number) {
    if (!number) return;
    const gone = isFront ? this.entries.splice(0, number) : this.entries.splice(-number);
    for (const entry of gone) {
      this.characters -= entry.raw.length + ENTRY_CHARACTERS;
      if (entry.partner?.partner === entry) entry.partner.partner = null;
    }
    const isKept = (entry) => this.at(entry.n) === entry;
    for (const [id, entry] of this.calls) if (!isKept(entry)) this.calls.delete(id);
    for (const [id, entries] of this.answers) {
      if (entries.some(isKept)) this.answers.set(id, entries.filter(isKept));
      else this.answers.delete(id);
    }
    if (isFront) this.isWhole = false;
    else this.isLive = false;
  }
}

const isEdge = (entry) => entry.isStart || entry.isEnd;

// Of several answers the last says it all.
function link(call, answer) {
  if (call.partner === null || call.partner.n < answer.n) call.partner = answer;
  answer.partner = call;
  call.bits |= answer.bits & ERROR;
}
