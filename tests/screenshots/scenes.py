"""What the agents on the pictures do: an invented team that looks after tide gauges.

Most of it has happened when the picture is taken, so it is written into histories with the times
that it would have had; what goes on is emitted into rings.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

from turns import Agent

from ringbus.bus import Bus
from ringbus.demo.recording import TURNS
from ringbus.demo.replay import pause_before
from ringbus.errors import RingbusError, RingNotFound
from ringbus.events import Event, Gap, Note, Stream, TurnEnd, TurnStart, encode, is_partial
from ringbus.history import History
from ringbus.removal import remove_agent
from ringbus.ring import Ring

Moment: TypeAlias = tuple[float, Event]
"""Seconds ago, and what happened."""

DEMO = "poller-fix"  # whose page is shown at work, and in a search
FAILED = "alerts-clock"
GAPPED = "gauge-import"
NAMES = (
    DEMO, FAILED, GAPPED, "docs-index", "schema-move", "nightly-report", "deps-weekly",
    "review-418", "inbox",
)  # fmt: skip
MINUTE, HOUR = 60.0, 3600.0
EPOCH = "5ce9a11ed0000001"


@contextmanager
def team(state: Path) -> Iterator[dict[str, Bus]]:
    """All agents as they are for the pictures; the rings of those that have one, by name."""
    agents = {name: Agent(name, state) for name in NAMES}
    refuse_used_names()
    with ExitStack() as stack:
        for agent in agents.values():
            stack.callback(forget, agent)
        busses: dict[str, Bus] = {}
        for name, moments in pasts().items():
            write_past(agents[name], moments)
        for name, events in PRESENTS.items():
            busses[name] = bus = stack.enter_context(agents[name].bus())
            if name != UNSTORED:
                stack.enter_context(agents[name].persisted())
            bus.emit_many(events())
        yield busses


def refuse_used_names() -> None:
    """Whoever has an agent of such a name keeps it."""
    for name in NAMES:
        with suppress(RingNotFound):
            Ring.open(name, observer=True).close()
            raise RingbusError(f"there is an agent {name!r} on this machine already: remove it")


def forget(agent: Agent) -> None:
    with suppress(RingNotFound):
        remove_agent(agent.name, agent.state, purge=True)


def write_past(agent: Agent, moments: Sequence[Moment]) -> None:
    """A history as if somebody had stored all of it when it happened."""
    now_ns = time.time_ns()
    lost = GAP_AT if agent.name == GAPPED else None
    rows, gaps, seq = [], [], 0
    for number, (ago, event) in enumerate(moments):
        if number == lost:
            gaps.append(Gap(EPOCH, seq, seq + 1203, 1204, "lapped"))
            seq += 1204
        rows.append((seq, now_ns - int(ago * 1e9), *encode(event)))
        seq += 1
    with History.open(agent.database, agent.name, write=True) as history:
        history.begin_epoch(EPOCH)
        history.append(EPOCH, rows, seq, gaps)
        history.end_epoch(EPOCH)


# --- lines --------------------------------------------------------------------------------


def line(value: dict[str, Any]) -> Stream:
    return Stream(json.dumps(value).encode())


def says(*blocks: dict[str, Any], **fields: Any) -> Stream:
    return line({"type": "assistant", "message": {"id": "m", "content": list(blocks)}} | fields)


def call(name: str, given: dict[str, Any], id_: str = "a") -> Stream:
    return says({"type": "tool_use", "id": id_, "name": name, "input": given})


def gives(text: str, id_: str = "a") -> Stream:
    block = {"type": "tool_result", "tool_use_id": id_, "content": text}
    return line({"type": "user", "message": {"content": [block]}})


def text(words: str) -> Stream:
    return says({"type": "text", "text": words})


def spent(usd: float, into: int, out: int) -> Stream:
    usage = {"input_tokens": into, "output_tokens": out}
    facts = {"num_turns": 9, "duration_ms": 192_000, "total_cost_usd": usd, "usage": usage}
    return line({"type": "result", "subtype": "success", "is_error": False} | facts)


def recorded(number: int, lines: slice, *, end: float) -> list[Moment]:
    """A turn of the demo's recording up to `end` seconds ago, at the pace of an agent."""
    turn = TURNS[number - 1]
    kept: list[Moment] = []
    at = 0.0
    for each in turn.lines()[lines]:
        at += 3 * pause_before(each)
        if not is_partial(each):
            kept.append((at, Stream(each)))
    start = TurnStart(turn.from_, turn.body, turn.unread)
    return [(at + end, start), *((at - when + end, event) for when, event in kept)]


# --- what was -----------------------------------------------------------------------------


