// Pages of history, fetched in either direction, and what is looked for in all of it.

import { parsePage } from "./envelope.js";
import { placeOf } from "./log.js";

const PAGE_EVENTS = 300;
const NEWEST_EVENTS = 1000;
const MANY_EVENTS = 3000; // where a page held nothing that is kept
const LOOKED_AT = 10; // at a time where the server chooses

export class Loader {
  // `replaced()` hears of other events in the log, with numbers of their own.
  constructor(url, log, { replaced }) {
    this.url = url;
    this.log = log;
    this.replaced = replaced;
    this.isBusy = false;
    this.isReplacing = false;
    this.turn = 0;
  }

  // Runs one load at a time; what is asked for meanwhile is asked for again by the next scroll.
  async once(load) {
    if (this.isBusy) return false;
    this.isBusy = true;
    try {
      return await load();
    } finally {
      this.isBusy = false;
    }
  }

  // A page of the history; `asked` has what there is to choose by: before, after, kind, text.
  async page(asked, limit = PAGE_EVENTS) {
    const url = new URL(this.url, location.href);
    for (const [name, value] of Object.entries({ limit, ...asked })) {
      if (value !== null) url.searchParams.set(name, value);
    }
    const response = await fetch(url);
    if (!response.ok) throw Object.assign(new Error(`status ${response.status}`), { isUnknown: response.status === 404 });
    return parsePage(await response.text());
  }

  // Page by page from a position, null for the end, until there is an event that is kept: what came,
  // and whether there is more that way.
  async reach(by, from, limit = PAGE_EVENTS) {
    let items = [];
    for (let [at, number] = [from, limit]; ; number = MANY_EVENTS) {
      const { items: found, next, later } = await this.page(by < 0 ? { before: at } : { after: at }, number);
      items = by < 0 ? [...kept(found), ...items] : [...items, ...kept(found)];
      at = by < 0 ? next : later;
      if (at === null || items.some(isEvent)) return { items, isMore: at !== null };
    }
  }

  // The events just before what is loaded; the entries that came of them, null if the log is another.
  async older() {
    const { first } = this.log;
    const { items, isMore } = await this.reach(-1, first?.position ?? null);
    if (this.log.first !== first) return null;
    this.log.isWhole = !isMore;
    return this.log.prepend(items);
  }

  // The same for those just after it, for a log whose end is not the newest; and whether they are the
  // last for now.
  async newer() {
    const { last } = this.log;
    if (last === null) return null;
    const { items, isMore } = await this.reach(1, last.position);
    if (this.log.last !== last) return null;
    const entries = items.map(({ event, gap }) => (event ? this.log.append(event) : this.log.appendGap(gap)));
    return { entries: entries.filter(Boolean), isLast: !isMore };
  }

  // The place of the nearest item that `isWanted` among those `asked` for, before or after what is
  // loaded, page by page; null for none, or once it does not `goesOn()`.
  async look(by, asked, isWanted, goesOn) {
    const limit = Object.keys(asked).length ? LOOKED_AT : PAGE_EVENTS;
    for (let from = (by < 0 ? this.log.first : this.log.last)?.position; from && goesOn(); ) {
      const { items, next, later } = await this.page({ ...asked, [by < 0 ? "before" : "after"]: from }, limit);
      const found = by < 0 ? items.findLast(isWanted) : items.find(isWanted);
      if (found) return placeOf(found);
      from = by < 0 ? next : later;
    }
    return null;
  }

  // The newest events in place of all others; false if another place was asked for meanwhile.
  newest() {
    return this.replace(() => this.reach(-1, null, NEWEST_EVENTS));
  }

  // The same with what is round one position of an epoch.
  around(epoch, seq) {
    return this.replace(async () => {
      const edge = seq + Math.floor(PAGE_EVENTS / 2);
      const back = await this.reach(-1, `${epoch}-${edge}`);
      return back.items.some(isEvent) ? back : this.after(`${epoch}-${edge - 1}`, back.items);
    });
  }

  // The same with the first there are.
  oldest() {
    return this.replace(async () => {
      let [epoch] = this.log.epochs.keys();
      for (;;) {
        const { events, items, next } = await this.page({ before: `${epoch}-1` });
        if (next === null) return this.after(events.at(-1)?.position ?? `${epoch}-0`, kept(items));
        epoch = events[0].epoch; // there is an older one
      }
    });
  }

  // What begins the history, with the first events behind it.
  async after(position, items) {
    const on = await this.reach(1, position);
    return { items: [...items, ...on.items], isMore: false };
  }

  // Lets go of the place that was asked for last.
  forget() {
    this.turn += 1;
    this.isReplacing = false;
  }

  async replace(fetch) {
    const turn = (this.turn += 1);
    this.isReplacing = true;
    try {
      return this.put(turn, await fetch());
    } finally {
      if (turn === this.turn) this.isReplacing = false;
    }
  }

  put(turn, { items, isMore }) {
    if (turn !== this.turn) return false;
    this.log.clear();
    this.log.isLive = false;
    this.log.isWhole = !isMore;
    this.log.prepend(items);
    this.replaced();
    return true;
  }
}

const isEvent = ({ event }) => event !== undefined;

// What tells of text that is still being written is not read again: its final line is.
export const isPassing = ({ kind, data }) => kind === "stream" && (data?.type === "stream_event" || isCountOfThought(data));
const isCountOfThought = (line) => line?.type === "system" && line.subtype === "thinking_tokens";
const kept = (items) => items.filter(({ event }) => event === undefined || !isPassing(event));
