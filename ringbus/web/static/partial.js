// Text that is still being written. stream_event deltas fill provisional rows, one per content
// block of the message being streamed; the full line for a block replaces its row, and the next
// message_start (an abandoned attempt), a gap or the end of the turn clears what is left. How much
// was thought so far is told in the row of the thought, or in one of its own where no text comes.

import { h } from "./dom.js";
import { count } from "./format.js";
import { row, addTo } from "./rows.js";
import { toolName } from "./tools.js";

export class Partials {
  constructor(transcript) {
    this.transcript = transcript;
    this.messages = new Map(); // parent tool id or "" -> {id, blocks: Map(index -> {type, row, text})}
  }

  feed(envelope, line) {
    const event = line.event ?? {};
    const parent = line.parent_tool_use_id ?? "";
    if (event.type === "message_start") this.start(parent, event.message?.id);
    else if (event.type === "content_block_start") this.open(parent, envelope, event);
    else if (event.type === "content_block_delta") this.extend(parent, event);
    return true;
  }

  start(parent, id) {
    this.drop(parent);
    this.messages.set(parent, { id, blocks: new Map() });
  }

  open(parent, envelope, { index, content_block: block }) {
    const message = this.messages.get(parent);
    if (!message || !block) return;
    const text = document.createTextNode(block.text ?? block.thinking ?? "");
    const tokens = h("div", "thought");
    const element = row(`partial partial-${CLASSES[block.type] ?? "tool"}`, envelope);
    if (block.type === "text") addTo(element, h("div", "prose live-text", text));
    else if (CLASSES[block.type]) addTo(element, tokens, h("div", "thoughts", text));
    else addTo(element, h("div", "call", h("span", "name", toolName(block.name)), h("span", "summary", text)));
    message.blocks.set(index, { type: block.type, row: element, text, tokens });
    this.transcript.append(element, parent || null);
  }

  count(envelope, { parent_tool_use_id: parent, estimated_tokens: number }) {
    if (!Number.isFinite(number)) return true;
    const block = this.thought(parent ?? "") ?? this.think(parent ?? "", envelope);
    block.tokens.textContent = thinkingWords(number);
    return true;
  }

  thought(parent) {
    return [...(this.messages.get(parent)?.blocks.values() ?? [])].findLast(({ type }) => CLASSES[type] === "thinking");
  }

  think(parent, envelope) {
    if (!this.messages.has(parent)) this.start(parent, null);
    this.open(parent, envelope, { index: "thought", content_block: { type: "thinking" } });
    return this.thought(parent);
  }

  extend(parent, { index, delta }) {
    const block = this.messages.get(parent)?.blocks.get(index);
    const more = delta?.text ?? delta?.thinking ?? delta?.partial_json;
    if (block && typeof more === "string") block.text.appendData(more);
  }

  // The full line for a block of this message is here: its provisional row goes.
  settle(parent, id, type) {
    const message = this.messages.get(parent ?? "");
    if (message?.id === null) this.drop(parent ?? ""); // it said no more than that it thinks
    if (!message || message.id !== id) return;
    for (const [index, block] of message.blocks) {
      if (block.type !== type) continue;
      block.row.remove();
      message.blocks.delete(index);
      return;
    }
  }

  drop(parent) {
    for (const block of this.messages.get(parent)?.blocks.values() ?? []) block.row.remove();
    this.messages.delete(parent);
  }

  clear() {
    for (const parent of [...this.messages.keys()]) this.drop(parent);
  }
}

export const thinkingWords = (tokens) => `thinking, about ${count(tokens)} tokens`;

const CLASSES = { text: "text", thinking: "thinking", redacted_thinking: "thinking" };
