"""What the lines of each agent program tell, and what they add up to."""

from __future__ import annotations

from typing import Any

import pytest

from ringbus.web.facts import (
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
    describe_call,
)
from ringbus.web.lines import facts
from ringbus.web.spending import Spending


def told(line: Any) -> list[Fact]:
    """All that a line tells."""
    return list(facts(line, 1_000_000_000))


def says(*blocks: Any, **message: Any) -> dict[str, Any]:
    """A line of claude with these blocks."""
    return {"type": "assistant", "message": {"content": list(blocks)} | message}


CLAUDE = [
    ({"type": "system", "subtype": "init", "cwd": "/x"}, [Folder("/x"), Doing("thinking")]),
    ({"type": "system", "subtype": "init", "cwd": 7}, [Folder(""), Doing("thinking")]),
    ({"type": "system", "subtype": "hook_started", "hook_name": "Stop"}, [Doing("hook Stop")]),
    ({"type": "system", "subtype": "hook_response"}, [Doing("thinking")]),
    ({"type": "system", "subtype": "status", "status": "requesting"}, [Doing("thinking")]),
    (
        {"type": "system", "subtype": "status", "status": "compacting"},
        [Doing("compacting the conversation")],
    ),
    ({"type": "system", "subtype": "thinking_tokens", "estimated_tokens": 3}, []),
    (
        {"type": "system", "subtype": "api_retry", "retry_delay_ms": 500.5, "error_status": 429},
        [Limit(1_500_500_000, "retry ?/? (429)")],
    ),
    (says({"type": "text", "text": "Yes"}), [Doing("answering")]),
    (says({"type": "thinking", "thinking": ""}), [Doing("thinking")]),
    (
        says({"type": "tool_use", "id": "a", "name": "Read", "input": {"file_path": "/x"}}),
        [Call("a", "Read /x")],
    ),
    (
        says({"type": "mcp_tool_use", "id": "a", "name": "mcp__box__get"}),
        [Call("a", "box get")],
    ),
    (
        {"type": "user", "message": {"content": [{"type": "tool_result", "tool_use_id": "a"}]}},
        [Result("a")],
    ),
    (
        says({"type": "web_search_tool_result", "tool_use_id": "b", "content": []}),
        [Result("b")],
    ),
    (
        says({"type": "text", "text": "Prompt is too long"}, model="<synthetic>"),
        [Trouble("Prompt is too long")],
    ),
    (
        says({"type": "text", "text": "API Error: 500"}) | {"error": "server_error"},
        [Trouble("API Error: 500")],
    ),
    (
        says(id="m", usage={"input_tokens": 3, "cache_read_input_tokens": 40, "output_tokens": 1}),
        [Tokens(43, None, "m")],
    ),
    (
        {
            "type": "stream_event",
            "event": {"type": "message_delta", "usage": {"output_tokens": 9}},
        },
        [Tokens(None, 9)],
    ),
    ({"type": "stream_event", "event": {"type": "ping"}}, []),
    (
        {"type": "rate_limit_event", "rate_limit_info": {"status": "rejected"}},
        [Limit(None, "rate limit")],
    ),
    ({"type": "rate_limit_event", "rate_limit_info": {"status": "allowed_warning"}}, []),
    (
        {
            "type": "result", "subtype": "success", "is_error": False, "session_id": "s",
            "total_cost_usd": 0.25, "usage": {"input_tokens": 2, "output_tokens": 3},
        },
        [Doing("finishing"), Tokens(2, 3, is_sum=True), Cost(0.25, "s")],
    ),
    (
        {"type": "result", "subtype": "error_max_turns", "is_error": True},
        [Doing("finishing"), Trouble("error max turns", is_kind=True)],
    ),
    (
        {"type": "result", "subtype": "error_max_turns", "is_error": True, "errors": ["no\nmore"]},
        [Doing("finishing"), Trouble("no")],
    ),
    (
        {"type": "control_request", "request": {"subtype": "can_use_tool", "tool_name": "Write"}},
        [Ask("for permission: Write")],
    ),
    ({"type": "control_request", "request": {"subtype": "initialize"}}, []),
    ({"type": "control_cancel_request"}, [Doing("thinking")]),
    ({"type": "error", "error": {"message": "Overloaded\nmore"}}, [Trouble("Overloaded")]),
    ({"type": "news", "text": "of something"}, []),
]  # fmt: skip

