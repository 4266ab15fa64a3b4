// What the agent does right now, derived from the events in their order: waiting, working (on which
// tool, since when), idle, failed. feed() takes each event once; words() puts the state into words
// for a given moment.

import { ago, firstLine, wholeDuration } from "./format.js";
import { summarise, toolName } from "./tools.js";

const SILENT_AFTER_MS = 60_000;

export class Status {
  constructor() {
    this.state = "waiting";
    this.since = null; // ms; null while working: the start of the turn is not loaded
    this.last = null;
    this.doing = "";
    this.took = null;
    this.open = new Map();
  }

  feed(event) {
    this.last = event.ms;
    if (event.kind === "turn_start") this.begin(event.ms);
    else if (event.kind === "turn_end") this.end(event);
    else if (event.kind === "stream") this.line(event.data);
    else if (this.state === "waiting") this.state = "idle";
  }

  begin(ms) {
    this.state = "working";
    this.since = ms;
    this.doing = "starting";
    this.open.clear();
  }

  end({ ok, note, ms }) {
    this.took = this.state === "working" && this.since !== null ? ms - this.since : null;
    this.state = ok ? "idle" : "failed";
    this.since = ms;
    this.doing = ok ? "" : note || "the turn failed";
    this.open.clear();
  }

  line(line) {
    if (this.state === "waiting") this.state = "working";
    if (this.state !== "working" || typeof line !== "object" || line === null) return;
    if (line.type === "assistant" || line.type === "user") this.message(line.message?.content);
    else if (line.type === "system" && line.subtype === "api_retry") this.doing = "waiting to retry a request";
    else if (line.type === "system" && line.status === "compacting") this.doing = "compacting the conversation";
    else if (line.type === "result") this.doing = "finishing";
    else if (line.type === "stream_event") this.partial(line.event?.content_block);
  }

  message(content) {
    for (const block of Array.isArray(content) ? content : []) {
      if (block?.type === "tool_use") this.open.set(block.id, `${toolName(block.name)} ${summarise(block.name, block.input)}`);
      else if (block?.type === "tool_result") this.open.delete(block.tool_use_id);
      else if (block?.type === "text") this.doing = "answering";
    }
    const [current] = [...this.open.values()].slice(-1);
    if (current) this.doing = current;
    else if (this.doing !== "answering") this.doing = "thinking";
  }

  partial(block) {
    if (block?.type === "thinking" && !this.open.size) this.doing = "thinking";
    else if (block?.type === "text" && !this.open.size) this.doing = "answering";
  }

  // The part of the past that was loaded later knows when the turn began.
  learn(older) {
    if (this.state === "working" && this.since === null && older.state === "working") this.since = older.since;
  }

  words(now) {
    if (this.state === "waiting") return { state: "waiting", word: "Waiting", figure: "", detail: "for the first event" };
    if (this.state === "working") return this.workingWords(now);
    const figure = this.since === null ? ago(now - this.last) : ago(now - this.since);
    if (this.state === "failed") return { state: "failed", word: "Failed", figure, detail: firstLine(this.doing) };
    const detail = this.took === null ? "" : `last turn took ${wholeDuration(this.took)}`;
    return { state: "idle", word: "Idle", figure, detail };
  }

  workingWords(now) {
    const silent = now - this.last > SILENT_AFTER_MS ? `, silent for ${wholeDuration(now - this.last)}` : "";
    const figure = this.since === null ? "" : wholeDuration(now - this.since);
    return { state: "working", word: "Working", figure: `${figure}${silent}`.replace(/^, /, ""), detail: this.doing };
  }
}
