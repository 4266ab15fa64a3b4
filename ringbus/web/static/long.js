// Long text, piece by piece: a browser lays a megabyte out for seconds. Each further piece is in a
// fold under the one before.

import { h, fold } from "./dom.js";
import { terminal } from "./ansi.js";
import { plural } from "./format.js";

const PIECE = 50_000;

// The nodes of a text whose pieces `draw` draws, a node each.
export function pieces(text, draw, most = PIECE) {
  if (text.length <= most) return [draw(text)];
  const isPair = /[\ud800-\udbff]/.test(text[most - 1]);
  const end = isPair ? most - 1 : most;
  const rest = text.slice(end);
  return [draw(text.slice(0, end)), fold("more", [`${plural(rest.length, "more character")}`], () => pieces(rest, draw))];
}

export const output = (text, name = "output") => pieces(text, (part) => h("pre", name, ...terminal(part)));
