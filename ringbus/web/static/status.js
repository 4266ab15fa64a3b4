// What the agent does right now, derived from the events in their order, by the same rules as the
// page of all agents. feed() takes each event once; words() puts the state into words for a moment.

import { translate } from "./agents.js";
import { folderIn, isCall, isResult, nameOf } from "./classes.js";
import { firstLine, wholeDuration } from "./format.js";
import { thinkingWords } from "./partial.js";
import { stateFigure, stateWord } from "./states.js";
import { summarise, toolName } from "./tools.js";

const SILENT_MS = 5 * 60_000;
const RETRIED_FOR_LIMIT = new Set([429, "rate_limit"]);

export class Status {
  constructor() {
    this.state = "idle";
    this.since = null; // ms; null while working: the start of the turn is not loaded
    this.last = null;
    this.doing = "";
    this.took = null;
    this.trouble = "";
    this.wait = null; // { state, words, until } while it cannot go on
    this.open = new Map();
    this.cwd = "";
  }

  feed(event) {
    this.last = event.ms;
    if (event.kind === "turn_start") this.begin(event.ms);
    else if (event.kind === "turn_end") this.end(event);
    else if (event.kind === "stream") this.stream(event);
  }

  begin(ms) {
    this.state = "working";
    this.since = ms;
    this.doing = "starting";
    this.trouble = "";
    this.wait = null;
    this.open.clear();
  }

  end({ ok, note, ms }) {
    this.took = this.state === "working" && this.since !== null ? ms - this.since : null;
    this.state = ok ? "done" : "failed";
    this.since = ms;
    this.doing = ok ? "" : [note, this.trouble].filter(Boolean).join(": ") || "the turn failed";
    this.open.clear();
  }

  stream({ data, ms }) {
    if (this.state === "idle") this.state = "working";
    if (typeof data !== "object" || data === null) return;
    for (const line of translate(data) ?? [data]) {
      this.cwd = folderIn(line)?.cwd ?? this.cwd;
      if (this.state === "working") this.line(line, ms);
    }
  }

  line(line, ms) {
    const { type } = line;
    if (nameOf(line) === "system/thinking_tokens") return this.think(line.estimated_tokens);
    if (type === "control_request") return this.ask(line.request);
    if (type === "rate_limit_event") return this.limit(line.rate_limit_info);
    if (type === "system" && line.subtype === "api_retry") return this.retry(line, ms);
    if (type === "error" || line.is_error === true || line.error || line.message?.model === "<synthetic>") this.fail(line);
    const goesOn = ["assistant", "user", "result", "stream_event", "control_cancel_request"].includes(type);
    if (goesOn && !line.parent_tool_use_id) this.wait = null;
    if (type === "assistant" || type === "user") this.message(line.message?.content);
    else if (type === "system" && line.status === "compacting") this.doing = "compacting the conversation";
    else if (type === "result") this.doing = "finishing";
    else if (type === "stream_event") this.partial(line.event?.content_block);
    return undefined;
  }

  ask(request) {
    if (request?.subtype !== "can_use_tool") return;
    const { tool_name: name, input } = request;
    this.wait = { state: "waiting", words: `for permission: ${toolName(name)} ${summarise(name, input, this.cwd)}`, until: Infinity };
  }

  limit(info) {
    if (info?.status !== "rejected") return;
    const resets = Number(info.resetsAt) > 1e11 ? Number(info.resetsAt) : Number(info.resetsAt) * 1000;
    const kind = typeof info.rateLimitType === "string" ? info.rateLimitType.replaceAll("_", " ") : "rate";
    this.wait = { state: "limited", words: `${kind} limit`, until: resets > 0 ? resets : Infinity };
  }

  retry(line, ms) {
    const cause = [line.error_status, line.error].filter(Boolean).join(" ");
    const words = `retry ${line.attempt ?? "?"}/${line.max_retries ?? "?"}${cause ? ` (${cause})` : ""}`;
    const isLimit = RETRIED_FOR_LIMIT.has(line.error_status) || RETRIED_FOR_LIMIT.has(line.error);
    if (isLimit) this.wait = { state: "limited", words, until: ms + (Number(line.retry_delay_ms) || 0) };
    else this.doing = `waiting to ${words}`;
  }

  fail({ error, result, errors, subtype, message }) {
    const told = [result, errors?.[0], error?.message, message?.content?.[0]?.text].find((one) => typeof one === "string" && one);
    const said = told ?? (this.trouble || String(subtype ?? "").replaceAll("_", " "));
    if (said) this.trouble = firstLine(said);
  }

  message(content) {
    let said = "";
    for (const block of Array.isArray(content) ? content : []) {
      if (isCall(block)) this.open.set(block.id, `${toolName(block.name)} ${summarise(block.name, block.input, this.cwd)}`);
      else if (isResult(block)) this.open.delete(block.tool_use_id);
      said = block?.type === "text" ? "answering" : "thinking";
    }
    const [current] = [...this.open.values()].slice(-1);
    this.doing = current ?? (said || this.doing);
  }

  partial(block) {
    if (block?.type === "thinking" && !this.open.size) this.doing = "thinking";
    else if (block?.type === "text" && !this.open.size) this.doing = "answering";
  }

  think(tokens) {
    this.wait = null;
    if (!this.open.size && Number.isFinite(tokens)) this.doing = thinkingWords(tokens);
  }

  // The part of the past that was loaded later knows when the turn began.
  learn(older) {
    if (this.state === "working" && this.since === null && older.state === "working") this.since = older.since;
  }

  words(now) {
    const wait = this.state === "working" && this.wait !== null && this.wait.until > now ? this.wait : null;
    const isSilent = this.state === "working" && this.last !== null && now - this.last > SILENT_MS;
    const state = wait?.state ?? (isSilent ? "stale" : this.state);
    const until = wait && Number.isFinite(wait.until) ? wait.until : null;
    const figure = stateFigure(state, { since: this.since, until, last: this.last }, now);
    return { state, word: stateWord(state), figure, detail: wait?.words ?? this.detail() };
  }

  detail() {
    if (this.state === "idle") return this.last === null ? "waiting for the first event" : "no turn yet";
    if (this.state === "done") return this.took === null ? "" : `the turn took ${wholeDuration(this.took)}`;
    return firstLine(this.doing);
  }
}
