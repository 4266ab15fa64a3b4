"""What an agent does now, told from its events."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ringbus.events import Envelope, Event, Note, Stream, TurnEnd, TurnStart
from ringbus.web.digest import Digest, Summary, describe_call

EPOCH = "9f3c2b1a00d1e2f3"


def after(*events: Event) -> Summary:
    """The summary after these events, a second apart from the first at 0."""
    digest = Digest("agent-7")
    for seq, event in enumerate(events):
        digest.feed(Envelope(EPOCH, seq, seq * 10**9, event=event))
    return digest.summary(lag=0)


def line(value: Any) -> Stream:
    """A line of JSON."""
    return Stream(json.dumps(value).encode())


def call(id_: str, command: str) -> Stream:
    """A call of the shell."""
    block = {"type": "tool_use", "id": id_, "name": "Bash", "input": {"command": command}}
    return line({"type": "assistant", "message": {"content": [block]}})


def answer(id_: str) -> Stream:
    """The result of a call."""
    block = {"type": "tool_result", "tool_use_id": id_, "content": "ok"}
    return line({"type": "user", "message": {"content": [block]}})


START = TurnStart("operator", "go")


def test_without_events_an_agent_is_waited_for() -> None:
    """Nothing is known of it."""
    summary = after()
    assert (summary.state, summary.since_ns, summary.position) == ("waiting", None, None)


def test_a_turn_that_runs_is_work_since_its_start() -> None:
    """Whatever came last."""
    summary = after(Note("before"), START, Note("warning", "stderr"))
    assert (summary.state, summary.since_ns) == ("working", 10**9)
    assert summary.position == f"{EPOCH}-2"


def test_the_newest_open_call_is_what_it_does() -> None:
    """Results may come in any order."""
    assert after(START, call("a", "make"), call("b", "ls")).doing == "Bash $ ls"
    assert after(START, call("a", "make"), call("b", "ls"), answer("b")).doing == "Bash $ make"
    assert after(START, call("a", "make"), answer("a")).doing == "thinking"


def test_the_end_of_a_turn_is_idle_or_failed_with_the_reason() -> None:
    """Since then."""
    ended = after(START, call("a", "make"), TurnEnd(ok=True))
    assert (ended.state, ended.since_ns, ended.doing) == ("idle", 2 * 10**9, "")
    failed = after(START, TurnEnd(ok=False, note="exit status 2"))
    assert (failed.state, failed.doing) == ("failed", "exit status 2")


def test_a_turn_whose_start_is_out_of_sight_is_work_since_nobody_knows() -> None:
    """Only the newest events of an agent are read."""
    summary = after(call("a", "make"))
    assert (summary.state, summary.since_ns) == ("working", None)


def test_notes_alone_are_no_work() -> None:
    """Somebody said something, no turn runs."""
    assert after(Note("hello")).state == "idle"


@pytest.mark.parametrize(
    "value",
    [
        None,
        7,
        "text",
        [],
        {},
        {"type": "assistant"},
        {"type": "user", "message": {"content": 3}},
        {"type": "assistant", "message": {"content": [None, {"type": "tool_use"}]}},
    ],
)
def test_any_line_can_be_read(value: Any) -> None:
    """Programs print what they like."""
    assert after(START, line(value)).state == "working"


def test_a_call_is_told_by_its_first_telling_field() -> None:
    """In one short line."""
    assert describe_call("Bash", {"command": "make\nmake test"}) == "Bash $ make"
    assert describe_call("Read", {"file_path": "/x.py", "limit": 3}) == "Read /x.py"
    assert describe_call("Odd", None) == "Odd"
    assert len(describe_call("Bash", {"command": "x" * 999})) == 160
