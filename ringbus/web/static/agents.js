// What other agents print, said in the vocabulary of lines.js: each line becomes one or more lines
// with messages, blocks and results, and is drawn, filtered and joined like those. A vocabulary is
// known by the names of its types alone; a line of none of them is left to the fallback row.

const string = (value) => (typeof value === "string" ? value : "");
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

const blocks = (...content) => ({ type: "assistant", message: { content } });
const says = (text) => (text ? [blocks({ type: "text", text })] : QUIET);
const thinks = (text) => [blocks({ type: "thinking", thinking: text })];
const told = (text) => (text ? [{ type: "user", message: { content: [{ type: "text", text }] } }] : QUIET);
const calls = (id, name, input) => [blocks({ type: "tool_use", id, name, input: isObject(input) ? input : { input } })];
const gives = (id, content, isError) => [{ type: "user", message: { content: [{ type: "tool_result", tool_use_id: id, content, is_error: isError }] } }];
const fails = (message) => [{ type: "error", error: { message: string(message) || JSON.stringify(message) } }];
const starts = (facts) => [{ type: "system", subtype: "init", ...facts }];
const ends = (isError, facts) => [{ type: "result", subtype: isError ? "error" : "success", is_error: isError, ...facts }];
const asks = (command, reason) => [{ type: "control_request", request: { subtype: "can_use_tool", tool_name: command ? "Bash" : reason || "something", input: { command } } }];
const notes = (text) => [{ type: "system", subtype: "notification", text }];
const compacted = (trigger, tokens) => [{ type: "system", subtype: "compact_boundary", compact_metadata: { trigger, pre_tokens: tokens } }];
export const QUIET = [{ type: "keep_alive" }];

// The line in our vocabulary: a list of lines, or null where it is in it already, or in none.
export function translate(line) {
  if (!isObject(line)) return null;
  const { method } = line.frame ?? line;
  if (typeof method === "string") return rpc(line.frame ?? line, method);
  if (isObject(line.frame)) return line.frame.error ? fails(line.frame.error.message) : QUIET;
  const name = typeof line.subtype === "string" ? `${line.type}/${line.subtype}` : line.type;
  const known = Object.hasOwn(LINES, name) ? LINES[name] : Object.hasOwn(LINES, line.type) ? LINES[line.type] : null;
  return known ? known(line) : null;
}

// --- codex -------------------------------------------------------------------------------

const ITEMS = {
  agent_message: (item) => says(string(item.text)),
  reasoning: (item) => thinks(string(item.text) || [item.summary, item.content].flat().map(textOf).filter(Boolean).join("\n")),
  user_message: (item) => told([item.content].flat().map(textOf).filter(Boolean).join("\n")),
  error: (item) => fails(item.message),
};

const TOOLS = {
  command_execution: (item) => ["Bash", { command: string(item.command) }, item.aggregated_output ?? item.aggregatedOutput],
  file_change: (item) => ["Change", { file_path: changed(item.changes) }, changed(item.changes)],
  mcp_tool_call: (item) => [`mcp__${item.server}__${item.tool}`, item.arguments, item.error?.message ?? item.result?.content ?? item.result],
  web_search: (item) => ["WebSearch", { query: string(item.query) }, "searched"],
  todo_list: (item) => ["TodoWrite", { todos: todos(item.items) }, "noted"],
};

const textOf = (part) => (typeof part === "string" ? part : string(part?.text));
const changed = (changes) => (Array.isArray(changes)
  ? changes.map(({ kind, path }) => `${string(kind?.type ?? kind)} ${string(path)}`.trim()).join(", ") : "");
const todos = (items) => (Array.isArray(items)
  ? items.map(({ text, completed }) => ({ content: text, status: completed ? "completed" : "pending" })) : []);
const snake = (name) => string(name).replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

function item(stage, value) {
  if (!isObject(value)) return null;
  const type = snake(value.type);
  if (Object.hasOwn(ITEMS, type)) return stage === "completed" ? ITEMS[type](value) : QUIET;
  if (!Object.hasOwn(TOOLS, type)) return null;
  const [name, input, output] = TOOLS[type](value);
  const id = string(value.id);
  if (stage === "started") return type === "todo_list" ? QUIET : calls(id, name, input);
  if (stage !== "completed") return QUIET;
  const isError = ["failed", "declined"].includes(value.status) || Boolean(value.error);
  const answer = gives(id, output ?? "", isError);
  // Some are told of at their end alone; where the start was told, this draws nothing anew.
  return type === "command_execution" || type === "mcp_tool_call" ? answer : [...calls(id, name, input), ...answer];
}

