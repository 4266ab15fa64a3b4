// The page of one agent: the stream fills the transcript, the line on top says what the agent does,
// the words beside it how the connection is, and earlier history is loaded on demand.

import { parsePage } from "./envelope.js";
import { ago, plural } from "./format.js";
import { Stream } from "./stream.js";
import { Tail } from "./tail.js";
import { Transcript } from "./turns.js";

const PAGE_EVENTS = 500;
const ANCHORS = 50;
const element = (id) => document.getElementById(id);

const WORDS = {
  connecting: "connecting…",
  waiting: "connected, no event yet",
  "catching-up": "catching up",
  live: "live",
  reconnecting: "reconnecting…",
  busy: "trying again",
  stopped: "stopped, trying again",
};

const { agent, events, history } = document.body.dataset;
const transcript = new Transcript(element("transcript"));
const tail = new Tail(element("transcript"), element("pill"));
const earlier = element("earlier");
let gaps = 0;
let connection = "connecting";

const stream = new Stream(events, { batch, state: showConnection });
earlier.addEventListener("click", loadEarlier);
setInterval(showStatus, 1000);

function batch(items) {
  let added = 0;
  for (const item of items) {
    if (item.event) added += transcript.add(item.event) ? 1 : 0;
    else if (item.gap) added += addGap(item.gap);
    else startOver();
  }
  if (tail.following) transcript.trim();
  tail.added(added);
  element("empty").hidden = transcript.turns.length > 0;
  if (transcript.oldest !== null && !earlier.dataset.end) earlier.hidden = false;
  goToTarget();
  showStatus();
}

function addGap(gap) {
  gaps += 1;
  transcript.addGap(gap);
  showConnection(connection);
  return 1;
}

function startOver() {
  transcript.clear();
  gaps = 0;
  delete earlier.dataset.end;
  earlier.disabled = false;
  earlier.textContent = "Load earlier";
}

function showConnection(state, reason = "") {
  connection = state;
  const box = element("connection");
  box.dataset.state = gaps > 0 && state === "live" ? "gap" : state;
  element("connection-word").textContent = [reason, WORDS[state]].filter(Boolean).join(", ");
  element("gaps").textContent = gaps > 0 ? plural(gaps, "gap") : "";
  if (state === "waiting") element("empty").textContent = "Waiting for the first event.";
}

function showStatus() {
  const { state, word, figure, detail } = transcript.status.words(Date.now());
  const box = element("status");
  if (box.dataset.state !== state) box.dataset.state = state;
  setText("status-word", connection === "connecting" && state === "waiting" ? "Connecting…" : word);
  setText("status-figure", figure);
  setText("status-detail", connection === "connecting" && state === "waiting" ? "" : detail);
  const { last } = transcript.status;
  setText("last-event", last === null ? "" : `last event ${ago(Date.now() - last)}`);
  document.title = `${word}: ${agent}`;
}

function setText(id, text) {
  if (element(id).textContent !== text) element(id).textContent = text;
}

// A permalink wins over following, once.
let target = decodeURIComponent(location.hash.slice(1));
function goToTarget() {
  const row = target && element(target);
  if (!row) return;
  target = "";
  tail.pause();
  row.scrollIntoView({ block: "center" });
}

async function loadEarlier() {
  earlier.disabled = true;
  earlier.textContent = "Loading…";
  try {
    const { events: older, next } = await fetchPage();
    const part = new Transcript(document.createElement("div"));
    for (const event of older) part.add(event);
    part.partials.clear();
    tail.pause();
    const rows = [...element("transcript").querySelectorAll(".row")].slice(0, ANCHORS);
    tail.keep(rows, () => transcript.absorb(part));
    if (next === null) earlier.dataset.end = "yes";
    earlier.textContent = next === null ? "The history begins here" : "Load earlier";
    earlier.disabled = next === null;
  } catch (error) {
    earlier.textContent = `Could not load earlier events (${error.message}). Try again`;
    earlier.disabled = false;
  }
}

async function fetchPage() {
  const response = await fetch(`${history}?limit=${PAGE_EVENTS}&before=${transcript.oldest}`);
  if (!response.ok) throw new Error(`status ${response.status}`);
  return parsePage(await response.text());
}
