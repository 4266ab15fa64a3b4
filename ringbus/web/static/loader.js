// Pages of history, fetched in either direction, and what is looked for in all of it.

import { parsePage } from "./envelope.js";

const PAGE_EVENTS = 300;
const NEWEST_EVENTS = 1000;
const LOOKED_AT = 10;

export class Loader {
  constructor(url, log) {
    this.url = url;
    this.log = log;
    this.isBusy = false;
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

  // The events just before what is loaded; the entries that came of them.
  async older() {
    const { first } = this.log;
    const { events, next } = await this.page(first?.position ?? null);
    if (this.log.first !== first) return [];
    this.log.isWhole = next === null;
    return this.log.prepend(kept(events));
  }

  // The events just after what is loaded, for a log whose end is not the newest.
  async newer() {
    const { last } = this.log;
    for (let after = last.position; after; ) {
      const { events, later } = await this.page(null, PAGE_EVENTS, { after });
      if (this.log.last !== last) return [];
      const entries = kept(events).map((event) => this.log.append(event)).filter(Boolean);
      if (entries.length) return entries;
      after = later;
    }
    return [];
  }

  // The position of the nearest event that `isWanted` among those `asked` for, before or after what
  // is loaded; null for none.
  async look(by, asked, isWanted) {
    for (let from = (by < 0 ? this.log.first : this.log.last).position; from; ) {
      const { events, next, later } = await (by < 0
        ? this.page(from, LOOKED_AT, asked) : this.page(null, LOOKED_AT, { ...asked, after: from }));
      const found = by < 0 ? events.findLast(isWanted) : events.find(isWanted);
      if (found) return found.position;
      from = by < 0 ? next : later;
    }
    return null;
  }

  async newest() {
    const { events, next } = await this.page(null, NEWEST_EVENTS);
    this.replace(events, next);
    this.log.isLive = true;
  }

  // What is round one position of an epoch. Asked for in two steps where its seqs are sparse.
  async around(epoch, seq) {
    const { events, next } = await this.page(`${epoch}-${seq + Math.floor(PAGE_EVENTS / 2)}`);
    this.replace(events, next);
  }

  // From the first event on. Where it is, is not known: looked for in ever larger steps.
  async oldest() {
    let [epoch] = this.log.epochs.keys();
    for (let step = PAGE_EVENTS; !this.log.isWhole; step *= 2) {
      const { events, next } = await this.page(`${epoch}-${step}`);
      if (!events.length && step < this.log.epochs.get(epoch).high) continue;
      if (events.length && events[0].epoch !== epoch) [epoch, step] = [events[0].epoch, PAGE_EVENTS / 2];
      this.replace(events, next);
      while (!this.log.isWhole) await this.older();
    }
  }

  replace(events, next) {
    const list = kept(events);
    this.log.clear();
    this.log.isLive = false;
    this.log.isWhole = next === null;
    this.log.prepend(list);
  }
}

// Text that was still being written is not read again: its final line is.
export const isPassing = (event) => event.kind === "stream" && event.data?.type === "stream_event";
export const kept = (events) => events.filter((event) => !isPassing(event));
