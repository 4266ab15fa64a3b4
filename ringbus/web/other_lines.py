"""The lines of codex, gemini, opencode, pi, cursor, copilot and droid, for `lines.facts()`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from ringbus.web.facts import (
    FOR_PERMISSION,
    LONGEST,
    Ask,
    Call,
    Cost,
    Doing,
    Fact,
    Folder,
    Result,
    Tokens,
    Trouble,
    as_count,
    as_number,
    as_object,
    as_sum,
    as_text,
    describe_call,
    first_line,
    tokens_in_of,
)


def _error(line: dict[str, Any], _ts_ns: int) -> Iterator[Fact]:
    error = line.get("error")
    match error:
        case {"data": {"message": str(text)}} | {"message": str(text)} | str(text):
            yield Trouble(first_line(_inside_json(text)))
        case _:
            yield Trouble(first_line(_inside_json(as_text(line.get("message")))) or "error")


# --- codex ----------------------------------------------------------------------------------


def _item(stage: str, item: dict[str, Any]) -> Iterator[Fact]:
    id_, kind = as_text(item.get("id")), _snake(as_text(item.get("type")))
    words = {
        "command_execution": f"Bash $ {first_line(_inside_shell(as_text(item.get('command'))))}",
        "file_change": "changing files",
        "mcp_tool_call": f"{as_text(item.get('server'))} {as_text(item.get('tool'))}",
        "web_search": f"WebSearch {first_line(as_text(item.get('query')))}",
    }.get(kind)
    if words is not None:
        yield Result(id_) if stage == "completed" else Call(id_, words[:LONGEST].strip())
    elif kind == "agent_message":
        yield Doing("answering")
    elif kind == "reasoning":
        yield Doing("thinking")
    elif kind == "error" and stage == "completed":
        yield Trouble(first_line(as_text(item.get("message"))))


def rpc(method: str, params: dict[str, Any]) -> Iterator[Fact]:
    match method.split("/"):
        case ["item", "started" | "completed" as stage]:
            yield from _item(stage, as_object(params.get("item")))
        case ["item", _, "requestApproval"]:
            what = as_text(params.get("command")) or as_text(params.get("reason"))
            yield Ask(f"{FOR_PERMISSION}{first_line(_inside_shell(what))}".rstrip(": "))
        case ["thread", "tokenUsage", "updated"]:
            total = as_object(as_object(params.get("tokenUsage")).get("total"))
            into, out = as_count(total.get("inputTokens")), as_count(total.get("outputTokens"))
            yield Tokens(into, out, thread=as_text(params.get("threadId")))
        case ["turn", "completed"]:
            yield Doing("finishing")
        case ["error"]:
            yield from _error(params, 0)


def _codex_end(line: dict[str, Any], _ts_ns: int) -> Iterator[Fact]:
    yield Doing("finishing")
    if isinstance(usage := line.get("usage"), dict):
        into = as_count(usage.get("input_tokens"))  # those from caches included
        yield Tokens(into, as_count(usage.get("output_tokens")))


# --- gemini, opencode, pi, cursor and others --------------------------------------------------


def _tool_use(line: dict[str, Any], _ts_ns: int) -> Iterator[Fact]:
    if isinstance(part := line.get("part"), dict):
        state = as_object(part.get("state"))
        if state.get("status") not in {"completed", "error"}:
            words = describe_call(as_text(part.get("tool")), state.get("input"))
            yield Call(as_text(part.get("callID")), words)
        else:
            yield Result(as_text(part.get("callID")))
        return
    names = (as_text(line.get(key)) for key in ("tool_name", "name", "toolName"))
    name = next(filter(None, names), "")
    given = line.get("parameters", line.get("input"))
    yield Call(as_text(line.get("tool_id", line.get("id"))), describe_call(name, given))


def _tool_result(line: dict[str, Any], _ts_ns: int) -> Iterator[Fact]:
    yield Result(as_text(line.get("tool_id", line.get("id"))))


def _tool_call(line: dict[str, Any], ts_ns: int) -> Iterator[Fact]:
    if not isinstance(line.get("tool_call"), dict):
        yield from _tool_use(line, ts_ns)
        return
    name, given = next(iter(line["tool_call"].items()), ("", None))
    id_ = as_text(line.get("call_id"))
    words = describe_call(as_text(name).removesuffix("ToolCall"), as_object(given).get("args"))
    yield Call(id_, words) if line.get("subtype") == "started" else Result(id_)


def _said(line: dict[str, Any], _ts_ns: int) -> Iterator[Fact]:
    if line.get("role") != "user":
        yield Doing("answering")


def _step_finish(line: dict[str, Any], _ts_ns: int) -> Iterator[Fact]:
    part = as_object(line.get("part"))
    tokens = as_object(part.get("tokens"))
    cached = as_object(tokens.get("cache"))
    into = as_sum(tokens.get("input"), cached.get("read"), cached.get("write"))
    yield Tokens(into, as_count(tokens.get("output")))
    if (usd := as_number(part.get("cost"))) is not None:
        yield Cost(usd)


def _message_end(line: dict[str, Any], _ts_ns: int) -> Iterator[Fact]:
    usage = as_object(as_object(line.get("message")).get("usage"))
    if usage:
        into = as_sum(usage.get("input"), usage.get("cacheRead"), usage.get("cacheWrite"))
        yield Tokens(into, as_count(usage.get("output")))
        if (usd := as_number(as_object(usage.get("cost")).get("total"))) is not None:
            yield Cost(usd)


def _completion(line: dict[str, Any], _ts_ns: int) -> Iterator[Fact]:
    yield Doing("finishing")
    if isinstance(usage := line.get("usage"), dict):
        yield Tokens(tokens_in_of(usage), as_count(usage.get("output_tokens")))


def _pi_call(line: dict[str, Any], _ts_ns: int) -> Iterator[Fact]:
    id_, name = as_text(line.get("toolCallId")), as_text(line.get("toolName"))
    yield Call(id_, describe_call(name, line.get("args")))


def _session(line: dict[str, Any], _ts_ns: int) -> Iterator[Fact]:
    context = as_object(as_object(line.get("data")).get("context"))
    yield Folder(as_text(line.get("cwd")) or as_text(context.get("cwd")))


def _dotted(line: dict[str, Any], ts_ns: int) -> Iterator[Fact]:
    data = as_object(line.get("data"))
    match line["type"]:
        case "tool.execution_start":
            yield from _pi_call(data | {"args": data.get("arguments")}, ts_ns)
        case "tool.execution_complete":
            yield Result(as_text(data.get("toolCallId")))
        case "assistant.message":
            yield Doing("answering")
        case "session.error":
            yield Trouble(first_line(as_text(data.get("message"))))


LINES: dict[str, Callable[[dict[str, Any], int], Iterator[Fact]]] = {
    "error": _error,
    "init": _session,
    "session": _session,
    "session.start": _session,
    "session.resume": _session,
    "thread.started": _session,
    "item.started": lambda line, _: _item("started", as_object(line.get("item"))),
    "item.completed": lambda line, _: _item("completed", as_object(line.get("item"))),
    "turn.completed": _codex_end,
    "turn.failed": _error,
    "tool_use": _tool_use,
    "tool_result": _tool_result,
    "tool_call": _tool_call,
    "message": _said,
    "text": _said,
    "step_finish": _step_finish,
    "message_end": _message_end,
    "completion": _completion,
    "tool_execution_start": _pi_call,
    "tool_execution_end": lambda line, _: iter((Result(as_text(line.get("toolCallId"))),)),
    "tool.execution_start": _dotted,
    "tool.execution_complete": _dotted,
    "assistant.message": _dotted,
    "session.error": _dotted,
}


def _inside_shell(command: str) -> str:
    """The command itself, where it is handed to a shell in quotes."""
    found = _IN_SHELL.fullmatch(command)
    return found[2] if found else command


def _inside_json(text: str) -> str:
    """The message of an error that is JSON in a text."""
    found = _MESSAGE.search(text[:8000]) if text.startswith("{") else None
    return found[1] if found else text


_IN_SHELL = re.compile(r"(?:/\S+/)?(?:ba|z|da)?sh -l?c (['\"])(.+)\1", re.DOTALL)
_MESSAGE = re.compile(r'"message"\s*:\s*"((?:[^"\\]|\\.)+)"')


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
