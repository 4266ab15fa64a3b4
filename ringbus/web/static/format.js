// Numbers and times as people read them: clock times, durations, sizes, counts, first lines.

const clockFormat = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23",
});
const minuteFormat = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const weekdayFormat = new Intl.DateTimeFormat(undefined, { weekday: "short" });
const dateFormat = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const WEEK_MS = 6 * 86_400_000; // no weekday twice
const dayFormat = new Intl.DateTimeFormat(undefined, {
  weekday: "short", day: "numeric", month: "short", year: "numeric",
});

// Lines may tell times that no calendar has.
const isDate = (ms) => Math.abs(ms) <= 8.64e15;
const written = (format) => (ms) => (isDate(ms) ? format.format(ms) : "never");

export const clock = written(clockFormat);
export const day = written(dayFormat);
export const fullTime = (ms) => (isDate(ms) ? new Date(ms).toISOString() : "");

// A clock time that names its day when that is not today.
export const moment = (ms) => (isToday(ms) ? clock(ms) : `${day(ms)}, ${clock(ms)}`);
export const isToday = (ms) => day(Date.now()) === day(ms);

export function duration(ms) {
  if (!(ms >= 0)) return "";
  if (ms < 9950) return `${(ms / 1000).toFixed(1)} s`;
  return wholeDuration(ms);
}

// The same without tenths, for figures that tick.
export function wholeDuration(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${pad(seconds % 60)} s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return `${hours} h ${pad(minutes % 60)} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

// How long, no finer than one needs to know.
export function roughDuration(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

export const ago = (ms) => (ms < 1500 ? "just now" : `${roughDuration(ms)} ago`);

// When something may go on: in a moment by how long, else by the clock.
export function soon(ms, at) {
  if (!isDate(at)) return "";
  if (ms < 60_000) return `for ${Math.max(0, Math.round(ms / 1000))} s`;
  if (isToday(at)) return `until ${minuteFormat.format(at)}`;
  return `until ${ms < WEEK_MS ? `${weekdayFormat.format(at)} ${minuteFormat.format(at)}` : dateFormat.format(at)}`;
}

const pad = (number) => String(number).padStart(2, "0");

export function count(number) {
  if (number < 1000) return String(number);
  if (number < 999_500) return `${(number / 1000).toFixed(number < 9950 ? 1 : 0)}k`;
  return `${(number / 1e6).toFixed(1)}M`;
}

export const dollars = (usd) => `$${usd.toFixed(usd > 0 && usd < 0.01 ? 4 : 2)}`;

export const plural = (number, word) => `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;

export function firstLine(text, limit = 160) {
  const trimmed = text.trimStart();
  const end = trimmed.indexOf("\n");
  const line = end < 0 ? trimmed : trimmed.slice(0, end);
  return line.length > limit ? `${line.slice(0, limit)}…` : line.trimEnd();
}

// The first line, or as much of all of it where that says nothing, as with an opening brace.
export function preview(text) {
  const line = firstLine(text);
  return line.length > 3 ? line : firstLine(text.slice(0, 1000).replace(/\s+/g, " "));
}

export function lineCount(text) {
  let lines = 1;
  for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) lines += 1;
  return text.endsWith("\n") ? lines - 1 : lines;
}