function rpc({ params, id }, method) {
  const [, stage] = /^item\/(started|completed)$/.exec(method) ?? [];
  if (stage) return item(stage, params?.item);
  if (method === "turn/completed") return ends(params?.turn?.status === "failed", { result: string(params?.turn?.error?.message) });
  if (method === "error") return fails(params?.error?.message ?? params?.message);
  if (/requestApproval$/.test(method)) return asks(string(params?.command), string(params?.reason));
  if (id !== undefined || /(delta|updated|changed|started|initialized|resolved|completed)$/i.test(method)) return QUIET;
  return null;
}

// --- tools by the names others have for them -----------------------------------------------

const NAMES = {
  run_shell_command: "Bash", bash: "Bash", shell: "Bash", shellToolCall: "Bash", Execute: "Bash",
  read_file: "Read", read: "Read", view: "Read", readToolCall: "Read",
  write_file: "Write", write: "Write", create: "Write", writeToolCall: "Write",
  replace: "Edit", edit: "Edit", editToolCall: "Edit",
  search_file_content: "Grep", grep: "Grep", grepToolCall: "Grep", glob: "Glob", globToolCall: "Glob",
};

function call(id, name, input) {
  const given = isObject(input) ? { ...input } : parsed(input);
  if (isObject(given)) given.file_path ??= given.filePath ?? given.path ?? given.absolute_path;
  return calls(string(id), Object.hasOwn(NAMES, name) ? NAMES[name] : string(name), dropped(given));
}

const dropped = (given) => (isObject(given) ? Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) : given);

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

// --- all vocabularies by their types -------------------------------------------------------

const tokens = (output, input) => ({ output_tokens: output, input_tokens: input });
const spoken = (line, text) => (line.role === "user" ? told(text) : says(text));

