// The lines an edit changed: a longest common subsequence between the old and the new text, with
// the equal ends cut off first. Two very long texts are shown as all old, then all new lines.

import { h, fold } from "./dom.js";
import { visible } from "./ansi.js";
import { plural } from "./format.js";

const LIMIT = 250_000;
const CONTEXT = 2;
const MOST_LINES = 1000;
const LONGEST = 10_000;

// A list of [sign, line], sign one of "-", "+", " ".
export function diffLines(before, after) {
  const a = linesOf(before);
  const b = linesOf(after);
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start += 1;
  let tail = 0;
  while (tail < a.length - start && tail < b.length - start && a.at(-1 - tail) === b.at(-1 - tail)) tail += 1;
  const middle = changes(a.slice(start, a.length - tail), b.slice(start, b.length - tail));
  const same = (lines) => lines.map((line) => [" ", line]);
  return [
    ...same(a.slice(Math.max(0, start - CONTEXT), start)),
    ...middle,
    ...same(a.slice(a.length - tail, a.length - tail + CONTEXT)),
  ];
}

function linesOf(text) {
  const lines = text.split("\n");
  if (lines.at(-1) === "") lines.pop();
  return lines;
}

function changes(a, b) {
  if (a.length * b.length > LIMIT) return [...a.map((line) => ["-", line]), ...b.map((line) => ["+", line])];
  const width = b.length + 1;
  const lengths = new Uint32Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      lengths[i * width + j] = a[i] === b[j]
        ? lengths[(i + 1) * width + j + 1] + 1
        : Math.max(lengths[(i + 1) * width + j], lengths[i * width + j + 1]);
    }
  }
  const out = [];
  let i = 0;
  let j = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      out.push([" ", a[i]]);
      i += 1;
      j += 1;
    } else if (i < a.length && (j === b.length || lengths[(i + 1) * width + j] >= lengths[i * width + j + 1])) {
      out.push(["-", a[i]]);
      i += 1;
    } else {
      out.push(["+", b[j]]);
      j += 1;
    }
  }
  return out;
}

const NAMES = { "-": "removed", "+": "added", " ": "same" };

// As many lines as are bearable at once; the next ones are in a fold.
export function drawDiff(lines) {
  const shown = lines.slice(0, MOST_LINES).map(([sign, line]) =>
    h("span", NAMES[sign], `${sign} `, ...visible(line.length > LONGEST ? `${line.slice(0, LONGEST)}…` : line)));
  const rest = lines.slice(MOST_LINES);
  return h("pre", "diff", ...shown, rest.length > 0 && fold("more", [plural(rest.length, "more line")], () => drawDiff(rest)));
}

export function tally(lines) {
  const added = lines.filter(([sign]) => sign === "+").length;
  const removed = lines.filter(([sign]) => sign === "-").length;
  return `+${added} −${removed}`;
}
