"""The demo's recording and its replayer."""

import json
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from ringbus.demo.recording import TURNS, Turn, turn
from ringbus.demo.replay import pause_before

TYPES = {"assistant", "rate_limit_event", "result", "stream_event", "system", "user"}
each_turn = pytest.mark.parametrize(
    "recorded", TURNS, ids=lambda recorded: f"turn{recorded.number}"
)


def values(recorded: Turn) -> list[dict[str, Any]]:
    return [json.loads(line) for line in recorded.lines()]


def blocks(recorded: Turn, kind: str) -> Iterator[dict[str, Any]]:
    for value in values(recorded):
        if value["type"] in {"assistant", "user"}:
            yield from (block for block in value["message"]["content"] if block["type"] == kind)


def tool_uses(recorded: Turn) -> dict[str, dict[str, Any]]:
    return {block["id"]: block for block in blocks(recorded, "tool_use")}


@each_turn
def test_every_line_is_of_a_known_type(recorded: Turn) -> None:
    """Each line is a JSON object whose type the pages know how to draw."""
    assert {value["type"] for value in values(recorded)} <= TYPES


def test_recording_tells_a_story_of_three_turns_whose_last_fails() -> None:
    """Three turns, at least 180 lines, two that go well and one that does not."""
    assert [recorded.number for recorded in TURNS] == [1, 2, 3]
    assert sum(len(recorded.lines()) for recorded in TURNS) >= 180
    assert [recorded.exit_status for recorded in TURNS] == [0, 0, 1]
    results = [values(recorded)[-1] for recorded in TURNS]
    assert [value["subtype"] for value in results] == [
        "success",
        "success",
        "error_during_execution",
    ]


def test_all_turns_belong_to_one_session_and_no_line_repeats() -> None:
    """One session id throughout, and a uuid of its own for each line."""
    lines = [value for recorded in TURNS for value in values(recorded)]
    assert len({value["session_id"] for value in lines}) == 1
    assert len({value["uuid"] for value in lines}) == len(lines)


@each_turn
def test_every_tool_use_has_exactly_one_later_result(recorded: Turn) -> None:
    """Calls and results pair up by id, and no result comes before its call."""
    open_calls: set[str] = set()
    for value in values(recorded):
        content = value["message"]["content"] if value["type"] in {"assistant", "user"} else []
        for block in content:
            if block["type"] == "tool_use":
                open_calls.add(block["id"])
            elif block["type"] == "tool_result":
                open_calls.remove(block["tool_use_id"])
    assert not open_calls
    assert len(tool_uses(recorded)) == len(list(blocks(recorded, "tool_result")))


def test_recording_shows_every_tool_and_every_form_of_result() -> None:
    """The demo draws all usual tools, and results as text, as blocks, absent and in error."""
    names = {use["name"] for recorded in TURNS for use in tool_uses(recorded).values()}
    assert names >= {"Bash", "Edit", "Grep", "Read", "Task", "TodoWrite", "Write"}
    assert any(name.startswith("mcp__") for name in names)
    results = [block for recorded in TURNS for block in blocks(recorded, "tool_result")]
    assert {type(block.get("content")) for block in results} == {str, list, type(None)}
    assert any(block.get("is_error") for block in results)


def test_subagent_lines_stand_under_the_task_that_started_them() -> None:
    """Lines of a subagent name a Task call, and come before its result."""
    recorded = turn(1)
    lines = values(recorded)
    parents = {value["parent_tool_use_id"] for value in lines if value.get("parent_tool_use_id")}
    assert [tool_uses(recorded)[parent]["name"] for parent in parents] == ["Task"]


@each_turn
def test_partial_messages_add_up_to_the_full_block(recorded: Turn) -> None:
    """Deltas joined give the block that comes right before its content_block_stop."""
    parts: list[str] = []
    previous: dict[str, Any] = {}
    for value in values(recorded):
        event = value.get("event", {})
        if event.get("type") == "content_block_start":
            parts = []
        elif event.get("type") == "content_block_delta":
            delta = event["delta"]
            kinds = ("text", "thinking", "partial_json")
            parts += [delta[kind] for kind in kinds if kind in delta]
        elif event.get("type") == "content_block_stop":
            block = previous["message"]["content"][0]
            joined = "".join(parts)
            whole = block.get("text") or block.get("thinking") or block["input"]
            assert (json.loads(joined) if block["type"] == "tool_use" else joined) == whole
        previous = value


@each_turn
def test_result_counts_what_the_messages_used(recorded: Turn) -> None:
    """The result's turns and output tokens are those of the turn's own finished messages."""
    lines = values(recorded)
    deltas = [
        value["event"]["usage"]["output_tokens"]
        for value in lines
        if value.get("event", {}).get("type") == "message_delta"
    ]
    assert lines[-1]["num_turns"] == len(deltas)
    assert lines[-1]["usage"]["output_tokens"] == sum(deltas)
    cost = sum(model["costUSD"] for model in lines[-1]["modelUsage"].values())
    assert lines[-1]["total_cost_usd"] == pytest.approx(cost)


def test_retries_and_the_rate_limit_are_in_the_recording() -> None:
    """The third turn ends as the rate limit is reached, after retries."""
    subtypes = Counter(value.get("subtype") for value in values(turn(3)))
    assert subtypes["api_retry"] >= 2
    limits = [value for value in values(turn(3)) if value["type"] == "rate_limit_event"]
    assert [value["rate_limit_info"]["status"] for value in limits] == [
        "allowed_warning",
        "rejected",
    ]


@each_turn
def test_a_turn_takes_20_to_40_seconds_to_watch(recorded: Turn) -> None:
    """The pauses of a turn add up to something one can follow."""
    assert 20 <= sum(pause_before(line) for line in recorded.lines()) <= 40


@each_turn
def test_replay_prints_the_turn_and_exits_with_its_status(recorded: Turn) -> None:
    """stdout is the file byte for byte, stderr the one plain line, the status the turn's."""
    done = subprocess.run(
        recorded.command(speed=1000), capture_output=True, timeout=60, check=False
    )
    assert done.stdout == b"".join(line + b"\n" for line in recorded.lines())
    assert done.stderr.decode() == recorded.stderr + "\n"
    assert done.returncode == recorded.exit_status


def test_replay_shows_each_line_as_it_is_printed() -> None:
    """A reader gets the first line while the turn goes on; an interrupt ends it without a word."""
    with subprocess.Popen(
        turn(2).command(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == turn(2).lines()[0] + b"\n"
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert b"Traceback" not in stderr


@pytest.mark.parametrize("arguments", [["4"], ["0"], ["1", "--speed", "0"], ["1", "--speed", "x"]])
def test_replay_refuses_what_it_does_not_know(arguments: list[str]) -> None:
    """A turn that is not there, or a speed that is none, is a usage error."""
    command = [sys.executable, "-m", "ringbus.demo.replay", *arguments]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert done.returncode == 2
    assert re.search(rb"argument (number|--speed)", done.stderr)


def test_an_unknown_turn_is_named() -> None:
    """Asking for a turn that was not recorded says which there are."""
    with pytest.raises(KeyError, match="turns 1 to 3, not 9"):
        turn(9)
