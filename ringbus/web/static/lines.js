// The lines coding agents print, each mapped to what it becomes on the page. drawLine() either
// draws, or says false, and then the transcript draws the fallback row: a line is never dropped
// because its type is new.

import { translate } from "./agents.js";
import * as aside from "./aside.js";
import { endOfTask, isBad, isCall, isQuiet, isResult, nameOf } from "./classes.js";
import { h, fold } from "./dom.js";
import { visible } from "./ansi.js";
import { markdown } from "./markdown.js";
import { json } from "./envelope.js";
import { count, dollars, duration, firstLine, plural } from "./format.js";
import { drawMedia, isMedia, mediaIn } from "./images.js";
import { output, pieces } from "./long.js";
import { row, addTo, place } from "./rows.js";
import { callBody, drawResult, purposeOf, resultText, summarise, toolName } from "./tools.js";

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
  if (isQuiet(line)) return transcript.quiet(envelope);
  const name = nameOf(line);
  if (!Object.hasOwn(LINES, name)) return false;
  return LINES[name](transcript, envelope, line) !== false;
}

// Shows what calls and tasks gave without taking the place of the line that says so: that is drawn
// elsewhere.
export function drawAnswers(transcript, envelope) {
  for (const line of translate(envelope.data) ?? [envelope.data]) {
    foretell(transcript, envelope, line);
    const task = endOfTask(line) && transcript.tasks.get(string(line.task_id));
    if (task) changeTask(task, envelope, line, endOfTask(line));
  }
}

function foretell(transcript, envelope, line) {
  for (const block of resultsIn(line)) transcript.closeTool(string(block.tool_use_id), envelope, block, false);
}

const resultsIn = (line) => (["user", "assistant"].includes(line?.type) ? blocksOf(line.message?.content).filter(isResult) : []);

const LINES = {
  assistant,
  user,
  result,
  error: (t, e, line) => t.put(row("error is-failure", e, ...output(string(line.error?.message) || json(line.error ?? line), "output"))),
  rate_limit_event: aside.rateLimit,
  stream_event: (t, e, line) => t.partials.feed(e, line),
  "system/thinking_tokens": (t, e, line) => t.partials.count(e, line),
  tool_progress: aside.toolProgress,
  tool_use_summary: aside.toolSummary,
  auth_status: aside.signingIn,
  control_request: aside.control,
  "system/init": aside.init,
  "system/status": aside.status,
  "system/hook_response": hook,
  "system/api_retry": aside.retry,
  "system/compact_boundary": compacted,
  "system/notification": aside.notification,
  "system/informational": aside.informational,
  "system/local_command_output": aside.informational,
  "system/permission_denied": aside.refused,
  "system/post_turn_summary": aside.turnSummary,
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
  for (const block of blocks) transcript.partials.settle(line.parent_tool_use_id, message.id, block?.type);
  const draw = (block) => drawBlock(transcript, envelope, block);
  const rest = blocks.length === 1 ? ` row-${blockKind(blocks[0])}` : "";
  return drawBlocks(transcript, envelope, line, { kind: `assistant${failed ? " is-failure" : ""}${rest}`, blocks, draw });
}

// Results go under their calls, the rest into a row: of the two the first is the event's place.
function drawBlocks(transcript, envelope, line, { kind, blocks, draw }) {
  const element = row(kind, envelope);
  let isPlaced = false;
  for (const block of blocks) {
    const isJoined = isResult(block) && transcript.closeTool(string(block.tool_use_id), envelope, block, !isPlaced);
    if (isJoined) isPlaced = true;
    else addTo(element, draw(block));
  }
  if (!element.lastChild.hasChildNodes()) return true;
  if (isPlaced) {
    delete element.dataset.position;
    element.removeAttribute("id");
  }
  return transcript.put(element, line.parent_tool_use_id);
}

const blockKind = (block) =>
  ({ text: "text", thinking: "thinking", redacted_thinking: "thinking" })[block?.type]
  ?? (isCall(block) ? "tool" : "other");

function drawBlock(transcript, envelope, block) {
  if (block?.type === "text") return markdown(string(block.text));
  if (block?.type === "thinking") return thinking(string(block.thinking));
  if (block?.type === "redacted_thinking") return h("span", "thought", "thinking (hidden)");
  if (isMedia(block)) return drawMedia(block);
  if (isCall(block)) return call(transcript, envelope, block);
  if (isResult(block)) return orphan(transcript, envelope, block);
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
      summary(block, envelope.cwd), elapsed),
    callBody(block.name, block.input), inner, result);
  const words = `${toolName(block.name)} ${summarise(block.name, block.input, envelope.cwd)}`;
  transcript.openTool(string(block.id), { tool, elapsed, result, inner, words, ms: envelope.ms });
  return tool;
}

// What is shortened in it is whole in its title.
function summary({ name, input }, cwd) {
  const [purpose, words, whole] = [purposeOf(name, input), summarise(name, input, cwd), summarise(name, input)];
  const element = h("span", "summary", purpose && h("span", "purpose", ...visible(`${purpose} `)), ...visible(words));
  if (words !== whole) element.title = whole;
  return element;
}

function user(transcript, envelope, line) {
  const blocks = blocksOf(line.message?.content);
  if (!blocks.length) return false;
  const draw = (block) => said(transcript, envelope, block, line);
  return drawBlocks(transcript, envelope, line, { kind: line.isSynthetic ? "user muted" : "user", blocks, draw });
}

