// Pages of history, fetched in either direction, and what is looked for in all of it.

import { parsePage } from "./envelope.js";

const PAGE_EVENTS = 300;
const NEWEST_EVENTS = 1000;
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

  // A page of the history; `asked` has what else there is to choose by: after, kind, text.
  async page(before, limit = PAGE_EVENTS, asked = {}) {
    const url = new URL(this.url, location.href);
    for (const [name, value] of Object.entries({ limit, before, ...asked })) {
      if (value !== null) url.searchParams.set(name, value);
    }
    const response = await fetch(url);
    if (!response.ok) throw new Error(`status ${response.status}`);
    return parsePage(await response.text());
  }

  // The events just before what is loaded; the entries that came of them, null if the log is another.
  async older() {
    const { first } = this.log;
    const { items, next } = await this.page(first?.position ?? null);
    if (this.log.first !== first) return null;
    this.log.isWhole = next === null;
    return this.log.prepend(kept(items));
  }

  // The same for those just after it, for a log whose end is not the newest; and whether they are the
  // last for now.
  async newer() {
    const { last } = this.log;
    const entries = [];
    let after = last.position;
    while (after && !entries.length) {
      const { items, later } = await this.page(null, PAGE_EVENTS, { after });
      if (this.log.last !== last) return null;
      for (const { event, gap } of kept(items)) entries.push(event ? this.log.append(event) : this.log.appendGap(gap));
      after = later;
    }
    return { entries: entries.filter(Boolean), isLast: after === null };
  }

  // The position of the nearest event that `isWanted` among those `asked` for, before or after what
  // is loaded, page by page; null for none, or once it does not `goesOn()`.
  async look(by, asked, isWanted, goesOn) {
    const limit = Object.keys(asked).length ? LOOKED_AT : PAGE_EVENTS;
    for (let from = (by < 0 ? this.log.first : this.log.last).position; from && goesOn(); ) {
      const { events, next, later } = await (by < 0
        ? this.page(from, limit, asked) : this.page(null, limit, { ...asked, after: from }));
      const found = by < 0 ? events.findLast(isWanted) : events.find(isWanted);
      if (found) return found.position;
      from = by < 0 ? next : later;
    }
    return null;
  }

  // The newest events in place of all others; false if another place was asked for meanwhile.
  newest() {
    return this.replace(() => this.page(null, NEWEST_EVENTS));
  }

  // The same with what is round one position of an epoch.
  around(epoch, seq) {
    return this.replace(() => this.page(`${epoch}-${seq + Math.floor(PAGE_EVENTS / 2)}`));
  }

  // The same with the first there are.
  oldest() {
    return this.replace(async () => {
      let [epoch] = this.log.epochs.keys();
      for (;;) {
        const page = await this.page(`${epoch}-1`);
        if (page.next === null) {
          const { items } = await this.page(null, PAGE_EVENTS, { after: page.events.at(-1)?.position ?? `${epoch}-0` });
          return { items: [...page.items, ...items], next: null };
        }
        epoch = page.events[0].epoch; // there is an older one
      }
    });
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

  put(turn, { items, next }) {
    if (turn !== this.turn) return false;
    this.log.clear();
    this.log.isLive = false;
    this.log.isWhole = next === null;
    this.log.prepend(kept(items));
    this.replaced();
    return true;
  }
}

// Text that was still being written is not read again: its final line is.
export const isPassing = (event) => event.kind === "stream" && event.data?.type === "stream_event";
const kept = (items) => items.filter(({ event }) => event === undefined || !isPassing(event));
