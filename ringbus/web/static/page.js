// The page of one agent: the stream fills the log, the view draws what of it is near the screen,
// the line on top says what the agent does, and the words beside it how the connection is.

import { ago, moment, plural, wholeDuration } from "./format.js";
import { Handling } from "./handling.js";
import { Loader, isPassing } from "./loader.js";
import { Hole, Log } from "./log.js";
import { Seen } from "./seen.js";
import { Status } from "./status.js";
import { Stream } from "./stream.js";
import { Tail } from "./tail.js";
import { View } from "./view.js";

const BEHIND_MS = 2000;
const MOST_STEPS = 200;
const MOST_FILTERED = 40; // the same with a filter, which may let nothing of many pages through
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

const { agent, events, history: pages } = document.body.dataset;
const earlier = element("earlier");
let status = new Status();
const gaps = new Set(); // those met, by where they begin
let connection = { state: "connecting", reason: "" };
let behind = 0;
let newest = null; // of all events met, loaded or not
let steps = 0; // taken in a row since the reader last moved

history.scrollRestoration = "manual"; // where the screen stands goes by events, not by pixels
const moveSoon = soon(moved);
const log = new Log();
const view = new View(log, { root: element("transcript"), before: element("before"), after: element("after"), missing });
const loader = new Loader(pages, log, { replaced: () => keep(() => view.clear()) });
const tail = new Tail(view.root, { head: element("status"), pill: element("pill"), isLast: () => log.isLive, changed: followingChanged });
const keep = (change) => tail.keep(change);
const seen = new Seen(agent, () => (tail.following && view.isAtEnd ? log.last?.position ?? null : null));
const handling = new Handling({ agent, log, view, tail, loader, loadElsewhere, showEnd });

view.drawn = () => {
  seen.draw(view.root, log);
  handling.drawn();
  moveSoon();
};
const stream = new Stream(events, { batch, state: connectionChanged });
earlier.addEventListener("click", () => load("before"));
addEventListener("scroll", moveSoon, { passive: true });
for (const name of ["wheel", "touchmove", "keydown", "pointerdown"]) addEventListener(name, () => { steps = 0; }, { passive: true });
addEventListener("resize", moveSoon);
setInterval(showStatus, 1000);

function soon(action) {
  let isDue = false;
  return () => {
    if (isDue) return;
    isDue = true;
    requestAnimationFrame(() => {
      isDue = false;
      action();
    });
  };
}

// --- what comes in -----------------------------------------------------------------------

function batch(items) {
  let added = 0;
  keep(() => {
    const entries = [];
    let passing = 0;
    for (const item of items) {
      if (item.event) passing += take(item.event, entries) ? 0 : 1;
      else if (item.gap) addGap(item.gap, entries);
      else startOver(entries);
    }
    if (log.isLive) addToView(entries, passing ? items : []);
    else view.space();
    added = view.rowsOf(entries);
  });
  handling.added();
  tail.added(added);
  if (connection.state === "live") seen.settle(log);
  measureLag(items);
  showRoom();
  showStatus();
  moveSoon();
}

function addToView(entries, items) {
  handling.feed(entries);
  view.take(entries);
  view.learn(entries);
  if (tail.following) view.reachEnd();
  if (items.length && log.isLive && view.isAtEnd) addPassing(items);
  // What came in is to stay while the end is followed, though it may not be drawn yet.
  view.bound(tail.following);
}

// Takes an event into the log; says false for text that is still being written. What was met before
// may come again, for a log that had lost its end.
function take(event, entries) {
  const isNew = newest === null || log.isAfter(event, newest);
  if (isNew) status.feed(event);
  if (isPassing(event)) return false;
  if (isNew) newest = event;
  const entry = log.isLive ? log.append(event) : isNew && log.glimpse(event);
  if (entry) entries.push(entry);
  return true;
}

// Only what came after the last whole line is still being written.
function addPassing(items) {
  const from = items.findLastIndex(({ event }) => event === undefined || !isPassing(event)) + 1;
  const isOnly = from === 0 || items.length - from < 500;
  if (!isOnly) return;
  for (const { event } of items) if (event && isPassing(event)) view.transcript.add(event);
}

function addGap(gap, entries) {
  const hole = log.isLive ? log.appendGap(gap) : new Hole(gap, NaN);
  if (hole === null) return;
  entries.push(hole);
  meetGaps([hole]);
}

function meetGaps(entries) {
  for (const entry of entries) if (entry instanceof Hole) gaps.add(entry.position);
  showConnection();
}

function startOver(entries) {
  entries.length = 0;
  handling.restart();
  log.clear();
  log.epochs.clear();
  view.clear();
  handling.replaced();
  status = new Status();
  gaps.clear();
  newest = null;
}

// --- what is loaded ----------------------------------------------------------------------

// Brings what is drawn in line with where the screen is, a step a frame until nothing is left to do.
function moved() {
  if (!log.entries.length) return;
  if (tail.following && !view.isAtEnd) {
    keep(() => view.reachEnd());
    moveSoon(); // it may have to rest first
  } else if (steps <= (view.passes ? MOST_FILTERED : MOST_STEPS)) look();
  showRoom();
}

function look() {
  const wanted = tail.following ? view.followEnd(keep) : view.followScreen(keep);
  steps = wanted === null ? 0 : steps + 1; // the bound is on one row of steps
  if (wanted === "drawn") moveSoon(); // though there may have been nothing new to draw
  else if (wanted === "before" || wanted === "after") load(wanted);
  else if (wanted?.event !== undefined) jumpInto(wanted);
}

