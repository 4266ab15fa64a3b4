// Searching what is loaded. A search is text in any string of an event, in either case; its matches
// are kept by their numbers. Long logs are searched in slices, so that the page stays at hand.

import { Hole } from "./log.js";

const SLICE_MS = 12;

// What is in an event but not on the page.
const UNSEEN = new Set(["uuid", "session_id", "sessionID", "sessionId", "signature", "id", "tool_use_id", "parent_tool_use_id",
  "tool_use_result", "type", "role", "epoch", "kind", "raw", "position", "thread_id", "tool_id", "callID", "messageID", "encrypted_content"]);

// The bytes of an image or a document.
const isEncoded = (value, key) => key === "data" && (value.type === "base64" || typeof value.mimeType === "string");

export class Find {
  constructor(log, changed) {
    this.log = log;
    this.changed = changed; // called as matches come to light
    this.query = "";
    this.matches = new Set();
    this.turn = 0;
  }

  // Starts a search over all that is loaded; settled when it is done, false if another took over.
  async search(query) {
    this.query = query;
    this.pattern = query ? new RegExp(escaped(query), "i") : null;
    this.rawPattern = query && /^[\x20-\x7e]*$/.test(query) ? new RegExp(escaped(JSON.stringify(query).slice(1, -1)), "i") : null;
    this.turn += 1;
    this.matches = new Set();
    if (this.pattern) await this.scan([...this.log.entries], this.turn);
    this.changed();
    return this.query === query;
  }

  // Other events took the place of all that was loaded: what they match is to be known before the
  // next frame, which draws them.
  renew() {
    this.turn += 1;
    this.matches = new Set();
    this.feed(this.log.entries);
  }

  async scan(entries, turn) {
    let until = performance.now() + SLICE_MS;
    for (const entry of entries) {
      if (this.isMatch(entry)) this.matches.add(entry.n);
      if (performance.now() < until) continue;
      await new Promise((resolve) => { setTimeout(resolve); });
      if (turn !== this.turn) return;
      this.changed();
      until = performance.now() + SLICE_MS;
    }
  }

  // Looks at entries that were loaded or came in after the search.
  feed(entries) {
    if (!this.pattern) return;
    for (const entry of entries) if (this.isMatch(entry)) this.matches.add(entry.n);
    this.changed();
  }

  // What the server can look for: it tells the cases of other letters apart, and how JSON writes them.
  get asked() {
    return this.rawPattern ? { text: this.query } : {};
  }

  isMatch(entry) {
    if (entry instanceof Hole || (this.rawPattern && !this.rawPattern.test(entry.raw))) return false;
    return hasText(JSON.parse(entry.raw), this.pattern);
  }

  // How many matches are loaded and `isShown`, and the place among them of an entry, 0 if it is none.
  count(entry, isShown) {
    let [number, before] = [0, 0];
    for (const n of this.matches) {
      const match = this.log.at(n);
      if (match === null || !isShown(match)) continue;
      number += 1;
      if (n <= entry?.n) before += 1;
    }
    return { number, at: entry && this.matches.has(entry.n) ? before : 0 };
  }
}

const escaped = (text) => text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");

// Without recursion: an event may be deeper than a script can go.
function hasText(value, pattern) {
  const ahead = [value];
  while (ahead.length) {
    const next = ahead.pop();
    if (typeof next === "string" && pattern.test(next)) return true;
    if (Array.isArray(next)) for (const item of next) ahead.push(item);
    else if (typeof next === "object" && next !== null) {
      for (const key of Object.keys(next)) if (!UNSEEN.has(key) && !isEncoded(next, key)) ahead.push(next[key]);
    }
  }
  return false;
}

// The places of such text below an element.
function* rangesIn(root, pattern) {
  const every = new RegExp(pattern.source, "gi");
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    for (const { index, 0: text } of node.data.matchAll(every)) {
      const range = new Range();
      range.setStart(node, index);
      range.setEnd(node, index + text.length);
      yield range;
    }
  }
}

// The first of them that can be seen, null for none.
export function firstIn(root, pattern) {
  for (const range of rangesIn(root, pattern)) if (range.startContainer.parentElement.checkVisibility()) return range;
  return null;
}

// Marks the text where it stands in the document, without touching the document.
export function highlight(root, pattern) {
  if (!globalThis.CSS?.highlights) return;
  CSS.highlights.delete("found");
  if (pattern) CSS.highlights.set("found", new Highlight(...rangesIn(root, pattern)));
}
