// What sort of row an event becomes, as bits: an event may be several, as a failed tool call is
// both a tool and an error. Filters, jumps and what counts as an error go by this alone.

import { translate } from "./agents.js";

export const PROMPT = 1;
export const TEXT = 2;
export const TOOL = 4;
export const ERROR = 8;
export const NOTE = 16;
export const OTHER = 32;
export const RETRY = 64;

export const CLASSES = { prompts: PROMPT, text: TEXT, tools: TOOL, errors: ERROR, notes: NOTE, other: OTHER };

const FAILED = /(^|[._/])(error|failed|failure)$/;
export const isResult = (block) => /tool_result$/.test(String(block?.type));
export const isCall = (block) => /tool_use$/.test(String(block?.type));
export const isBad = (block) => block?.is_error === true || /tool_result_error$/.test(String(block?.content?.type));

// The bits of an event, and the ids of the calls it makes and of those it answers.
export function classify(event) {
  const found = { bits: 0, calls: [], answers: [] };
  if (event.kind === "turn_start") found.bits = PROMPT;
  else if (event.kind === "turn_end") found.bits = event.ok ? OTHER : ERROR;
  else if (event.kind === "note") found.bits = NOTE;
  else for (const line of translate(event.data) ?? [event.data]) addLine(found, line);
  found.bits ||= OTHER;
  return found;
}

function addLine(found, line) {
  if (typeof line !== "object" || line === null || Array.isArray(line)) return;
  const { type, subtype } = line;
  const hasFailed = line.error || line.compact_error || line.is_error === true || FAILED.test(String(type)) || FAILED.test(String(subtype))
    || (type === "result" && subtype !== undefined && subtype !== "success")
    || (line.outcome !== undefined && line.outcome !== "success");
  if (type === "system" && subtype === "api_retry") found.bits |= RETRY | OTHER;
  else if (hasFailed) found.bits |= ERROR;
  const { content } = line.message ?? {};
  if (typeof content === "string") found.bits |= TEXT;
  for (const block of Array.isArray(content) ? content : []) addBlock(found, block);
}

function addBlock(found, block) {
  if (block?.type === "text") found.bits |= TEXT;
  if (isCall(block)) found.calls.push(block.id);
  if (isResult(block)) found.answers.push(block.tool_use_id);
  if (isCall(block) || isResult(block)) found.bits |= TOOL | (isBad(block) ? ERROR : 0);
}