// Loads what is before or after what is loaded; says if it could.
function load(direction) {
  if (direction === "before") earlier.textContent = "Loading…";
  return attempt(() => loader.once(async () => {
    const found = await (direction === "before" ? loader.older() : loader.newer());
    if (found === null) return false;
    keep(() => (direction === "before" ? addEarlier(found) : addLater(found)));
    moveSoon();
    return true;
  }), (error) => tellProblem(direction, error));
}

// Where one looks for what did not come.
function tellProblem(direction, error) {
  if (direction === "before") earlier.dataset.problem = `Could not load events (${error.message}). Try again`;
  else handling.say(`could not load what comes next: ${error.message}`, { isLasting: true });
}

// Loads what is elsewhere, by a function that does, in place of all that is loaded, and shows what
// `show` shows of it, all before the next frame; says if it could.
function loadElsewhere(fetch, show) {
  tail.pause();
  handling.say("");
  return attempt(async () => {
    if (!(await fetch())) return false;
    meetGaps(log.entries);
    handling.replaced();
    view.refresh();
    show();
    moveSoon();
    return true;
  }, (error) => handling.say(error.isUnknown ? "that is not kept any more" : `could not load it: ${error.message}`, { isLasting: true }));
}

async function attempt(action, tell) {
  try {
    const isDone = await action();
    earlier.dataset.problem = "";
    return isDone;
  } catch (error) {
    tell(error);
    return false;
  } finally {
    showRoom();
  }
}

function addEarlier(entries) {
  const older = new Status();
  if (status.since === null) {
    for (const entry of entries) if (!(entry instanceof Hole)) older.feed(entry.event());
    status.learn(older);
  }
  meetGaps(entries);
  handling.feed(entries);
  view.refresh();
  if (view.from > 0 && view.edges().above < innerHeight) view.extendBefore();
  view.bound(tail.following);
}

function addLater({ entries, isLast }) {
  meetGaps(entries);
  handling.feed(entries);
  view.refresh();
  view.learn(entries);
  if (isLast) goLive();
  view.bound(false);
}

// The log reached the end of what is stored: from there on the stream goes on, if there is more.
function goLive() {
  log.isLive = true;
  view.tellLast();
  const { last } = log;
  if (newest !== null && last !== null && log.isAfter(newest, last)) stream.goOnAfter(last.position);
}

// The screen stands where nothing is loaded.
function jumpInto({ isBefore, event }) {
  if (loader.isReplacing) return;
  const from = isBefore ? log.first : log.last;
  const seq = isBefore ? Math.max(0, Math.floor(event)) : from.seq + Math.floor(event);
  loadElsewhere(() => loader.around(from.epoch, seq), () => {
    const entry = log.entries.find((one) => one.epoch === from.epoch && one.seq >= seq) ?? log.last;
    if (entry === null) return;
    keep(() => {
      view.show(entry.n);
      view.reveal(entry.n);
    });
  });
}

// Shows the newest events and follows them.
async function showEnd() {
  loader.forget();
  if (log.isLive) followEnd();
  else await loadElsewhere(() => loader.newest(), followEnd);
}

function followEnd() {
  if (!log.isLive) goLive();
  tail.resume();
  keep(() => view.showEnd());
}

function missing() {
  const { first, last } = log;
  const after = newest !== null && last !== null && newest.epoch === last.epoch ? newest.seq - last.seq : 500;
  return { before: log.isWhole || first === null ? 0 : first.seq, after: log.isLive ? 0 : after };
}

function showRoom() {
  element("empty").hidden = log.entries.length > 0;
  earlier.hidden = log.entries.length === 0;
  // Always of the same height: what is below must not move.
  earlier.style.visibility = view.from > 0 ? "hidden" : "";
  earlier.disabled = log.isWhole;
  const sofar = view.passes && log.first ? `Load earlier (looked through from ${moment(log.first.ms)} on)` : "Load earlier";
  earlier.textContent = earlier.dataset.problem || (log.isWhole ? "The history begins here" : sofar);
}

function followingChanged() {
  showConnection();
  moveSoon();
}

// --- words -------------------------------------------------------------------------------

function connectionChanged(state, reason = "") {
  connection = { state, reason };
  if (state === "live") {
    seen.settle(log);
  }
  showConnection();
}

// How old the newest event was when it got here, if that tells of a page that is behind.
function measureLag(items) {
  const last = items.findLast(({ event }) => event)?.event;
  const age = last && connection.state === "catching-up" ? Date.now() - last.ms : 0;
  const now = age > BEHIND_MS ? Math.round(age / 1000) : 0;
  if (now === behind) return;
  behind = now;
  showConnection();
}

function showConnection() {
  const { state, reason } = connection;
  const box = element("connection");
  box.dataset.state = gaps.size > 0 && state === "live" ? "gap" : state;
  const lag = state === "catching-up" && behind ? `${wholeDuration(behind * 1000)} behind` : "";
  const hold = tail.following || state !== "live" ? "" : tail.isHeld ? "paused" : "not following";
  setText("connection-word", [reason, WORDS[state], lag, hold].filter(Boolean).join(", "));
  setText("gaps", gaps.size > 0 ? plural(gaps.size, "gap") : "");
  if (state === "waiting") setText("empty", "Waiting for the first event.");
  handling.showPause();
}

function showStatus() {
  const { state, word, figure, detail } = status.words(Date.now());
  const box = element("status");
  const isNew = connection.state === "connecting" && status.last === null;
  if (box.dataset.state !== state) box.dataset.state = state;
  setText("status-word", isNew ? "Connecting…" : word);
  setText("status-figure", figure);
  setText("status-detail", isNew ? "" : detail);
  setText("last-event", status.last === null ? "" : `last event ${ago(Date.now() - status.last)}`);
  document.title = `${word}: ${agent}`;
}

function setText(id, text) {
  if (element(id).textContent !== text) element(id).textContent = text;
}