OTHERS = [
    # where sessions begin
    ({"type": "session", "cwd": "/x"}, [Folder("/x")]),
    ({"type": "session.start", "data": {"context": {"cwd": "/x"}}}, [Folder("/x")]),
    ({"type": "thread.started", "thread_id": "t"}, [Folder("")]),
    # codex exec
    (
        {"type": "item.started", "item": {"id": "i", "type": "command_execution", "command": "ls"}},
        [Call("i", "Bash $ ls")],
    ),
    (
        {"type": "item.completed", "item": {"id": "i", "type": "command_execution"}},
        [Result("i")],
    ),
    (
        {
            "type": "item.started",
            "item": {"id": "i", "type": "mcp_tool_call", "server": "box", "tool": "get"},
        },
        [Call("i", "box get")],
    ),
    (
        {"type": "item.completed", "item": {"id": "i", "type": "agent_message", "text": "Hi"}},
        [Doing("answering")],
    ),
    ({"type": "item.completed", "item": {"type": "reasoning"}}, [Doing("thinking")]),
    ({"type": "item.completed", "item": {"type": "error", "message": "no"}}, [Trouble("no")]),
    (
        {
            "type": "turn.completed",
            "usage": {"input_tokens": 90, "cached_input_tokens": 80, "output_tokens": 5},
        },
        [Doing("finishing"), Tokens(90, 5)],
    ),
    ({"type": "turn.failed", "error": {"message": "limit"}}, [Trouble("limit")]),
    ({"type": "error", "message": "stream lost"}, [Trouble("stream lost")]),
    ({"type": "error", "message": '{"error":{"message":"no model"}}'}, [Trouble("no model")]),
    (
        {
            "type": "item.started",
            "item": {"id": "i", "type": "command_execution", "command": "/bin/bash -lc 'ls -a'"},
        },
        [Call("i", "Bash $ ls -a")],
    ),
    # codex app-server
    (
        {
            "direction": "in",
            "frame": {
                "method": "item/started",
                "params": {"item": {"id": "i", "type": "commandExecution", "command": "ls"}},
            },
        },
        [Call("i", "Bash $ ls")],
    ),
    (
        {"method": "item/commandExecution/requestApproval", "params": {"command": "touch x"}},
        [Ask("for permission: touch x")],
    ),
    (
        {
            "method": "thread/tokenUsage/updated",
            "params": {
                "threadId": "t",
                "tokenUsage": {"total": {"inputTokens": 7, "outputTokens": 2}},
            },
        },
        [Tokens(7, 2, thread="t")],
    ),
    ({"method": "turn/completed", "params": {}}, [Doing("finishing")]),
    ({"method": "error", "params": {"error": {"message": "no"}}}, [Trouble("no")]),
    # gemini
    (
        {
            "type": "tool_use",
            "tool_name": "run_shell_command",
            "tool_id": "t",
            "parameters": {"command": "ls"},
        },
        [Call("t", "Bash $ ls")],
    ),
    ({"type": "tool_result", "tool_id": "t", "status": "success"}, [Result("t")]),
    ({"type": "message", "role": "assistant", "content": "Hi"}, [Doing("answering")]),
    ({"type": "message", "role": "user", "content": "Hi"}, []),
    (
        {"type": "result", "status": "success", "stats": {"input_tokens": 10, "output_tokens": 5}},
        [Doing("finishing"), Tokens(10, 5)],
    ),
    (
        {"type": "result", "status": "error", "error": {"message": "quota"}},
        [Doing("finishing"), Trouble("quota")],
    ),
    # opencode
    (
        {
            "type": "tool_use",
            "part": {
                "callID": "c",
                "tool": "bash",
                "state": {"status": "running", "input": {"command": "ls"}},
            },
        },
        [Call("c", "Bash $ ls")],
    ),
    (
        {
            "type": "tool_use",
            "part": {"callID": "c", "tool": "bash", "state": {"status": "completed"}},
        },
        [Result("c")],
    ),
    ({"type": "text", "part": {"text": "Hi"}}, [Doing("answering")]),
    (
        {
            "type": "step_finish",
            "part": {
                "cost": 0.5,
                "tokens": {"input": 4, "output": 3, "cache": {"read": 2, "write": 1}},
            },
        },
        [Tokens(7, 3), Cost(0.5)],
    ),
    (
        {"type": "error", "error": {"name": "APIError", "data": {"message": "late"}}},
        [Trouble("late")],
    ),
    # pi
    (
        {
            "type": "tool_execution_start",
            "toolCallId": "p",
            "toolName": "read",
            "args": {"path": "a"},
        },
        [Call("p", "Read a")],
    ),
    ({"type": "tool_execution_end", "toolCallId": "p"}, [Result("p")]),
    (
        {
            "type": "message_end",
            "message": {
                "usage": {
                    "input": 3,
                    "output": 9,
                    "cacheRead": 1,
                    "cacheWrite": 2,
                    "cost": {"total": 0.1},
                }
            },
        },
        [Tokens(6, 9), Cost(0.1)],
    ),
    # cursor
    (
        {
            "type": "tool_call",
            "subtype": "started",
            "call_id": "k",
            "tool_call": {"readToolCall": {"args": {"path": "a"}}},
        },
        [Call("k", "Read a")],
    ),
    (
        {
            "type": "tool_call",
            "subtype": "completed",
            "call_id": "k",
            "tool_call": {"readToolCall": {}},
        },
        [Result("k")],
    ),
    # droid
    (
        {"type": "tool_call", "id": "d", "toolName": "Execute", "parameters": {"command": "ls"}},
        [Call("d", "Bash $ ls")],
    ),
    (
        {"type": "completion", "usage": {"input_tokens": 10, "output_tokens": 5}},
        [Doing("finishing"), Tokens(10, 5)],
    ),
    # copilot
    (
        {
            "type": "tool.execution_start",
            "data": {"toolCallId": "q", "toolName": "bash", "arguments": {"command": "ls"}},
        },
        [Call("q", "Bash $ ls")],
    ),
    ({"type": "tool.execution_complete", "data": {"toolCallId": "q"}}, [Result("q")]),
    ({"type": "assistant.message", "data": {"content": "Hi"}}, [Doing("answering")]),
    ({"type": "session.error", "data": {"message": "no"}}, [Trouble("no")]),
]


