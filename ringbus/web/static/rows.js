// The rows every kind of event is made of: a gutter with time and seq, and a cell. Notes, gaps and
// the one-line fallback for JSON nobody knows are here; agent vocabulary is in lines.js.

import { h, append, fold } from "./dom.js";
import { terminal, visible, plain } from "./ansi.js";
import { prettyJson } from "./envelope.js";
import { clock, fullTime, firstLine, lineCount, plural } from "./format.js";
import { output } from "./long.js";
import { shortJson } from "./tools.js";

export function row(kind, envelope, ...children) {
  const element = h("article", `row row-${kind}`, gutter(envelope), h("div", "cell", ...children));
  place(element, envelope);
  return element;
}

// Marks an element as the one place where an event is drawn; also the target of its permalink.
export function place(element, { position, n, ms }) {
  element.dataset.position = position;
  element.id = position;
  element.n = n;
  element.ms = ms;
}

function gutter({ ms, position, seq }) {
  const time = h("time", "", clock(ms));
  time.dateTime = fullTime(ms);
  const link = h("a", "gutter", time, h("span", "seq", String(seq)));
  link.href = `#${position}`;
  link.title = fullTime(ms);
  return link;
}

export function addTo(element, ...nodes) {
  append(element.querySelector(":scope > .cell"), nodes);
}

const NOTE_LINES = 12;

export function note(envelope) {
  const { text, source = "harness", reason, encoding, size, file } = envelope;
  const about = [
    reason,
    encoding,
    size !== undefined && plural(size, "byte"),
    file !== undefined && `whole line in ${file}`,
  ].filter(Boolean).join(", ");
  const body = lineCount(text) > NOTE_LINES || text.length > 2000
    ? fold("note", [h("span", "preview", ...visible(plain(firstLine(text)))), h("span", "count", plural(lineCount(text), "line"))],
      () => output(text, "output tall"))
    : h("pre", "output", ...terminal(text));
  return row(`note note-${knownSource(source)}`, envelope,
    h("span", "source", knownSource(source)), body, about && h("span", "muted", ...visible(firstLine(about, 500))));
}

const knownSource = (source) => (["stdout", "stderr", "harness"].includes(source) ? source : "harness");

const REASONS = {
  lapped: "the ring overwrote them before they were stored",
  retention: "removed by the retention limit",
  "store-unavailable": "the history could not be written",
  "ring-lost": "the ring was lost before all was stored",
};

export function gap({ epoch, from, to, missed, reason }, n) {
  const what = missed === null || missed === undefined
    ? `Events from ${from} on are missing`
    : `${plural(missed, "event")} missing`;
  const where = to === null || to === undefined ? "" : ` (${from} to ${to})`;
  const element = h("article", "row row-gap", h("span", "gutter", h("span", "seq", String(from))),
    h("div", "cell", `${what}${where}: ${Object.hasOwn(REASONS, reason) ? REASONS[reason] : reason}.`));
  element.dataset.gap = `${epoch}-${from}`;
  element.id = `gap-${epoch}-${from}`;
  element.n = n;
  return element;
}

// One line for whatever has no drawing of its own: what it calls itself, its shortest telling text,
// and all of it underneath.
export function fallback(envelope, value) {
  const label = nameOf(value);
  const bad = /(^|[._/ ])(error|failed|failure)$/.test(label);
  return row(bad ? "fallback is-failure" : "fallback", envelope,
    fold("json", [h("span", "label", ...visible(label)), h("span", "preview", ...visible(plain(telling(value))))],
      () => output(prettyJson(envelope), "output tall")));
}

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

function nameOf(value) {
  if (Array.isArray(value)) return `array of ${value.length}`;
  if (!isObject(value)) return value === null ? "null" : typeof value;
  const own = [value.type, value.subtype].filter((part) => typeof part === "string").join("/");
  const inner = [value.item?.type, value.frame?.method, value.method].find((part) => typeof part === "string");
  return firstLine([own, inner].filter(Boolean).join(" ") || string(value.kind) || "object");
}

const string = (value) => (typeof value === "string" ? value : "");

const TELLING = ["text", "message", "command", "content", "summary", "description", "error", "title", "name", "path", "query", "status", "result"];

function telling(value) {
  if (!isObject(value)) return shortJson(value, 160);
  const { params } = value.frame ?? value;
  const level = [value, value.item, value.data, value.part, params?.item, params, value.error, value.message].filter(isObject);
  for (const key of TELLING) {
    for (const object of level) {
      if (typeof object[key] === "string" && object[key].trim()) return firstLine(object[key]);
    }
  }
  const { type, subtype, uuid, session_id, ...rest } = value;
  const texts = Object.values(rest).filter((one) => typeof one === "string" && one.trim());
  const shortest = texts.sort((one, other) => one.length - other.length)[0];
  if (shortest) return firstLine(shortest);
  return Object.keys(rest).length ? shortJson(rest, 160) : "";
}
