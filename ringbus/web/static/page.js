// The page of one agent: the stream fills the log, the view draws what of it is near the screen,
// the line on top says what the agent does, and the words beside it how the connection is.

import { ago, plural, wholeDuration } from "./format.js";
import { Handling } from "./handling.js";
import { Loader, isPassing } from "./loader.js";
import { Log } from "./log.js";
import { Seen } from "./seen.js";
import { Status } from "./status.js";
import { Stream } from "./stream.js";
import { Tail } from "./tail.js";
import { View } from "./view.js";

const BEHIND_MS = 2000;
const MOST_ARRIVED = 20_000;
const MOST_STEPS = 200;
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
const earlier = element("earlier");
let status = new Status();
let gaps = 0;
let connection = { state: "connecting", reason: "" };
let behind = 0;
let newest = null; // of all events met, loaded or not
let steps = 0; // taken in a row since the reader last moved
let arrived = []; // the newest of the events that came in while the log did not reach to the end

const log = new Log();
const view = new View(log, { root: element("transcript"), before: element("before"), after: element("after"), missing });
const loader = new Loader(history, log);
const isLast = () => log.isLive && view.isAtEnd;
const tail = new Tail(view.root, element("pill"), { isLast, changed: showConnection });
const seen = new Seen(agent, () => (tail.following && isLast() ? log.last?.position ?? null : null));
const handling = new Handling({ agent, log, view, tail, loader, load, showEnd });

view.drawn = () => {
  seen.draw(view.root, log);
  handling.drawn();
  tail.settle();
};
view.isFollowing = () => tail.following;
const stream = new Stream(events, { batch, state: connectionChanged });
earlier.addEventListener("click", () => load("before"));
const moveSoon = soon(moved);
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
  const added = [];
  let passing = 0;
  for (const item of items) {
    if (item.event) passing += take(item.event, added) ? 0 : 1;
    else if (item.gap) addGap(item.gap, added);
    else startOver();
  }
  handling.feed(added);
  if (log.isLive) view.grow(added, tail.following);
  if (passing && isLast()) addPassing(items);
  // What came in is to stay while the end is followed, though it may not be drawn yet.
  log.bound(view.low, tail.following ? Infinity : view.high);
  handling.added();
  tail.added(log.isLive ? added.length : items.length - passing);
  if (connection.state === "live") seen.settle(log);
  measureLag(items);
  showRoom();
  showStatus();
}

// Takes an event into the log; says false for text that is still being written.
function take(event, added) {
  status.feed(event);
  if (isPassing(event)) return false;
  newest = event;
  if (!log.isLive) {
    log.meet(event);
    arrived.push(event);
    if (arrived.length > MOST_ARRIVED) arrived.splice(0, MOST_ARRIVED / 2);
    return true;
  }
  const entry = log.append(event);
  if (entry) added.push(entry);
  return true;
}

// Only what came after the last whole line is still being written.
function addPassing(items) {
  const from = items.findLastIndex(({ event }) => event === undefined || !isPassing(event)) + 1;
  const isOnly = from === 0 || items.length - from < 500;
  if (!isOnly) return;
  for (const { event } of items) if (event && isPassing(event)) view.transcript.add(event);
}

function addGap(gap, added) {
  gaps += 1;
  if (log.isLive) added.push(log.appendGap(gap));
  showConnection();
}

function startOver() {
  handling.restart();
  log.clear();
  log.epochs.clear();
  view.clear();
  status = new Status();
  gaps = 0;
  newest = null;
}

// --- what is loaded ----------------------------------------------------------------------

