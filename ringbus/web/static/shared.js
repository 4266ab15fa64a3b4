// A source of events as EventSource is one, over the one connection that all tabs of this browser
// share: a browser has six connections to a server, and a seventh tab would wait for ever. Where
// there is no SharedWorker, or it does not answer, the tab has a connection of its own.

const WORKER = new URL("./shared-worker.js", import.meta.url);
// A worker lives on while tabs of an older page do: another name for each change of what is said.
const NAME = "ringbus-1";
const PATIENCE_MS = 10_000;
const BEAT_MS = 20_000;
const TYPES = ["open", "message", "gap", "reset", "busy", "cursor", "snapshot", "gone", "error"];

export function openSource(url) {
  const absolute = new URL(url, location.href);
  const wanted = followed(absolute);
  return "SharedWorker" in globalThis ? new SharedSource(absolute, wanted) : new EventSource(absolute);
}

// What of the shared connection says the same as this address.
function followed(url) {
  const query = url.searchParams;
  const agent = url.pathname.match(/\/agents\/([^/]+)\/events$/)?.[1];
  if (agent === undefined) return { agent: "", where: "", kinds: "" };
  const where = query.get("after") ?? (query.get("live") === "1" ? "live" : `last-${query.get("last") ?? 2000}`);
  return { agent: decodeURIComponent(agent), where, kinds: (query.get("kind") ?? "").replaceAll(",", ".") };
}

class SharedSource extends EventTarget {
  constructor(url, wanted) {
    super();
    this.url = url;
    this.wanted = wanted;
    this.readyState = EventSource.CONNECTING;
    this.connect();
  }

  connect() {
    this.isAnswered = false;
    this.worker = new SharedWorker(WORKER, { type: "module", name: NAME });
    this.worker.onerror = () => this.goAlone();
    this.port = this.worker.port;
    this.port.onmessage = ({ data }) => this.hear(data);
    this.port.postMessage({ follow: this.wanted });
    this.patience = setTimeout(() => this.isAnswered || this.goAlone(), PATIENCE_MS);
    this.beat = setInterval(() => this.check(), BEAT_MS);
  }

  disconnect() {
    clearTimeout(this.patience);
    clearInterval(this.beat);
    this.port?.postMessage({ close: true });
    this.port?.close();
    this.port = null;
  }

  // The worker may have ended, and says nothing when it does.
  check() {
    if (!this.isAnswered) return this.reconnect();
    this.isAnswered = false;
    return this.port.postMessage({ beat: true });
  }

  reconnect() {
    this.disconnect();
    this.lose();
    this.connect();
  }

  goAlone() {
    this.disconnect();
    const url = new URL(this.url);
    if (this.wanted.agent && /^[0-9a-f]{16}-/.test(this.wanted.where)) url.searchParams.set("after", this.wanted.where);
    this.alone = new EventSource(url);
    for (const type of TYPES) this.alone.addEventListener(type, (event) => {
      this.readyState = this.alone.readyState;
      this.tell(type, event.data, event.lastEventId);
    });
  }

  // The worker says: hello, open, lost, known, unknown, or a batch of [type, data, position].
  hear({ state, batch }) {
    if (this.port === null) return;
    this.isAnswered = true;
    if (state === "open") {
      this.readyState = EventSource.OPEN;
      this.tell("open");
    } else if (state === "lost") this.lose();
    else if (state === "unknown") this.reconnect();
    if (batch === undefined) return;
    for (const [type, data, position] of batch) {
      if (position) this.wanted.where = position;
      this.tell(type, data, position);
      if (this.port === null) return;
    }
    this.port.postMessage({ read: batch.length });
  }

  lose() {
    this.readyState = EventSource.CONNECTING;
    this.tell("error");
  }

  tell(type, data, position) {
    const event = data === undefined ? new Event(type) : new MessageEvent(type, { data, lastEventId: position });
    this[`on${type}`]?.(event);
    this.dispatchEvent(event);
  }

  close() {
    this.readyState = EventSource.CLOSED;
    this.alone?.close();
    this.disconnect();
  }
}
