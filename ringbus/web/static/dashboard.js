// The page of all agents: one stream brings each agent's state, first all of them, then changes.

import { AgentRow } from "./agent-row.js";
import { Board } from "./board.js";
import { h } from "./dom.js";
import { clock } from "./format.js";
import { listenForKeys } from "./dashboard-keys.js";
import { openSource } from "./shared.js";
import { STATES } from "./states.js";

const RETRY_MS = 5000;
const SKEW_MS = 2000;
const PATIENCE_MS = 2000; // a stream that the server ended is back by then
const { base, events } = document.body.dataset;
const element = (id) => document.getElementById(id);

const board = new Board(element("agents"), {
  build: (name) => new AgentRow(name, `${base}agents/${encodeURIComponent(name)}`),
  changed: () => say(),
});
const LIVE = { state: "live", words: "live" };
let connection = { state: "connecting", words: "connecting…" };
let skew = 0; // how far the server's clock is ahead of ours, where that shows
let asOf = null; // when the connection was lost: from then on nothing here is known

function open() {
  const source = openSource(events);
  source.addEventListener("snapshot", (message) => replace(JSON.parse(message.data)));
  source.addEventListener("gone", (message) => gone(JSON.parse(message.data).agent));
  source.addEventListener("busy", (message) => lose("busy", `${JSON.parse(message.data).reason}, trying again`));
  source.onmessage = (message) => update(JSON.parse(message.data));
  source.onerror = () => {
    if (source.readyState !== EventSource.CLOSED) return lose("reconnecting", "reconnecting…");
    lose("stopped", "stopped, trying again");
    return setTimeout(open, RETRY_MS);
  };
  addEventListener("pagehide", () => source.close(), { once: true });
}

function replace({ now_ns: serverNow, agents }) {
  const ahead = serverNow / 1e6 - Date.now();
  skew = Math.abs(ahead) > SKEW_MS ? ahead : 0;
  asOf = null;
  connection = LIVE;
  board.replace(agents);
  show();
}

function update(state) {
  if (changed.size === 0) requestAnimationFrame(showChanged);
  changed.add(board.update(state));
}

function gone(name) {
  board.remove(name);
  board.settle();
  show();
}

function lose(state, words) {
  asOf ??= connection.state === "live" ? Date.now() : null;
  connection = { state, words };
  show();
}

// --- drawing: at most once a frame, and once a second what ticks or another tab looked at ---

const changed = new Set(); // rows that were told something

const now = () => (asOf ?? Date.now()) + skew;

function showChanged() {
  for (const row of changed) row.draw(now());
  changed.clear();
  tally();
}

function show() {
  board.draw(now());
  say();
  tally();
}

function say() {
  const isOld = asOf !== null && Date.now() - asOf >= PATIENCE_MS;
  const { state, words: told } = asOf === null || isOld ? connection : LIVE;
  const words = [told, isOld && `this is from ${clock(asOf)}`, board.isHeld && "order held"].filter(Boolean).join(", ");
  element("connection").dataset.state = state;
  document.body.classList.toggle("is-old", isOld);
  if (element("connection-word").textContent !== words) element("connection-word").textContent = words;
}

function tally() {
  const states = board.states;
  const parts = STATES.map((name) => [name, states.filter(({ state }) => state === name).length]).filter(([, number]) => number);
  const words = parts.map(([name, number]) => `${number} ${name}`).join(", ");
  element("empty").hidden = states.length > 0 || connection.state === "connecting";
  if (element("tally").dataset.words === words) return;
  element("tally").dataset.words = words;
  element("tally").replaceChildren(...parts.map(([name, number]) => {
    const part = h("span", "tally-part", `${number} ${name}`);
    part.dataset.state = name;
    return part;
  }));
  document.title = words ? `${words}: ringbus` : "ringbus";
}

listenForKeys(element("agents"));
open();
setInterval(() => {
  if (asOf === null) board.settle();
  show();
}, 1000);
addEventListener("pageshow", ({ persisted }) => persisted && open());