// Brings what is drawn in line with where the screen is, a step a frame until nothing is left to do.
function moved() {
  if (!log.entries.length) return;
  // What comes in is drawn as it comes; only above it there may be room.
  if (tail.following && (!isLast() || view.edges().above > innerHeight)) return;
  const wanted = view.follow((change) => tail.hold(change));
  if (wanted !== "drawn") steps = 0; // the bound is on one row of steps
  if (wanted === "drawn" && (steps += 1) < MOST_STEPS) moveSoon();
  else if (wanted === "before" && !log.isWhole && !tail.following) load("before");
  else if (wanted === "after" && !log.isLive) load("after");
  else if (wanted?.event !== undefined) jumpInto(wanted);
  showRoom();
}

// Loads what is before, after, or elsewhere (a function that does), one at a time; says if it could.
async function load(what) {
  if (typeof what === "function") tail.pause();
  else earlier.textContent = what === "before" ? "Loading…" : earlier.textContent;
  try {
    return await loader.once(async () => {
      if (what === "before") addEarlier(await loader.older());
      else if (what === "after") addLater(await loader.newer());
      else await what();
      if (typeof what === "function") {
        await handling.replaced();
        view.refresh();
      } else log.bound(view.low, view.high);
      earlier.dataset.problem = "";
      showRoom();
      moveSoon();
      return true;
    });
  } catch (error) {
    earlier.dataset.problem = `Could not load events (${error.message}). Try again`;
    showRoom();
    return false;
  }
}

function addEarlier(entries) {
  const older = new Status();
  if (status.since === null) {
    for (const entry of entries) older.feed(entry.event());
    status.learn(older);
  }
  handling.feed(entries);
  tail.hold(() => {
    view.refresh();
    if (view.from > 0 && view.edges().above < innerHeight) view.extendBefore();
    view.space();
  });
}

function addLater(entries) {
  // Whole again only if what came in meanwhile goes on where the log ends.
  const last = log.last.position;
  if (newest === null || newest.position === last || arrived.some((event) => event.position === last)) catchUp();
  handling.feed(entries);
  view.refresh();
  moved();
}

// The log reaches the newest event again: what came in meanwhile goes behind it.
function catchUp() {
  log.isLive = true;
  for (const event of arrived) log.append(event);
  arrived = [];
}

async function jumpInto({ isBefore, event }) {
  const from = isBefore ? log.first : log.last;
  const seq = isBefore ? Math.max(0, Math.floor(event)) : from.seq + Math.floor(event);
  if (isBefore ? log.isWhole : log.isLive) return;
  await load(() => loader.around(from.epoch, seq));
  const entry = log.entries.find((one) => one.epoch === from.epoch && one.seq >= seq) ?? log.last;
  view.clear();
  if (entry) view.show(entry.n);
  view.reveal();
}

// Shows the newest events and follows them.
async function showEnd() {
  if (!log.isLive) {
    await load(async () => {
      arrived = [];
      await loader.newest();
      catchUp();
    });
    view.clear();
  }
  view.showEnd();
  tail.resume();
  tail.settle();
}

function missing() {
  const { first, last } = log;
  const after = newest !== null && last !== null && newest.epoch === last.epoch ? newest.seq - last.seq : 500;
  return { before: log.isWhole || first === null ? 0 : first.seq, after: log.isLive ? 0 : after };
}

function showRoom() {
  if (tail.following) view.space();
  element("empty").hidden = log.entries.length > 0;
  earlier.hidden = log.entries.length === 0;
  // Always of the same height: what is below must not move.
  earlier.style.visibility = view.from > 0 ? "hidden" : "";
  earlier.disabled = log.isWhole;
  earlier.textContent = earlier.dataset.problem || (log.isWhole ? "The history begins here" : "Load earlier");
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
  box.dataset.state = gaps > 0 && state === "live" ? "gap" : state;
  const lag = state === "catching-up" && behind ? `${wholeDuration(behind * 1000)} behind` : "";
  const hold = tail.following || state !== "live" ? "" : tail.isHeld ? "paused" : "not following";
  setText("connection-word", [reason, WORDS[state], lag, hold].filter(Boolean).join(", "));
  setText("gaps", gaps > 0 ? plural(gaps, "gap") : "");
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
