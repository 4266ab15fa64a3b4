// The lines coding agents print, each mapped to what it becomes on the page. drawLine() either
// draws, or says false, and then the transcript draws the fallback row: a line is never dropped
// because its type is new.

import { translate } from "./agents.js";
import { h, fold } from "./dom.js";
import { visible } from "./ansi.js";
import { markdown } from "./markdown.js";
import { json } from "./envelope.js";
import { clock, count, duration, firstLine, plural } from "./format.js";
import { output, pieces } from "./long.js";
import { row, addTo, place } from "./rows.js";
import { callBody, drawImage, drawResult, resultImages, resultText, summarise, toolName } from "./tools.js";

const string = (value) => (typeof value === "string" ? value : "");
const blocksOf = (content) =>
  typeof content === "string" ? [{ type: "text", text: content }] : Array.isArray(content) ? content : [];

// True when drawn or put among the quiet events.
export function drawLine(transcript, envelope) {
  const lines = translate(envelope.data) ?? [envelope.data];
  const first = drawOne(transcript, envelope, lines[0]);
  for (const line of lines.slice(1)) {
    if (resultsIn(line).length) foretell(transcript, envelope, line);
    else drawOne(transcript, envelope, line);
  }
  return first;
}

function drawOne(transcript, envelope, line) {
  if (typeof line !== "object" || line === null) return false;
  const name = line.type === "system" ? `system/${line.subtype}` : line.type;
  if (!Object.hasOwn(LINES, name)) return false;
  return LINES[name](transcript, envelope, line) !== false;
}

// Shows what calls gave without taking the place of the line that says so: that is drawn elsewhere.
export function drawAnswers(transcript, envelope) {
  for (const line of translate(envelope.data) ?? [envelope.data]) foretell(transcript, envelope, line);
}

function foretell(transcript, envelope, line) {
  for (const block of resultsIn(line)) transcript.closeTool(string(block.tool_use_id), envelope, block, false);
}

const resultsIn = (line) => (line?.type === "user" ? blocksOf(line.message?.content).filter(isResult) : []);

const quiet = (transcript, envelope) => transcript.quiet(envelope);

const LINES = {
  assistant,
  user,
  result,
  error: (t, e, line) => t.put(row("error is-failure", e, ...output(string(line.error?.message) || json(line.error ?? line), "output"))),
  rate_limit_event: rateLimit,
  stream_event: (t, e, line) => t.partials.feed(e, line),
  tool_progress: quiet,
  tool_use_summary: (t, e, line) => t.put(row("muted", e, ...visible(firstLine(string(line.summary), 1000)))),
  keep_alive: quiet,
  control_request: control,
  control_response: quiet,
  control_cancel_request: quiet,
  command_lifecycle: quiet,
  "system/init": init,
  "system/status": (t, e, line) =>
    line.status === "compacting" ? t.put(row("muted", e, "compacting the conversation")) : t.quiet(e),
  "system/thinking_tokens": quiet,
  "system/hook_started": quiet,
  "system/hook_progress": quiet,
  "system/hook_response": hook,
  "system/api_retry": retry,
  "system/compact_boundary": compacted,
  "system/notification": (t, e, line) =>
    t.put(row(line.priority === "immediate" ? "notice is-strong" : "notice", e, ...visible(firstLine(string(line.text), 2000)))),
  "system/task_started": taskStarted,
  "system/task_progress": taskChanged,
  "system/task_updated": taskChanged,
  "system/task_notification": taskChanged,
};

function assistant(transcript, envelope, line) {
  const message = line.message ?? {};
  const blocks = blocksOf(message.content);
  if (!blocks.length) return false;
  const failed = message.model === "<synthetic>" || Boolean(line.error);
  const element = row(`assistant${failed ? " is-failure" : ""}`, envelope);
  for (const block of blocks) {
    transcript.partials.settle(line.parent_tool_use_id, message.id, block?.type);
    addTo(element, drawBlock(transcript, envelope, block));
  }
  if (blocks.length === 1) element.classList.add(`row-${blockKind(blocks[0])}`);
  return transcript.put(element, line.parent_tool_use_id);
}

const blockKind = (block) =>
  ({ text: "text", thinking: "thinking", redacted_thinking: "thinking" })[block?.type]
  ?? (isCall(block) ? "tool" : "other");
const isCall = (block) => ["tool_use", "server_tool_use", "mcp_tool_use"].includes(block?.type);
const isResult = (block) => /tool_result$/.test(string(block?.type));

