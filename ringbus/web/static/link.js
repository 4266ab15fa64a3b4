// A link out of the page, made safe: http alone, nothing told of where it was followed from.

import { h } from "./dom.js";
import { visible } from "./ansi.js";

// The text as it is where the target is no such address.
export function link(target, text = target) {
  if (!/^https?:\/\/\S+$/i.test(target)) return h("span", "", ...visible(text));
  const element = h("a", "", ...visible(text));
  element.href = target;
  element.rel = "noopener noreferrer";
  element.target = "_blank";
  return element;
}
