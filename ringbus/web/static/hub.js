// Streams of several tabs on one connection. Each tab has a tag, which the id of every frame
// begins with, and a place of its own: where its stream goes on when the connection is made anew,
// which it is whenever a tab comes. Nothing is lost by that, and nothing comes twice.

const GATHER_MS = 30;
const LEAVE_MS = 2000;
const BATCH_MS = 10;
const RETRY_MS = 1000;
const LONGEST_RETRY_MS = 15_000;
const SWEEP_MS = 30_000;
// A tab in the background has its timers run once a minute.
const SILENT_MS = 150_000;
// A tab that does not read, such as a frozen one, goes on later where it was.
const MOST_UNREAD = 20_000;
const MOST_FOLLOWED = 32;

const TYPES = ["message", "gap", "reset", "busy", "cursor", "snapshot", "gone"];
const FULL = JSON.stringify({ reason: `${MOST_FOLLOWED} pages are open in this browser already: close one` });

export class Hub {
  constructor(url) {
    this.url = url;
    this.tabs = new Map();
    this.tags = 0;
    this.failures = 0;
    this.isBusy = false;
    this.source = null;
    this.followed = [];
    setInterval(() => this.sweep(), SWEEP_MS);
  }

  meet(port) {
    const tag = String((this.tags += 1));
    port.onmessage = ({ data }) => this.hear(tag, port, data);
  }

  hear(tag, port, said) {
    const tab = this.tabs.get(tag);
    if (tab) tab.heardAt = Date.now();
    if (said.follow) this.add(tag, port, said.follow);
    else if (said.close) this.remove(tag);
    else if (said.beat) port.postMessage({ state: tab ? "known" : "unknown" });
    else if (said.read && tab) this.took(tab, said.read);
  }

  add(tag, port, { agent, where, kinds }) {
    this.tabs.set(tag, {
      port, agent, where, kinds, batch: [], unread: 0, isOpen: false, isStalled: false, heardAt: Date.now(),
    });
    port.postMessage({ state: "hello" });
    this.reopenIn(GATHER_MS);
  }

  remove(tag) {
    if (this.tabs.delete(tag)) this.reopenIn(LEAVE_MS);
  }

  took(tab, number) {
    tab.unread -= number;
    if (tab.isStalled && tab.unread === 0) this.reopenIn(GATHER_MS);
  }

  sweep() {
    for (const [tag, tab] of this.tabs) if (Date.now() - tab.heardAt > SILENT_MS) this.remove(tag);
  }

  // The earliest wish counts.
  reopenIn(milliseconds) {
    const at = Date.now() + milliseconds;
    if (this.timer !== undefined && this.reopenAt <= at) return;
    clearTimeout(this.timer);
    this.reopenAt = at;
    this.timer = setTimeout(() => this.reopen(), milliseconds);
  }

  reopen() {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.source?.close();
    this.source = null;
    // Not before: what the old connection still had for it was not passed on.
    for (const tab of this.tabs.values()) if (tab.unread === 0) tab.isStalled = false;
    const wanting = [...this.tabs].filter(([, tab]) => !tab.isStalled);
    for (const [, tab] of wanting.slice(MOST_FOLLOWED)) this.pass(tab, "busy", FULL, "");
    this.followed = wanting.slice(0, MOST_FOLLOWED);
    if (this.followed.length > 0) this.open();
  }

  open() {
    const follow = ([tag, { agent, where, kinds }]) =>
      `follow=${agent ? [tag, agent, where, kinds].filter(Boolean).join(",") : tag}`;
    this.source = new EventSource(`${this.url}?${this.followed.map(follow).join("&")}`);
    this.source.onopen = () => this.opened();
    this.source.onerror = () => this.lost();
    for (const type of TYPES) this.source.addEventListener(type, (message) => this.take(type, message));
  }

  opened() {
    this.isBusy = false;
    this.failures = 0;
    for (const [, tab] of this.followed) {
      if (!tab.isOpen) this.say(tab, "open");
      tab.isOpen = true;
    }
  }

  // The browser would come back to the same address, which holds old places.
  lost() {
    this.source.close();
    for (const tab of this.tabs.values()) {
      if (tab.isOpen) this.say(tab, "lost");
      tab.isOpen = false;
    }
    this.failures += 1;
    const delay = this.isBusy ? LONGEST_RETRY_MS : Math.min(RETRY_MS * 2 ** (this.failures - 1), LONGEST_RETRY_MS);
    this.reopenIn(delay * (0.5 + Math.random()));
  }

  take(type, { data, lastEventId }) {
    const [tag, position] = lastEventId.split(":");
    if (type === "busy") return this.busy(tag, data);
    const tab = this.tabs.get(tag);
    if (!tab || tab.isStalled) return undefined;
    if (position) tab.where = position;
    return this.pass(tab, type, data, position);
  }

  // With a tag one agent cannot be followed; without, the server has no place.
  busy(tag, data) {
    const tabs = tag ? [this.tabs.get(tag)] : [...this.tabs.values()];
    for (const tab of tabs.filter(Boolean)) {
      this.pass(tab, "busy", data, "");
      tab.isOpen = false;
    }
    if (tag) this.reopenIn(LONGEST_RETRY_MS * (0.5 + Math.random()));
    else this.isBusy = true;
  }

  pass(tab, type, data, position) {
    if (tab.batch.push([type, data, position]) === 1) setTimeout(() => this.flush(tab), BATCH_MS);
    tab.unread += 1;
    if (tab.unread <= MOST_UNREAD) return;
    tab.isStalled = true;
    this.reopenIn(LEAVE_MS);
  }

  flush(tab) {
    const batch = tab.batch;
    tab.batch = [];
    if (batch.length > 0) tab.port.postMessage({ batch });
  }

  say(tab, state) {
    this.flush(tab);
    tab.port.postMessage({ state });
  }
}
