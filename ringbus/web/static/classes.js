// What sort of row an event becomes, as bits: an event may be several, as a failed tool call is
// both a tool and an error. Filters, jumps, what counts as an error and what as a row go by this alone.

import { translate } from "./agents.js";

export const PROMPT = 1;
export const TEXT = 2;
export const TOOL = 4;
export const ERROR = 8;
export const NOTE = 16;
export const OTHER = 32;
export const RETRY = 64;
export const ROW = 128; // a row comes of it; retries that follow each other share one

export const CLASSES = { prompts: PROMPT, text: TEXT, tools: TOOL, errors: ERROR, notes: NOTE, other: OTHER };

const FAILED = /(^|[._/])(error|failed|failure)$/;
export const isResult = (block) => /tool_result$/.test(String(block?.type));
export const isCall = (block) => /tool_use$/.test(String(block?.type));
const isThought = (block) => ["thinking", "redacted_thinking"].includes(block?.type);
export const isBad = (block) => block?.is_error === true || /tool_result_error$/.test(String(block?.content?.type));

// The bits of an event, the ids of the calls it makes and of those it answers, how many thoughts are
// in it, and where its program works, if it says so.
export function classify(event) {
  const found = { bits: 0, calls: [], answers: [], thoughts: 0, folder: null };
  if (event.kind === "turn_start") found.bits = PROMPT | ROW;
  else if (event.kind === "turn_end") found.bits = (event.ok ? OTHER : ERROR) | ROW;
  else if (event.kind === "note") found.bits = NOTE | ROW;
  else for (const line of translate(event.data) ?? [event.data]) addLine(found, line);
  if (!(found.bits & ~ROW)) found.bits |= OTHER;
  return found;
}

const always = () => true;

// Lines that are counted at the foot of their turn, by type and subtype, and when they are.
const QUIET = {
  keep_alive: always,
  control_request: ({ request }) => request?.subtype !== "can_use_tool",
  control_response: always,
  control_cancel_request: always,
  command_lifecycle: always,
  rate_limit_event: ({ rate_limit_info: info }) => info?.status === "allowed",
  auth_status: ({ error, isAuthenticating, output }) => !error && isAuthenticating !== true && ![output].flat().some(Boolean),
  "system/status": ({ status, compact_error: error }) => status !== "compacting" && !error,
  "system/hook_started": always,
  "system/hook_progress": always,
};

// Lines that change the row of another.
const CHANGES = ["tool_progress", "system/thinking_tokens", "system/task_progress", "system/task_updated", "system/task_notification"];

export const nameOf = ({ type, subtype }) => (type === "system" ? `system/${subtype}` : type);
export const isQuiet = (line) => Object.hasOwn(QUIET, nameOf(line)) && QUIET[nameOf(line)](line);

function hasRow(line) {
  const { content } = line.message ?? {};
  if (Array.isArray(content) && content.length && content.every(isResult)) return false; // it is under its calls
  return !isQuiet(line) && !CHANGES.includes(nameOf(line));
}

function addLine(found, line) {
  const isObject = typeof line === "object" && line !== null && !Array.isArray(line);
  if (!isObject || hasRow(line)) found.bits |= ROW;
  if (isObject) addFacts(found, line);
}

function addFacts(found, line) {
  const { type, subtype } = line;
  addTask(found, line);
  found.folder = folderIn(line) ?? found.folder;
  const hasFailed = line.error || line.compact_error || line.is_error === true || FAILED.test(String(type)) || FAILED.test(String(subtype))
    || (type === "result" && subtype !== undefined && subtype !== "success")
    || (line.outcome !== undefined && line.outcome !== "success");
  if (type === "system" && subtype === "api_retry") found.bits |= RETRY | OTHER;
  else if (hasFailed) found.bits |= ERROR;
  const { content } = line.message ?? {};
  if (typeof content === "string") found.bits |= TEXT;
  for (const block of Array.isArray(content) ? content : []) addBlock(found, block);
}

// A task is answered by what tells of its end, which may be told twice.
function addTask(found, line) {
  if (nameOf(line) === "system/task_started") found.calls.push(taskId(line));
  const status = endOfTask(line);
  if (!status) return;
  found.answers.push(taskId(line));
  if (status === "failed") found.bits |= ERROR;
}

// Where a session that begins works, "" if it does not tell; null for any other line.
export const folderIn = (line) =>
  (nameOf(line) === "system/init" ? { cwd: typeof line.cwd === "string" ? line.cwd : "", session: line.session_id } : null);

const taskId = (line) => `task ${line.task_id}`;
export const isTask = (id) => String(id).startsWith("task ");

// How a task ended, if a line tells that; else "".
export function endOfTask(line) {
  const status = { "system/task_updated": line.patch?.status, "system/task_notification": line.status }[nameOf(line)];
  return typeof status === "string" && !GOING_ON.includes(status) ? status : "";
}

const GOING_ON = ["pending", "running", "paused"];

function addBlock(found, block) {
  if (block?.type === "text") found.bits |= TEXT;
  if (isThought(block)) found.thoughts += 1;
  if (isCall(block)) found.calls.push(block.id);
  if (isResult(block)) found.answers.push(block.tool_use_id);
  if (isCall(block) || isResult(block)) found.bits |= TOOL | (isBad(block) ? ERROR : 0);
}