// What a user line says; the prompt of a subagent repeats its call, so it stays folded.
function said(transcript, envelope, block, line) {
  if (block?.type !== "text" || !line.parent_tool_use_id) return drawBlock(transcript, envelope, block);
  const text = string(block.text);
  return fold("prompt-fold muted", [h("span", "preview", ...visible(`prompt: ${firstLine(text)}`))], () => markdown(text));
}

// A result whose call is further up than what is loaded; joined when that part is loaded.
function orphan(transcript, event, block) {
  const isError = isBad(block);
  const piece = h("div", `tool${isError ? " is-failure" : ""}`,
    h("div", "call", h("span", "summary", "result of an earlier call")),
    h("div", "result", answer(block)));
  transcript.orphans.set(string(block.tool_use_id), { piece, event, block });
  return piece;
}

const answer = (block) => {
  const [text, media] = [resultText(block.content), mediaIn(block.content)];
  return h("div", "answer", ...(text || !media.length ? drawResult(text, isBad(block)) : []), ...media);
};

export function fillResult(entry, envelope, block, isPlace) {
  const isError = isBad(block);
  entry.tool.classList.remove("is-open");
  entry.tool.classList.toggle("is-failure", isError);
  entry.elapsed.textContent = `${isError ? "failed, " : ""}${duration(envelope.ms - entry.ms)}`;
  const body = answer(block);
  // What was told before its place came goes; another answer to the same call stays.
  for (const before of [...entry.result.children]) if (before.dataset.position === undefined) before.remove();
  if (isPlace) place(body, envelope);
  entry.result.append(body);
}

function result(transcript, envelope, line) {
  const ok = line.is_error !== true && (line.subtype === undefined || line.subtype === "success");
  const usage = line.usage ?? {};
  const facts = [
    ok ? "result" : `result: ${firstLine(failure(line))}`,
    Number.isFinite(line.num_turns) && plural(line.num_turns, "step"),
    Number.isFinite(line.duration_ms) && duration(line.duration_ms),
    Number.isFinite(line.total_cost_usd) && dollars(line.total_cost_usd),
    Number.isFinite(usage.output_tokens) && `${count(usage.output_tokens)} tokens out`,
  ].filter(Boolean).join(" · ");
  const errors = Array.isArray(line.errors) ? line.errors.map((one) => (typeof one === "string" ? one : JSON.stringify(one))) : [];
  const text = ok ? "" : [string(line.result), ...errors].filter(Boolean).join("\n");
  transcript.put(row(ok ? "result" : "result is-failure", envelope, h("span", "facts", facts),
    ...output(text), ...aside.refusals(line.permission_denials, envelope.cwd), structured(line)));
}

// What a failure is called: a failed request ends as "success", and says elsewhere why.
function failure({ subtype, terminal_reason: reason, api_error_status: status }) {
  const name = [string(subtype), string(reason)].find((one) => one && !["success", "completed"].includes(one)) ?? "error";
  return [name.replaceAll("_", " "), status && `status ${status}`].filter(Boolean).join(", ");
}

const structured = ({ structured_output: value }) =>
  value !== undefined && value !== null && fold("more", ["structured output"], () => output(json(value, 2)));

function hook(transcript, envelope, line) {
  const bad = line.outcome !== undefined && line.outcome !== "success";
  const text = [string(line.stderr), string(line.output) || string(line.stdout)].filter(Boolean).join("\n");
  const title = firstLine(`hook ${string(line.hook_name) || string(line.hook_event)}${bad ? `: ${line.outcome}` : ""}`);
  transcript.put(row(bad ? "hook is-failure" : "hook muted", envelope,
    text ? fold("hook", [h("span", "preview", ...visible(title))], () => output(text, "output tall")) : title));
}

function compacted(transcript, envelope, line) {
  const about = line.compact_metadata ?? line.compactMetadata ?? {};
  const tokens = about.pre_tokens ?? about.preTokens;
  const words = ["conversation compacted", string(about.trigger), Number.isFinite(tokens) && `${count(tokens)} tokens before`];
  return transcript.put(row("divider", envelope, words.filter(Boolean).join(", ")));
}

function taskStarted(transcript, envelope, line) {
  const state = h("span", "elapsed", "running");
  const result = h("div", "result");
  const tool = h("div", "tool", h("div", "call", h("span", "name", "task"),
    h("span", "summary", ...visible(firstLine(string(line.description)))), state), result);
  transcript.tasks.set(string(line.task_id), { tool, state, result, ms: envelope.ms });
  transcript.put(row("task muted", envelope, tool));
}

// A task whose start is not drawn has a row when it ends.
function taskChanged(transcript, envelope, line) {
  const task = transcript.tasks.get(string(line.task_id));
  const status = endOfTask(line);
  if (task) changeTask(task, envelope, line, status || "running");
  if (task || !status) return transcript.quiet(envelope);
  return transcript.put(row(status === "failed" ? "task is-failure" : "task muted", envelope,
    h("div", "call", h("span", "name", "task"), h("span", "summary", ...visible(firstLine(cameTo(line)))), h("span", "elapsed", status))));
}

const cameTo = (line) => string(line.summary) || string(line.patch?.error);

// What it came to is told once, with its end or after it.
function changeTask(task, { ms }, line, status) {
  if (status === "running" && task.isOver) return;
  task.isOver = status !== "running";
  task.state.textContent = `${status}, ${duration(ms - task.ms)}`;
  task.tool.classList.toggle("is-failure", status === "failed");
  const said = task.isOver ? cameTo(line) : "";
  if (said) task.result.replaceChildren(h("div", "answer", ...drawResult(said, status === "failed")));
}
