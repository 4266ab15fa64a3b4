// The page of all agents: one stream brings each agent's state, first all of them, then changes.
// Rows stay in the order of their names, so nothing moves while one is looking.

import { h } from "./dom.js";
import { visible } from "./ansi.js";
import { ago, plural, wholeDuration } from "./format.js";
import { openSource } from "./shared.js";

const RETRY_MS = 5000;
const agents = new Map();
const list = document.getElementById("agents");

function open() {
  const source = openSource(document.body.dataset.events);
  source.addEventListener("snapshot", (message) => replace(JSON.parse(message.data).agents));
  source.addEventListener("gone", (message) => remove(JSON.parse(message.data).agent));
  source.addEventListener("busy", (message) => say("busy", `${JSON.parse(message.data).reason}, trying again`));
  source.onmessage = (message) => update(JSON.parse(message.data));
  source.onerror = () => {
    if (source.readyState !== EventSource.CLOSED) return say("reconnecting", "reconnecting…");
    say("stopped", "stopped, trying again");
    return setTimeout(open, RETRY_MS);
  };
  addEventListener("pagehide", () => source.close(), { once: true });
}

function replace(states) {
  say("live", "live");
  const names = new Set(states.map((state) => state.agent));
  for (const name of [...agents.keys()]) if (!names.has(name)) remove(name);
  for (const element of [...list.children]) if (!names.has(element.dataset.agent)) element.remove();
  states.forEach(update);
  document.getElementById("empty").hidden = states.length > 0;
}

function remove(name) {
  agents.get(name)?.element.remove();
  agents.delete(name);
}

function update(state) {
  let entry = agents.get(state.agent);
  if (!entry) {
    entry = build(state.agent);
    agents.set(state.agent, entry);
    insert(state.agent, entry.element);
    document.getElementById("empty").hidden = true;
  }
  entry.state = state;
  draw(entry);
}

function build(name) {
  const cells = Object.fromEntries(["word", "figure", "doing", "last", "lag"].map((part) => [part, h("span", part)]));
  const link = h("a", "agent-link", h("span", "dot"), h("span", "agent-name", ...visible(name)),
    cells.word, cells.figure, cells.doing, cells.last, cells.lag);
  link.href = `${document.body.dataset.base}agents/${encodeURIComponent(name)}`;
  const element = h("li", "agent", link);
  element.dataset.agent = name;
  return { element, cells };
}

function insert(name, element) {
  const stale = [...list.children].find((one) => one.dataset.agent === name);
  if (stale) return stale.replaceWith(element);
  const next = [...list.children].find((one) => one.dataset.agent > name);
  return list.insertBefore(element, next ?? null);
}

const STATES = { waiting: "Waiting", working: "Working", idle: "Idle", failed: "Failed" };

function draw({ element, cells, state }) {
  const now = Date.now();
  const since = state.since_ns === null ? null : now - state.since_ns / 1e6;
  element.dataset.state = state.state;
  set(cells.word, STATES[state.state] ?? state.state);
  set(cells.figure, since === null ? "" : state.state === "working" ? wholeDuration(since) : ago(since));
  set(cells.doing, state.doing);
  set(cells.last, state.last_ns === null ? "no event yet" : `last event ${ago(now - state.last_ns / 1e6)}`);
  set(cells.lag, lagWords(state.lag));
}

function lagWords(lag) {
  if (lag === null) return "not stored";
  return lag === 0 ? "all stored" : `${plural(lag, "event")} behind`;
}

function set(cell, text) {
  if (cell.textContent !== text) cell.replaceChildren(...visible(text));
}

function say(state, words) {
  document.getElementById("connection").dataset.state = state;
  document.getElementById("connection-word").textContent = words;
}

open();
setInterval(() => agents.forEach(draw), 1000);