function drawBlock(transcript, envelope, block) {
  if (block?.type === "text") return markdown(string(block.text));
  if (block?.type === "thinking") return thinking(string(block.thinking));
  if (block?.type === "redacted_thinking") return h("span", "thought", "thinking (hidden)");
  if (block?.type === "image") return drawImage(block);
  if (isCall(block)) return call(transcript, envelope, block);
  if (isResult(block)) return h("div", "", ...drawResult(resultText(block.content), block.is_error === true));
  return h("div", "", ...output(json(block, 2)));
}

function thinking(text) {
  if (!text.trim()) return h("span", "thought", "thinking");
  return fold("thought", [h("span", "preview", ...visible(firstLine(text)))], () => pieces(text, (part) => h("div", "thoughts", ...visible(part))));
}

function call(transcript, envelope, block) {
  const elapsed = h("span", "elapsed", "running");
  const result = h("div", "result");
  const inner = h("div", "inner");
  const tool = h("div", "tool is-open",
    h("div", "call", h("span", "name", ...visible(toolName(block.name))),
      h("span", "summary", ...visible(summarise(block.name, block.input))), elapsed),
    callBody(block.name, block.input), inner, result);
  transcript.openTool(string(block.id), { tool, elapsed, result, inner, ms: envelope.ms });
  return tool;
}

function user(transcript, envelope, line) {
  const blocks = blocksOf(line.message?.content);
  if (!blocks.length) return false;
  const rest = [];
  let placed = false;
  for (const block of blocks) {
    const joined = isResult(block) && transcript.closeTool(string(block.tool_use_id), envelope, block, !placed);
    if (joined) placed = true;
    else rest.push(block);
  }
  if (!rest.length) return true;
  const element = row(line.isSynthetic ? "user muted" : "user", envelope);
  if (placed) {
    delete element.dataset.position;
    element.removeAttribute("id");
  }
  for (const block of rest) addTo(element, said(transcript, envelope, block, line));
  return transcript.put(element, line.parent_tool_use_id);
}

// What a user line says; the prompt of a subagent repeats its call, so it stays folded.
function said(transcript, envelope, block, line) {
  if (isResult(block)) return orphan(transcript, envelope, block);
  if (block?.type !== "text" || !line.parent_tool_use_id) return drawBlock(transcript, envelope, block);
  const text = string(block.text);
  return fold("prompt-fold muted", [h("span", "preview", ...visible(`prompt: ${firstLine(text)}`))], () => markdown(text));
}

// A result whose call is further up than what is loaded; joined when that part is loaded.
function orphan(transcript, event, block) {
  const isError = block.is_error === true;
  const piece = h("div", `tool${isError ? " is-failure" : ""}`,
    h("div", "call", h("span", "summary", "result of an earlier call")),
    h("div", "result", h("div", "answer", ...drawResult(resultText(block.content), isError), ...resultImages(block.content))));
  transcript.orphans.set(string(block.tool_use_id), { piece, event, block });
  return piece;
}

export function fillResult(entry, envelope, block, isPlace) {
  const isError = block.is_error === true;
  entry.tool.classList.remove("is-open");
  entry.tool.classList.toggle("is-failure", isError);
  entry.elapsed.textContent = `${isError ? "failed, " : ""}${duration(envelope.ms - entry.ms)}`;
  const body = h("div", "answer", ...drawResult(resultText(block.content), isError), ...resultImages(block.content));
  // What was told before its place came goes; another answer to the same call stays.
  for (const before of [...entry.result.children]) if (before.dataset.position === undefined) before.remove();
  if (isPlace) place(body, envelope);
  entry.result.append(body);
}

function result(transcript, envelope, line) {
  const ok = line.is_error !== true && (line.subtype === undefined || line.subtype === "success");
  const usage = line.usage ?? {};
  const facts = [
    ok ? "result" : `result: ${firstLine(string(line.subtype).replaceAll("_", " ")) || "error"}`,
    Number.isFinite(line.num_turns) && plural(line.num_turns, "step"),
    Number.isFinite(line.duration_ms) && duration(line.duration_ms),
    Number.isFinite(line.total_cost_usd) && `$${line.total_cost_usd.toFixed(line.total_cost_usd < 0.1 ? 4 : 2)}`,
    Number.isFinite(usage.output_tokens) && `${count(usage.output_tokens)} tokens out`,
  ].filter(Boolean).join(" · ");
  const errors = Array.isArray(line.errors) ? line.errors.map((one) => (typeof one === "string" ? one : JSON.stringify(one))) : [];
  const text = ok ? "" : [string(line.result), ...errors].filter(Boolean).join("\n");
  transcript.put(row(ok ? "result" : "result is-failure", envelope, h("span", "facts", facts),
    ...output(text)));
}

