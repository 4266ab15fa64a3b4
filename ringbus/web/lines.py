"""What a line that an agent printed tells of its doing: tools, waiting, limits, spending. Pure.

`facts()` reads the vocabularies of several programs and gives what they have in common. A line of
none of them tells nothing; a field that is not what it should be counts as missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ringbus.web import other_lines
from ringbus.web.facts import (
    FOR_PERMISSION,
    LAST_NS,
    Ask,
    Call,
    Cost,
    Doing,
    Fact,
    Folder,
    Limit,
    Result,
    Tokens,
    Trouble,
    as_count,
    as_number,
    as_object,
    as_text,
    describe_call,
    first_line,
    moment_ns,
    tokens_in_of,
)


def facts(line: Any, ts_ns: int) -> Iterator[Fact]:
    """What the line tells, printed at `ts_ns`."""
    if not isinstance(line, dict):
        return
    frame = line.get("frame", line)
    if isinstance(frame, dict) and isinstance(frame.get("method"), str):
        yield from other_lines.rpc(frame["method"], as_object(frame.get("params")))
        return
    name = line.get("type")
    if isinstance(name, str) and (read := _LINES.get(name)) is not None:
        yield from read(line, ts_ns)


# --- claude and those that print as it does -------------------------------------------------


def _message(line: dict[str, Any], _ts_ns: int) -> Iterator[Fact]:
    message = as_object(line.get("message"))
    content = message.get("content")
    failed = line.get("error") or message.get("model") == "<synthetic>"
    for block in content if isinstance(content, list) else ():
        match block:
            case {"type": "tool_use" | "server_tool_use" | "mcp_tool_use", "name": str(name)}:
                yield Call(as_text(block.get("id")), describe_call(name, block.get("input")))
            case {"type": str(kind), "tool_use_id": str(id_)} if kind.endswith("tool_result"):
                yield Result(id_)
            case {"type": "text", "text": str(text)} if failed:
                yield Trouble(first_line(text))
            case {"type": "text"}:
                yield Doing("answering" if line["type"] == "assistant" else "thinking")
            case {"type": "thinking" | "redacted_thinking"}:
                yield Doing("thinking")
    if isinstance(usage := message.get("usage"), dict) and isinstance(message.get("id"), str):
        # What an answer costs in tokens is told before it is written: only later lines know.
        yield Tokens(tokens_in_of(usage), None, message["id"])


def _partial(line: dict[str, Any], _ts_ns: int) -> Iterator[Fact]:
    match line.get("event"):
        case {"type": "content_block_start", "content_block": {"type": "text"}}:
            yield Doing("answering")
        case {"type": "content_block_start", "content_block": {"type": "thinking"}}:
            yield Doing("thinking")
        case {"type": "message_delta", "usage": dict(usage)}:
            yield Tokens(None, as_count(usage.get("output_tokens")))


def _system(line: dict[str, Any], ts_ns: int) -> Iterator[Fact]:
    match line:
        case {"subtype": "api_retry"}:
            yield from _retry(line, ts_ns)
        case {"status": "compacting"}:
            yield Doing("compacting the conversation")
        case {"subtype": "status", "status": "requesting"}:
            yield Doing("thinking")
        case {"subtype": "hook_started"}:
            yield Doing(f"hook {as_text(line.get('hook_name'))}".strip())
        case {"subtype": "hook_response"}:
            yield Doing("thinking")
        case {"subtype": "init"}:
            yield Folder(as_text(line.get("cwd")))
            yield Doing("thinking")


def _retry(line: dict[str, Any], ts_ns: int) -> Iterator[Fact]:
    until_ns = ts_ns + int((as_number(line.get("retry_delay_ms")) or 0) * 1e6)
    cause = " ".join(filter(None, (_told(line, "error_status"), _told(line, "error"))))
    words = f"retry {_told(line, 'attempt') or '?'}/{_told(line, 'max_retries') or '?'}"
    words = first_line(f"{words} ({cause})" if cause else words)
    if line.get("error_status") == 429 or line.get("error") == "rate_limit":
        yield Limit(until_ns if until_ns < LAST_NS else None, words)
    else:
        yield Doing(f"waiting to {words}")


def _told(line: dict[str, Any], name: str) -> str:
    """A field that is a text or a number, as text."""
    number = as_count(line.get(name))
    return as_text(line.get(name)) if number is None else str(number)


def _rate_limit(line: dict[str, Any], _ts_ns: int) -> Iterator[Fact]:
    info = as_object(line.get("rate_limit_info"))
    if info.get("status") != "rejected":
        return
    why = as_text(info.get("rateLimitType")).replace("_", " ")
    yield Limit(moment_ns(info.get("resetsAt")), f"{why} limit" if why else "rate limit")


def _result(line: dict[str, Any], _ts_ns: int) -> Iterator[Fact]:
    yield Doing("finishing")
    if isinstance(stats := line.get("stats"), dict):
        yield Tokens(as_count(stats.get("input_tokens")), as_count(stats.get("output_tokens")))
    if isinstance(usage := line.get("usage"), dict):
        yield Tokens(tokens_in_of(usage), as_count(usage.get("output_tokens")), is_sum=True)
    if (usd := as_number(line.get("total_cost_usd"))) is not None:
        yield Cost(usd, as_text(line.get("session_id")) or "session")
    if line.get("is_error") is True or line.get("status") == "error":
        errors = line.get("errors")
        said = [line.get("result"), *(errors if isinstance(errors, list) else ())]
        said.append(as_object(line.get("error")).get("message"))
        told = next(filter(None, map(as_text, said)), "")
        # What kind of failure it was is told where nothing says more.
        kind = as_text(line.get("subtype")).replace("_", " ")
        yield Trouble(first_line(told) or kind, is_kind=not told)


def _control(line: dict[str, Any], _ts_ns: int) -> Iterator[Fact]:
    match line.get("request"):
        case {"subtype": "can_use_tool", "tool_name": str(name), **rest}:
            yield Ask(f"{FOR_PERMISSION}{describe_call(name, rest.get('input'))}")


def _permission_over(_line: dict[str, Any], _ts_ns: int) -> Iterator[Fact]:
    yield Doing("thinking")


_LINES: dict[str, Callable[[dict[str, Any], int], Iterator[Fact]]] = {
    **other_lines.LINES,
    "assistant": _message,
    "user": _message,
    "stream_event": _partial,
    "system": _system,
    "rate_limit_event": _rate_limit,
    "result": _result,
    "control_request": _control,
    "control_cancel_request": _permission_over,
}
