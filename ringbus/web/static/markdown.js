// A small Markdown for what models write: headings, lists, quotes, code fences, rules, tables as
// they stand, bold, italics, inline code and http links. It builds elements from text nodes; what
// it does not know stays visible as written, so no character of an answer is ever lost.

import { h } from "./dom.js";
import { visible } from "./ansi.js";
import { link } from "./link.js";
import { pieces } from "./long.js";

// Beyond that a paragraph is no prose, and looking for marks in it takes long.
const LONGEST = 5000;

const INLINE = /(`+)([^`]|[^`][\s\S]*?[^`])\1(?!`)|\*\*(\S(?:[\s\S]*?\S)?)\*\*|(?<![\w*])\*(\S(?:[^*\n]*?\S)?)\*(?![\w*])|\[([^\]\n]+)\]\((https?:\/\/[^\s)]+)\)|(https?:\/\/[^\s<>"'`)\]]+[^\s<>"'`)\].,;:!?])/g;

export function markdown(text) {
  const [first, ...rest] = pieces(text, part);
  first.append(...rest);
  return first;
}

function part(text) {
  const lines = text.split("\n");
  const out = [];
  let at = 0;
  while (at < lines.length) {
    const taken = block(lines, at, out);
    at += taken;
  }
  return h("div", "prose", ...out);
}

function block(lines, at, out) {
  const line = lines[at];
  if (!line.trim()) return 1;
  const fence = line.match(/^\s*(`{3,}|~{3,})(.*)$/);
  if (fence) return code(lines, at, fence[1], out);
  const heading = line.match(/^(#{1,6})\s+(.*?)\s*#*$/);
  if (heading) {
    out.push(h("p", `heading heading-${Math.min(heading[1].length, 3)}`, ...inline(heading[2])));
    return 1;
  }
  if (/^\s*([-*_])(\s*\1){2,}\s*$/.test(line)) {
    out.push(h("hr", ""));
    return 1;
  }
  if (/^\s*\|.*\|\s*$/.test(line)) return run(lines, at, /^\s*\|/, (part) => out.push(h("pre", "table", ...visible(part.join("\n")))));
  if (/^\s*>/.test(line)) {
    return run(lines, at, /^\s*>/, (part) =>
      out.push(h("blockquote", "", ...inline(part.map((one) => one.replace(/^\s*> ?/, "")).join("\n")))));
  }
  if (item(line)) return list(lines, at, out);
  return paragraph(lines, at, out);
}

function code(lines, at, fence, out) {
  let end = at + 1;
  while (end < lines.length && !lines[end].trim().startsWith(fence)) end += 1;
  out.push(h("pre", "code", ...visible(lines.slice(at + 1, end).join("\n"))));
  return end - at + 1;
}

function run(lines, at, pattern, done) {
  let end = at;
  while (end < lines.length && pattern.test(lines[end])) end += 1;
  done(lines.slice(at, end));
  return end - at;
}

const item = (line) => line.match(/^(\s*)([-*+]|\d{1,4}[.)])\s+(.*)$/);

// Items keep their own marker as text (a list that starts at 3 stays at 3) and their depth as an indent.
function list(lines, at, out) {
  const box = h("div", "list");
  let end = at;
  for (; end < lines.length; end += 1) {
    const found = item(lines[end]);
    if (found) {
      const depth = Math.min(3, Math.floor(found[1].replaceAll("\t", "  ").length / 2));
      const marker = /\d/.test(found[2]) ? found[2] : "•";
      box.append(h("div", `item depth-${depth}`, h("span", "marker", marker), h("span", "", ...inline(found[3]))));
    } else if (/^\s+\S/.test(lines[end]) && box.lastChild) {
      box.lastChild.lastChild.append("\n", ...inline(lines[end].trim()));
    } else break;
  }
  out.push(box);
  return end - at;
}

const opensBlock = (line) =>
  !line.trim() || /^\s*(`{3,}|~{3,}|>|#{1,6}\s|\|)/.test(line) || item(line) !== null;

function paragraph(lines, at, out) {
  let end = at + 1;
  while (end < lines.length && !opensBlock(lines[end])) end += 1;
  out.push(h("p", "", ...inline(lines.slice(at, end).join("\n"))));
  return end - at;
}

function inline(text) {
  if (text.length > LONGEST) return visible(text);
  const nodes = [];
  let from = 0;
  for (const match of text.matchAll(INLINE)) {
    nodes.push(...visible(text.slice(from, match.index)), span(match));
    from = match.index + match[0].length;
  }
  nodes.push(...visible(text.slice(from)));
  return nodes;
}

function span([, , codeText, bold, italic, label, target, bare]) {
  if (codeText !== undefined) return h("code", "", ...visible(codeText));
  if (bold !== undefined) return h("strong", "", ...inline(bold));
  if (italic !== undefined) return h("em", "", ...inline(italic));
  return link(target ?? bare, label ?? bare);
}
