// Terminal text as nodes: SGR colours and weights become spans with classes, every other escape
// sequence is dropped, and control characters and lone surrogates are drawn as visible marks. A
// lone carriage return is one of them: letting it overwrite its line would hide what stood there.
// Only the display changes; the stored bytes do not.

const ESCAPE = /\x1b(?:\[([0-?]*)[ -/]*([@-~])|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[PX^_][^\x1b]*(?:\x1b\\)?|[ -/]*[0-~])/g;
const CONTROL = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

export function plain(text) {
  return lines(text).replace(ESCAPE, "");
}

const lines = (text) => text.replaceAll("\r\n", "\n");

// Text as nodes with control characters made visible; for anything that is not terminal output.
export function visible(text) {
  const nodes = [];
  let from = 0;
  for (const match of text.matchAll(CONTROL)) {
    if (match.index > from) nodes.push(text.slice(from, match.index));
    nodes.push(mark(match[0]));
    from = match.index + match[0].length;
  }
  nodes.push(text.slice(from));
  return nodes;
}

export function terminal(text) {
  const nodes = [];
  let style = {};
  let from = 0;
  const source = lines(text);
  const push = (piece) => {
    if (!piece) return;
    const names = classes(style);
    if (!names) nodes.push(...visible(piece));
    else {
      const span = document.createElement("span");
      span.className = names;
      span.append(...visible(piece));
      nodes.push(span);
    }
  };
  for (const match of source.matchAll(ESCAPE)) {
    push(source.slice(from, match.index));
    if (match[2] === "m") style = graphics(style, match[1]);
    from = match.index + match[0].length;
  }
  push(source.slice(from));
  return nodes;
}

function mark(character) {
  const code = character.charCodeAt(0);
  const span = document.createElement("span");
  span.className = "control";
  span.textContent = code < 0x20
    ? String.fromCharCode(0x2400 + code)
    : code === 0x7f ? "\u2421" : `<${code.toString(16).padStart(4, "0")}>`;
  return span;
}

function classes(style) {
  const names = [];
  if (style.bold) names.push("ansi-bold");
  if (style.dim) names.push("ansi-dim");
  if (style.italic) names.push("ansi-italic");
  if (style.underline) names.push("ansi-underline");
  if (style.colour !== undefined) names.push(`ansi-${style.colour}`);
  return names.join(" ");
}

function graphics(style, parameters) {
  const codes = parameters === "" ? [0] : parameters.split(/[;:]/).map(Number);
  let next = { ...style };
  for (let at = 0; at < codes.length; at += 1) {
    const code = codes[at];
    if (code === 0) next = {};
    else if (code === 1) next.bold = true;
    else if (code === 2) next.dim = true;
    else if (code === 3) next.italic = true;
    else if (code === 4) next.underline = true;
    else if (code === 22) next = { ...next, bold: false, dim: false };
    else if (code === 23) next.italic = false;
    else if (code === 24) next.underline = false;
    else if (code >= 30 && code <= 37) next.colour = code - 30;
    else if (code >= 90 && code <= 97) next.colour = code - 90;
    else if (code === 39) next.colour = undefined;
    else if (code === 38 || code === 48) at += codes[at + 1] === 5 ? 2 : 4;
  }
  return next;
}