@pytest.mark.parametrize(("line", "expected"), CLAUDE + OTHERS)
def test_a_line_tells_what_it_means(line: Any, expected: list[Fact]) -> None:
    """Of every program whose lines are known."""
    assert told(line) == expected


@pytest.mark.parametrize(("line", "_"), CLAUDE + OTHERS)
def test_a_line_with_fields_of_another_shape_tells_less_but_breaks_nothing(
    line: Any, _: object
) -> None:
    """New versions change fields without a word."""
    for name in line:
        for strange in (None, 7, "text", [], {}, [None], {"a": None}, -1, 10**400, True):
            told(line | {name: strange})


def test_a_call_is_told_by_its_first_telling_field() -> None:
    """In one short line."""
    assert describe_call("Bash", {"command": "make\nmake test"}) == "Bash $ make"
    assert describe_call("Read", {"file_path": "/x.py", "limit": 3}) == "Read /x.py"
    assert describe_call("Grep", {"path": "src", "pattern": "a"}) == "Grep a"
    assert describe_call("Odd", None) == "Odd"
    assert len(describe_call("Bash", {"command": "x" * 9999})) == 160


def spent(*lines: Any) -> tuple[tuple[int | None, int | None], float | None]:
    """Tokens and cost after these lines."""
    spending = Spending()
    for line in lines:
        for fact in facts(line, 0):
            if isinstance(fact, Tokens | Cost):
                spending.take(fact)
    return spending.tokens, spending.cost_usd


def result(session: str, cost: float, into: int, out: int) -> dict[str, Any]:
    """The end of a session's run so far."""
    usage = {"input_tokens": into, "output_tokens": out}
    return {"type": "result", "session_id": session, "total_cost_usd": cost, "usage": usage}


def test_usage_is_counted_once_for_each_message() -> None:
    """The lines of one message repeat it; what came out is known from the partial ones."""
    usage = {"input_tokens": 5, "output_tokens": 1}
    delta = {"type": "message_delta", "usage": {"output_tokens": 70}}
    lines = [says(id="m", usage=usage), says(id="m", usage=usage), says(id="n", usage=usage)]
    assert spent(*lines) == ((10, None), None)
    assert spent(*lines, {"type": "stream_event", "event": delta}) == ((10, 70), None)


def test_a_result_stands_for_all_that_was_told_before_it() -> None:
    """Not for what an earlier result told; its cost has grown over the session."""
    before = says(id="m", usage={"input_tokens": 5})
    assert spent(before, result("s", 0.5, 40, 7)) == ((40, 7), 0.5)
    assert spent(before, result("s", 0.5, 40, 7), result("s", 0.75, 2, 1)) == ((42, 8), 0.75)
    assert spent(result("s", 0.5, 40, 7), result("t", 0.75, 2, 1)) == ((42, 8), 1.25)


def test_what_is_told_for_each_step_adds_up() -> None:
    """And what is told for a thread so far does not."""
    step = {"type": "step_finish", "part": {"cost": 0.5, "tokens": {"input": 4, "output": 3}}}
    assert spent(step, step) == ((8, 6), 1.0)
    total = {"threadId": "t", "tokenUsage": {"total": {"inputTokens": 7, "outputTokens": 2}}}
    thread = {"method": "thread/tokenUsage/updated", "params": total}
    assert spent(thread, thread) == ((7, 2), None)
    assert spent() == ((None, None), None)
