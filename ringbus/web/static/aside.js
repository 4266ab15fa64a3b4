// What a program says besides the conversation: how its session begins, limits, permissions, signing
// in, summaries, output of its own commands.

import { h, fold } from "./dom.js";
import { visible } from "./ansi.js";
import { clock, duration, firstLine, plural, wholeDuration } from "./format.js";
import { output } from "./long.js";
import { row } from "./rows.js";
import { summarise, toolName } from "./tools.js";

const string = (value) => (typeof value === "string" ? value : "");
const spaced = (name) => string(name).replaceAll("_", " ");
const MOST_REFUSED = 5; // lines that are not folded

export function init(transcript, envelope, line) {
  const servers = Array.isArray(line.mcp_servers) ? line.mcp_servers : [];
  const down = servers.filter((server) => server?.status && server.status !== "connected")
    .map((server) => `${string(server.name)} ${string(server.status)}`);
  const facts = [
    "session", string(line.model), line.claude_code_version && `version ${line.claude_code_version}`, string(line.cwd),
    Array.isArray(line.tools) && plural(line.tools.length, "tool"),
  ].filter(Boolean).join(" · ");
  const warning = down.length > 0 && h("strong", "", ...visible(firstLine(`not connected: ${down.join(", ")}`, 1000)));
  transcript.put(row("muted", envelope, ...visible(firstLine(facts, 1000)), warning && " · ", warning));
}

export function status(transcript, envelope, line) {
  if (line.compact_error) {
    return transcript.put(row("error is-failure", envelope, ...output(`compacting failed: ${string(line.compact_error)}`)));
  }
  return transcript.put(row("muted", envelope, "compacting the conversation"));
}

export function retry(transcript, envelope, line) {
  const cause = [line.error_status, string(line.error), line.no_response === true && "no response"].filter(Boolean).join(" ");
  const words = `retry ${line.attempt ?? "?"}/${line.max_retries ?? "?"} in ${duration(line.retry_delay_ms)}${cause ? ` (${cause})` : ""}`;
  transcript.retry(envelope, words);
}

export function rateLimit(transcript, envelope, line) {
  const info = line.rate_limit_info ?? {};
  const resets = Number(info.resetsAt) > 1e11 ? Number(info.resetsAt) : Number(info.resetsAt) * 1000;
  const words = [
    `rate limit: ${spaced(info.status) || "unknown"}`,
    spaced(info.rateLimitType),
    Number.isFinite(info.utilization) && `${Math.round(info.utilization * 100)} % used`,
    resets > 0 && `resets ${clock(resets)}`,
  ].filter(Boolean).join(", ");
  return transcript.put(row(info.status === "rejected" ? "notice is-failure" : "notice is-strong", envelope, ...visible(words)));
}

// --- permissions ---------------------------------------------------------------------------

const toolWords = (name, input, cwd) => `${toolName(name)} ${input === undefined ? "" : summarise(name, input, cwd)}`.trim();

export function control(transcript, envelope, line) {
  const { tool_name: name, input } = line.request;
  return transcript.put(row("notice is-strong", envelope, ...visible(`waiting for permission: ${toolWords(name, input, envelope.cwd)}`)));
}

// What was to be done is told by the call, if that is drawn.
export function refused(transcript, envelope, line) {
  const called = transcript.tools.get(string(line.tool_use_id))?.words;
  const why = string(line.message) || string(line.decision_reason);
  const words = [`permission refused: ${called ?? toolWords(line.tool_name, line.tool_input, envelope.cwd)}`, why].filter(Boolean).join(", ");
  return transcript.put(row("notice is-strong", envelope, ...visible(firstLine(words, 2000))), line.parent_tool_use_id);
}

// The refusals that a result lists: a line for all that are alike, and a fold where many lines are left.
export function refusals(denials, cwd) {
  if (!Array.isArray(denials) || !denials.length) return [];
  const told = denials.map((denial) => toolWords(denial?.tool_name, denial?.tool_input, cwd));
  const times = new Map();
  for (const words of told) times.set(words, (times.get(words) ?? 0) + 1);
  const lines = [...times].map(([words, number]) =>
    h("div", "refused", ...visible(`permission refused${number > 1 ? ` ${number} times` : ""}: ${words}`)));
  if (lines.length <= MOST_REFUSED) return lines;
  return [fold("more", [`${denials.length} permissions refused`], () => lines)];
}

// --- calls that run, summaries, signing in -------------------------------------------------

export function toolProgress(transcript, envelope, line) {
  const ms = Number(line.elapsed_time_seconds) * 1000;
  if (ms >= 0) transcript.progress(string(line.tool_use_id), `running, ${wholeDuration(ms)}`);
  return transcript.quiet(envelope);
}

export const toolSummary = (transcript, envelope, line) =>
  transcript.put(row("muted", envelope, ...visible(firstLine(string(line.summary), 1000))));

export function turnSummary(transcript, envelope, line) {
  const words = [spaced(line.status_category), string(line.status_detail)].filter(Boolean).join(": ");
  const wanted = typeof line.needs_action === "string" ? line.needs_action : line.needs_action === true ? "yes" : "";
  if (!words && !wanted) return false;
  return transcript.put(row("muted", envelope, ...visible(firstLine(words, 1000)), words && wanted && " · ",
    wanted && h("strong", "", ...visible(firstLine(`needs action: ${wanted}`, 1000)))));
}

export function signingIn(transcript, envelope, line) {
  const told = Array.isArray(line.output) ? line.output.filter((one) => typeof one === "string").join("\n") : "";
  if (line.error) {
    return transcript.put(row("error is-failure", envelope,
      ...output([`signing in failed: ${string(line.error) || JSON.stringify(line.error)}`, told].filter(Boolean).join("\n"))));
  }
  return transcript.put(row("notice is-strong", envelope, ...output(["signing in", told].filter(Boolean).join(": "))));
}

// Text for whoever sits in front of it, and what its own commands print.
export function informational(transcript, envelope, line) {
  const text = string(line.content);
  if (!text) return false;
  return transcript.put(row(["warning", "error"].includes(line.level) ? "notice is-strong" : "muted", envelope, ...output(text)));
}

export const notification = (transcript, envelope, line) =>
  transcript.put(row(line.priority === "immediate" ? "notice is-strong" : "notice", envelope, ...visible(firstLine(string(line.text), 2000))));