function init(transcript, envelope, line) {
  const servers = Array.isArray(line.mcp_servers) ? line.mcp_servers : [];
  const down = servers.filter((server) => server?.status && server.status !== "connected")
    .map((server) => `${string(server.name)} ${string(server.status)}`);
  const facts = [
    "session", string(line.model), line.claude_code_version && `version ${line.claude_code_version}`, string(line.cwd),
    Array.isArray(line.tools) && plural(line.tools.length, "tool"),
    down.length && `not connected: ${down.join(", ")}`,
  ].filter(Boolean).join(" · ");
  transcript.put(row("muted", envelope, ...visible(firstLine(facts, 1000))));
}

function hook(transcript, envelope, line) {
  const bad = line.outcome !== undefined && line.outcome !== "success";
  const text = [string(line.stderr), string(line.output) || string(line.stdout)].filter(Boolean).join("\n");
  const title = firstLine(`hook ${string(line.hook_name) || string(line.hook_event)}${bad ? `: ${line.outcome}` : ""}`);
  transcript.put(row(bad ? "hook is-failure" : "hook muted", envelope,
    text ? fold("hook", [h("span", "preview", ...visible(title))], () => output(text, "output tall")) : title));
}

function retry(transcript, envelope, line) {
  const cause = [line.error_status, string(line.error)].filter(Boolean).join(" ");
  const words = `retry ${line.attempt ?? "?"}/${line.max_retries ?? "?"} in ${duration(line.retry_delay_ms)}${cause ? ` (${cause})` : ""}`;
  transcript.retry(envelope, words);
}

function rateLimit(transcript, envelope, line) {
  const info = line.rate_limit_info ?? {};
  if (info.status === "allowed") return transcript.quiet(envelope);
  const resets = Number(info.resetsAt) > 1e11 ? Number(info.resetsAt) : Number(info.resetsAt) * 1000;
  const words = [
    `rate limit: ${string(info.status).replaceAll("_", " ") || "unknown"}`,
    string(info.rateLimitType).replaceAll("_", " "),
    Number.isFinite(info.utilization) && `${Math.round(info.utilization * 100)} % used`,
    resets > 0 && `resets ${clock(resets)}`,
  ].filter(Boolean).join(", ");
  return transcript.put(row(info.status === "rejected" ? "notice is-failure" : "notice is-strong", envelope, words));
}

function control(transcript, envelope, line) {
  if (line.request?.subtype !== "can_use_tool") return transcript.quiet(envelope);
  const { tool_name: name, input } = line.request;
  return transcript.put(row("notice is-strong", envelope,
    ...visible(`waiting for permission: ${toolName(name)} ${summarise(name, input)}`)));
}

function compacted(transcript, envelope, line) {
  const about = line.compact_metadata ?? line.compactMetadata ?? {};
  const tokens = about.pre_tokens ?? about.preTokens;
  const words = ["conversation compacted", string(about.trigger), Number.isFinite(tokens) && `${count(tokens)} tokens before`];
  return transcript.put(row("divider", envelope, words.filter(Boolean).join(", ")));
}

function taskStarted(transcript, envelope, line) {
  const state = h("span", "elapsed", "running");
  transcript.tasks.set(string(line.task_id), { state, ms: envelope.ms });
  transcript.put(row("task muted", envelope, h("div", "call", h("span", "name", "task"),
    h("span", "summary", ...visible(firstLine(string(line.description)))), state)));
}

// A task whose start is not drawn has a row when it ends.
function taskChanged(transcript, envelope, line) {
  const task = transcript.tasks.get(string(line.task_id));
  const status = string(line.status ?? line.patch?.status);
  const isOver = status !== "" && status !== "running";
  if (task && isOver) {
    task.state.textContent = `${status}, ${duration(envelope.ms - task.ms)}`;
    task.state.classList.toggle("is-failure", status === "failed");
  }
  if (task || !isOver) return transcript.quiet(envelope);
  return transcript.put(row(status === "failed" ? "task is-failure" : "task muted", envelope,
    h("div", "call", h("span", "name", "task"), h("span", "summary", ...visible(firstLine(string(line.summary)))), h("span", "elapsed", status))));
}
