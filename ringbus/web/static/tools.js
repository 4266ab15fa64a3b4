// Tool calls in one line each, and what is worth unfolding of them. summarise() gives the words for
// a call (also used by the status line); callBody() gives its lasting detail; resultText() gives the
// text of a tool_result in any of its shapes.

import { h, fold } from "./dom.js";
import { terminal, visible, plain } from "./ansi.js";
import { diffLines, drawDiff, tally } from "./diff.js";
import { json } from "./envelope.js";
import { firstLine, lineCount, plural, preview } from "./format.js";
import { isMedia } from "./images.js";
import { output } from "./long.js";
import { nearer } from "./paths.js";

const string = (value) => (typeof value === "string" ? value : "");
const SHORT = 120;
const ERROR_LINES = 12;

export function shortJson(value, limit = SHORT) {
  const text = json(value);
  return text.length > limit ? `${text.slice(0, limit)}…` : text;
}

const SUMMARIES = {
  Bash: (input) => `$ ${firstLine(string(input.command))}`,
  Read: (input) => `${string(input.file_path)}${range(input)}`,
  Edit: (input) => `${string(input.file_path)} ${tally(editLines(input))}`,
  MultiEdit: (input) => `${string(input.file_path)} ${tally(editLines(input))}`,
  Write: (input) => `${string(input.file_path)} +${lineCount(string(input.content))}`,
  NotebookEdit: (input) => string(input.notebook_path),
  Grep: (input) => [string(input.pattern), input.path && `in ${input.path}`, input.glob].filter(Boolean).join(" "),
  Glob: (input) => [string(input.pattern), input.path && `in ${input.path}`].filter(Boolean).join(" "),
  Task: (input) => [input.subagent_type, firstLine(string(input.description))].filter(Boolean).join(": "),
  WebFetch: (input) => string(input.url),
  WebSearch: (input) => string(input.query),
  TodoWrite: (input) => todoSummary(input.todos),
  Skill: (input) => string(input.skill || input.command),
};
SUMMARIES.Agent = SUMMARIES.Task;

function range({ offset, limit }) {
  if (!offset && !limit) return "";
  const first = offset || 1;
  return limit ? `:${first}–${first + limit - 1}` : `:${first}`;
}

function editLines(input) {
  const edits = Array.isArray(input.edits) ? input.edits : [input];
  return edits.flatMap((edit) => diffLines(string(edit?.old_string), string(edit?.new_string)));
}

function todoSummary(todos) {
  if (!Array.isArray(todos)) return "";
  const done = todos.filter((todo) => todo?.status === "completed").length;
  const active = todos.find((todo) => todo?.status === "in_progress");
  return `${done} of ${todos.length} done${active ? `, now: ${string(active.activeForm || active.content)}` : ""}`;
}

export function toolName(name) {
  const parts = string(name).split("__");
  return firstLine(parts[0] === "mcp" && parts.length > 2 ? `${parts[1]} ${parts.slice(2).join("__")}` : string(name)) || "tool";
}

// With paths from `cwd` on, where that is known.
export function summarise(name, input, cwd = "") {
  const known = isObject(input) && Object.hasOwn(SUMMARIES, name) ? SUMMARIES[name](nearer(input, cwd)) : "";
  if (known) return plain(firstLine(known, 500));
  return isObject(input) && Object.keys(input).length === 0 ? "" : shortJson(input);
}

// What a command is for, as the agent says.
export const purposeOf = (name, input) => (name === "Bash" ? plain(firstLine(string(input?.description))) : "");

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

// What stands below the summary line without being asked for, or in a fold; null for nothing more.
export function callBody(name, input) {
  if (!isObject(input)) return null;
  if (name === "Edit" || name === "MultiEdit") return editBody(input);
  if (name === "Write" && string(input.content)) return textFold("file", string(input.content));
  if (name === "Bash" && lineCount(string(input.command)) > 1) return textFold("command", string(input.command));
  if ((name === "Task" || name === "Agent") && string(input.prompt)) return textFold("prompt", string(input.prompt));
  if (name === "TodoWrite" && Array.isArray(input.todos)) return todoBody(input.todos);
  if (!Object.hasOwn(SUMMARIES, name) && shortJson(input).endsWith("…")) {
    return fold("more", ["input"], () => output(json(input, 2)));
  }
  return null;
}

function editBody(input) {
  const lines = editLines(input);
  if (lines.length <= 12 && lines.every(([, line]) => line.length < 1000)) return drawDiff(lines);
  return fold("more", [`change, ${plural(lines.length, "line")}`], () => drawDiff(lines));
}

function todoBody(todos) {
  const MARKS = { completed: "done", in_progress: "now", pending: "" };
  return h("div", "todos", ...todos.map((todo) =>
    h("div", `todo todo-${Object.hasOwn(MARKS, todo?.status) ? todo.status : "pending"}`,
      h("span", "marker", MARKS[todo?.status] ?? ""), h("span", "", ...visible(string(todo?.content))))));
}

function textFold(label, text) {
  return fold("more", [`${label}, ${plural(lineCount(text), "line")}`], () => output(text));
}

export function resultText(content) {
  if (typeof content === "string") return content;
  if (content === undefined || content === null) return "";
  if (!Array.isArray(content)) return json(content, 2);
  return content.filter((block) => !isMedia(block)).map(partText).join("\n");
}

// Of a page that a search found there is more than can be read: its text is encrypted.
function partText(block) {
  if (typeof block?.text === "string") return block.text;
  return block?.type === "web_search_result" ? `${string(block.title)} ${string(block.url)}` : json(block);
}

// A result under its call: short ones whole, long ones as their first line and a fold; failures
// show more, since they are what one looks for.
export function drawResult(text, isError) {
  const clean = text.replace(/\s+$/, "");
  if (!clean) return [h("span", "muted", "no output")];
  const lines = lineCount(clean);
  const shown = isError ? ERROR_LINES : 1;
  if (clean.length <= SHORT * Math.max(1, shown) && lines <= Math.max(shown, 3)) {
    return [h("pre", "output", ...terminal(clean))];
  }
  const head = isError ? clean.split("\n").slice(0, ERROR_LINES - 4).join("\n").slice(0, 800) : "";
  const label = isError
    ? [h("span", "count", `all ${plural(lines, "line")}`)]
    : [h("span", "preview", ...visible(plain(preview(clean)))), h("span", "count", plural(lines, "line"))];
  return [
    head && h("pre", "output", ...terminal(head)),
    fold("result", label, () => output(clean, "output tall")),
  ];
}
