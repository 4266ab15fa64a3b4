// The connection to one agent's events: a source with its states told in words, gathered
// batches once a frame instead of one call per event, each no larger than what a frame has time for,
// and its own way back where a browser gives up (a refused stream) or does not notice (a machine
// that slept).

import { parseEnvelope } from "./envelope.js";
import { openSource } from "./shared.js";

const RETRY_MS = 5000;
const PULSE_MS = 10_000;
const SLEPT_MS = 45_000;
const QUIET_MS = 250;
const HIDDEN_BATCH_MS = 250;
const FRESH_MS = 2000;
const FRAME_MS = 12;
const LEAST_BATCH = 25;
const MOST_BATCH = 1000;

const isFresh = ({ event }) => event !== undefined && Date.now() - event.ms < FRESH_MS;

// handlers: batch(list of {event} | {gap} | {reset}), state(name, reason), where name is one of connecting,
// waiting, catching-up, live, reconnecting, busy, stopped.
export class Stream {
  constructor(url, handlers) {
    this.url = url;
    this.handlers = handlers;
    this.position = null;
    this.pending = [];
    this.isScheduled = false;
    this.most = 200; // items in a batch: as many as it turns out there is time for
    this.open("connecting");
    this.watchSleep();
    addEventListener("pagehide", () => this.source.close());
    addEventListener("pageshow", (event) => event.persisted && this.open("reconnecting"));
    addEventListener("online", () => this.state === "stopped" && this.open("reconnecting"));
  }

  open(state) {
    this.source?.close();
    clearTimeout(this.retryTimer);
    const url = new URL(this.url, location.href);
    if (this.position !== null) {
      url.search = "";
      url.searchParams.set("after", this.position);
    }
    this.to(state);
    this.source = openSource(url);
    this.source.onopen = () => this.to(this.position === null ? "waiting" : "catching-up");
    this.source.onmessage = ({ data, lastEventId }) => this.take({ text: data, position: lastEventId });
    this.source.addEventListener("gap", (message) => this.takeGap(message));
    this.source.addEventListener("cursor", (message) => this.takeCursor(message));
    this.source.addEventListener("reset", () => this.take({ reset: true }));
    this.source.addEventListener("busy", (message) => this.to("busy", JSON.parse(message.data).reason));
    this.source.onerror = () => this.failed();
  }

  // Everything after this position is to come, also what came before.
  goOnAfter(position) {
    this.position = position;
    this.pending = [];
    this.open("catching-up");
  }

  failed() {
    if (this.source.readyState === EventSource.CLOSED) {
      this.to("stopped");
      this.retryTimer = setTimeout(() => this.open("reconnecting"), RETRY_MS);
    } else if (this.state !== "busy") {
      this.to(this.position === null ? "connecting" : "reconnecting");
    }
  }

  // A gap that is known to its end is a place to go on from, too.
  takeGap({ data, lastEventId }) {
    if (lastEventId) this.position = lastEventId;
    this.take({ gap: JSON.parse(data) });
  }

  // Up to here all was sent.
  takeCursor({ lastEventId }) {
    this.position = lastEventId;
  }

  // Kept as text until there is time for it.
  take(item) {
    if (item.position) this.position = item.position;
    if (item.reset) this.position = null;
    this.pending.push(item);
    this.schedule();
  }

  schedule() {
    if (this.isScheduled) return;
    this.isScheduled = true;
    if (document.hidden) setTimeout(() => this.flush(), HIDDEN_BATCH_MS);
    else requestAnimationFrame(() => this.flush());
  }

  flush() {
    this.isScheduled = false;
    const start = performance.now();
    const most = document.hidden ? MOST_BATCH : this.most;
    const items = this.pending.splice(0, most).map((item) => (item.text === undefined ? item : { event: parseEnvelope(item.text) }));
    if (this.state !== "live") this.to(isFresh(items.at(-1)) ? "live" : "catching-up");
    this.handlers.batch(items);
    const took = performance.now() - start;
    if (took > FRAME_MS) this.most = Math.max(LEAST_BATCH, Math.floor(most / 2));
    else if (items.length === most) this.most = Math.min(MOST_BATCH, Math.ceil(most * 1.5));
    if (this.pending.length) this.schedule();
  }

  // Live once something new comes, or nothing for a moment.
  to(state, reason = "") {
    clearTimeout(this.quietTimer);
    if (state === "catching-up") this.quietTimer = setTimeout(() => this.settle(), QUIET_MS);
    if (state === this.state) return;
    this.state = state;
    this.handlers.state(state, reason);
  }

  settle() {
    if (this.pending.length) this.to("catching-up");
    else this.to("live");
  }

  watchSleep() {
    let before = Date.now();
    setInterval(() => {
      const slept = Date.now() - before > SLEPT_MS;
      before = Date.now();
      if (slept && this.state !== "stopped") this.open("reconnecting");
    }, PULSE_MS);
  }
}