def pasts() -> dict[str, list[Moment]]:
    day = 24 * HOUR
    return {
        DEMO: [
            *recorded(1, slice(None), end=11 * MINUTE),
            (11 * MINUTE, TurnEnd(ok=True)),
            *recorded(2, slice(0, 88), end=9),
        ],
        FAILED: [
            *recorded(3, slice(None), end=3 * MINUTE),
            (3 * MINUTE, Note(TURNS[2].stderr, "stderr")),
            (3 * MINUTE, Note("claude exited 1")),
            (3 * MINUTE, TurnEnd(ok=False, note="exit status 1")),
        ],
        GAPPED: gauge_import(),
        "docs-index": [
            (41, TurnStart("planner", "Bring the index of the manual up to date", 1)),
            (38, call("Grep", {"pattern": "^## ", "path": "docs"})),
            (37, gives("docs/gauges.md:12: ## Calibration\ndocs/locks.md:4: ## Gates")),
        ],
        "schema-move": [
            (6 * MINUTE, TurnStart("operator", "Move the readings into the new schema")),
            (5 * MINUTE, call("Read", {"file_path": "/srv/tidewatch/schema/0042.sql"})),
            (5 * MINUTE, gives("alter table reading add column station_id integer;")),
            (2 * MINUTE, text("The old table can go once the copy is checked.")),
        ],
        "nightly-report": [
            (18 * MINUTE, TurnStart("timer", "Write the report of the night")),
            (17 * MINUTE, call("Bash", {"command": "tidewatch report --since yesterday"})),
            (16 * MINUTE, gives("412 readings, 3 gauges silent")),
        ],
        "deps-weekly": [
            (34 * MINUTE, TurnStart("timer", "Raise what is out of date")),
            (32 * MINUTE, call("Bash", {"command": "pip list --outdated --format=json"})),
        ],
        "review-418": [
            (19 * MINUTE, TurnStart("operator", "Review merge request 418")),
            (18 * MINUTE, call("Bash", {"command": "git diff main...418 --stat"})),
            (18 * MINUTE, gives("6 files changed, 210 insertions(+), 35 deletions(-)")),
            *((17 * MINUTE, text(words)) for words in REVIEW),
            (12 * MINUTE, spent(1.3174, 412_000, 9_140)),
            (12 * MINUTE, TurnEnd(ok=True)),
        ],
        "inbox": [
            (day + 2 * HOUR, TurnStart("operator", "Sort what came in over the weekend")),
            (day + HOUR, spent(0.0721, 38_000, 1_200)),
            (day + HOUR, TurnEnd(ok=True)),
        ],
    }


REVIEW = (
    "The change is sound; three remarks.",
    "1. `Poller.close()` may be called twice.",
    "2. The test for silence depends on the order of two threads.",
    "3. `level_cm` could say its unit in the type.",
)


def gauge_import() -> list[Moment]:
    """A turn that printed faster than its events could be stored."""
    files = [f"readings-{month:02}.csv" for month in range(1, 10)]
    moments: list[Moment] = [
        (7 * MINUTE, TurnStart("operator", "Import the readings of the year, month by month")),
        (
            7 * MINUTE - 3,
            text("Nine files. I'll take them one after the other and count the rows."),
        ),
    ]
    for number, name in enumerate(files):
        ago = 6 * MINUTE - 30 * number
        command = {"command": f"tidewatch import {name}"}
        moments += [
            (ago, call("Bash", command, id_=name)),
            (ago - 21, gives(f"{name}: {44_640 - 37 * number:,} rows", id_=name)),
        ]
    return moments


GAP_AT = 13


# --- what is ------------------------------------------------------------------------------


def ask() -> list[Event]:
    given = {"command": 'psql tide -c "drop table reading_old"'}
    request = {"subtype": "can_use_tool", "tool_name": "Bash", "input": given}
    return [call("Bash", given), line({"type": "control_request", "request": request})]


def limit() -> list[Event]:
    info = {
        "status": "rejected", "rateLimitType": "five_hour", "resetsAt": int(time.time()) + 2820,
    }  # fmt: skip
    return [line({"type": "rate_limit_event", "rate_limit_info": info})]


def running() -> list[Event]:
    """The call of the tests, and nothing after it."""
    return [Stream(each) for each in TURNS[1].lines()[88:89]]


def codex() -> list[Event]:
    item = {"id": "i", "type": "command_execution", "command": "tidewatch import readings-10.csv"}
    return [line({"type": "item.started", "item": item})]


def writes() -> list[Event]:
    return [text("The manual has two chapters that no page leads to.")]


UNSTORED = "docs-index"
PRESENTS = {
    DEMO: running,
    GAPPED: codex,
    "schema-move": ask,
    "nightly-report": limit,
    "docs-index": writes,
}


@contextmanager
def bustling(busses: dict[str, Bus]) -> Iterator[None]:
    """Partial messages of those at work, so that there is something to see of late."""
    is_over = threading.Event()
    piece = line({"type": "stream_event", "event": {"type": "ping"}})

    def bustle() -> None:
        moment = 0
        while not is_over.wait(0.25):
            moment += 1
            for name, most in (("docs-index", 60), (GAPPED, 25), (DEMO, 7)):
                wave = abs(math.sin(moment / 11 + most)) * abs(math.sin(moment / 37 + most))
                for _ in range(round(most * wave)):
                    busses[name].emit(piece, transient=True)

    thread = threading.Thread(target=bustle)
    thread.start()
    try:
        time.sleep(20)
        yield
    finally:
        is_over.set()
        thread.join()