const LINES = {
  "thread.started": () => starts({}),
  "turn.started": () => QUIET,
  "turn.completed": (line) => ends(false, { usage: line.usage }),
  "turn.failed": (line) => ends(true, { result: string(line.error?.message) }),
  "item.started": (line) => item("started", line.item),
  "item.updated": (line) => item("updated", line.item),
  "item.completed": (line) => item("completed", line.item),

  init: (line) => starts({ model: line.model }),
  message: (line) => spoken(line, string(line.content) || string(line.text)),
  tool_use: (line) => (isObject(line.part) ? opencodeTool(line.part) : call(line.tool_id ?? line.id, line.tool_name ?? line.name, line.parameters ?? line.input)),
  tool_result: (line) => gives(string(line.tool_id ?? line.id), line.output ?? line.value ?? line.error?.message ?? "", line.status === "error" || line.isError === true),
  result: (line) => (line.subtype === undefined && typeof line.status === "string"
    ? ends(line.status !== "success", { duration_ms: line.stats?.duration_ms, usage: tokens(line.stats?.output_tokens), result: string(line.error?.message) }) : null),
  error: (line) => (line.error?.message ? null : fails(line.error?.data?.message ?? line.message ?? line.error)),

  step_start: () => QUIET,
  step_finish: ({ part }) => (part?.reason === "stop" ? ends(false, { total_cost_usd: part.cost, usage: tokens(part.tokens?.output) }) : QUIET),
  text: ({ part }) => says(string(part?.text)),
  reasoning: ({ part }) => thinks(string(part?.text)),

  "thinking/delta": () => QUIET,
  "thinking/completed": (line) => thinks(string(line.text)),
  "tool_call/started": (line) => { const [name, { args }] = cursorTool(line); return call(line.call_id, name, args); },
  "tool_call/completed": (line) => cursorResult(line.call_id, cursorTool(line)[1].result),
  tool_call: (line) => call(line.id, line.toolName, line.parameters),
  completion: (line) => ends(false, { usage: line.usage }),

  "session.start": ({ data }) => starts({ model: data?.selectedModel, cwd: data?.context?.cwd }),
  "session.error": ({ data }) => fails(data?.message),
  "session.info": ({ data }) => notes(string(data?.message)),
  "session.resume": ({ data }) => starts({ model: data?.selectedModel, cwd: data?.context?.cwd }),
  "session.model_change": ({ data }) => notes(`model ${string(data?.newModel)}, before ${string(data?.previousModel)}`),
  "session.auto_mode_resolved": ({ data }) => notes(`model ${string(data?.chosenModel)}`),
  "session.truncation": ({ data }) => compacted("", data?.preTruncationTokensInMessages),
  "session.usage_checkpoint": () => QUIET,
  "session.shutdown": ({ data }) => notes(`session ended: ${string(data?.shutdownType)}`),
  "system.message": () => QUIET,
  "system.notification": ({ data }) => notes(string(data?.content)),
  "hook.start": () => QUIET,
  "hook.end": () => QUIET,
  "subagent.started": ({ data }) => notes(`subagent ${string(data?.agentDisplayName)} started`),
  "subagent.completed": ({ data }) => notes(`subagent ${string(data?.agentDisplayName)} is done`),
  abort: ({ data }) => notes(`aborted: ${string(data?.reason)}`),
  "user.message": ({ data }) => told(string(data?.content)),
  "assistant.message": ({ data }) => says(string(data?.content)),
  "assistant.reasoning": ({ data }) => thinks(string(data?.content)),
  "assistant.turn_start": () => QUIET,
  "assistant.turn_end": () => QUIET,
  "tool.execution_start": ({ data }) => call(data?.toolCallId, data?.toolName, data?.arguments),
  "tool.execution_complete": ({ data }) => gives(string(data?.toolCallId), data?.result?.content ?? data?.error?.message ?? "", data?.success === false),

  session: (line) => starts({ cwd: line.cwd }),
  auto_retry_start: (line) => notes(`retry ${line.attempt ?? "?"}/${line.maxAttempts ?? "?"}: ${string(line.errorMessage)}`),
  auto_retry_end: (line) => (line.success === false ? fails(line.finalError) : QUIET),
  auto_compaction_start: () => [{ type: "system", subtype: "status", status: "compacting" }],
  auto_compaction_end: (line) => (line.aborted ? notes("compaction aborted") : compacted(line.reason, line.result?.tokensBefore)),
  agent_start: () => QUIET,
  turn_start: () => QUIET,
  message_start: () => QUIET,
  message_update: () => QUIET,
  message_end: ({ message }) => piMessage(message),
  tool_execution_start: () => QUIET,
  tool_execution_update: () => QUIET,
  tool_execution_end: (line) => gives(string(line.toolCallId), line.result?.content ?? "", line.isError === true),
  turn_end: () => QUIET,
  agent_end: () => ends(false, {}),
};

function opencodeTool({ callID: id, tool, state = {} }) {
  const drawn = call(id, tool, state.input);
  const isDone = ["completed", "error"].includes(state.status);
  return isDone ? [...drawn, ...gives(string(id), state.output ?? state.error ?? "", state.status === "error")] : drawn;
}

function cursorTool(line) {
  const [name = "tool", value] = Object.entries(line.tool_call ?? {})[0] ?? [];
  return [name, isObject(value) ? value : {}];
}

function cursorResult(id, result) {
  const [kind, value] = Object.entries(isObject(result) ? result : {})[0] ?? ["", ""];
  const text = isObject(value) ? [value.stdout, value.stderr, value.content, value.message].filter(Boolean).join("\n") : string(value);
  return gives(string(id), text, kind !== "success" || Boolean(value?.exitCode));
}

function piMessage(message) {
  const content = Array.isArray(message?.content) ? message.content : [];
  if (message?.role === "user") return content.length ? [{ type: "user", message: { content } }] : QUIET;
  if (message?.role !== "assistant") return QUIET;
  if (!content.length) return message.errorMessage ? fails(message.errorMessage) : QUIET;
  return [blocks(...content.map((block) =>
    (block?.type === "toolCall" ? { type: "tool_use", id: block.id, name: NAMES[block.name] ?? block.name, input: block.arguments } : block)))];
}
