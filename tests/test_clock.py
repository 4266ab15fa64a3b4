"""A wall clock that steps back and forth: order and completeness do not depend on it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Self

import pytest
from checkers.building import c_compiler, run_tool
from checkers.verdict import MissingError
from missing import go_without
from storing import check_account, check_ids_kept, persister_pid, rows_by_id, stored
from turns import Agent, is_alive, python, wait_until

from ringbus import Ring
from ringbus.events import Envelope

SOURCE = Path(__file__).parent / "csrc" / "shifted_clock.c"

HOUR = 3600 * 10**9
DAY = 24 * HOUR
WINDOW_NS = 10**6  # csrc/clock.h
ERROR_NS = 5000
BEFORE_1970 = -100 * 365 * DAY

EMITS = """
import sys
from ringbus import Bus, Note
agent, state, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
with Bus(agent, state=state, size=64 << 10) as bus:
    for line in sys.stdin:
        for number in range(int(line), int(line) + count):
            bus.emit(Note(str(number)))
        assert bus.wait_stored(60)
        print("stored", flush=True)
"""

EACH = 2000
EACH_LAP = 500  # records that the ring holds at once
"""Notes between two steps of the clock: more than the ring keeps."""


@pytest.fixture
def shim(tmp_path: Path) -> Path:
    """What shifts the clock of the programs that are started with it."""
    program = tmp_path / "shifted_clock.so"
    try:
        run_tool([*c_compiler(), "-O2", "-shared", "-fPIC", SOURCE, "-o", program])
    except MissingError as missing:
        go_without(str(missing))
    return program


SHIFTS = [0, -HOUR, -DAY, BEFORE_1970, DAY, 0]


class Emitter:
    """A program with a shifted clock, as has the persister that its Bus starts."""

    def __init__(self, agent: Agent, clock: Path, shim: Path) -> None:
        self._process = subprocess.Popen(
            [*python(EMITS), agent.name, str(agent.state), str(EACH)],
            env=os.environ | {"LD_PRELOAD": str(shim), "CLOCK_SHIFT": str(clock)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def emit(self, first: int) -> None:
        """Returns when all of it is stored."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{first}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "stored\n"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def clock(tmp_path: Path) -> Path:
    """The file that says how far the clock is shifted."""
    path = tmp_path / "clock"
    step(path, 0)
    return path


def step(clock: Path, shift: int) -> None:
    """In place: the programs have the file mapped."""
    clock.touch()
    with clock.open("r+b", buffering=0) as file:
        file.write(shift.to_bytes(8, "little", signed=True))


def kill_persister(agent: Agent) -> None:
    pid = persister_pid(agent.name)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_alive(pid), "the end of the persister")


def times_of_turns(agent: Agent) -> list[list[int]]:
    """What is stored as the time of each event, turn by turn."""
    times = [item.ts_ns for item in stored(agent) if isinstance(item, Envelope)]
    return [times[first : first + EACH] for first in range(0, len(times), EACH)]


@pytest.mark.slow
@pytest.mark.parametrize("is_killed", [False, True], ids=["persister runs", "persister is killed"])
def test_clock_that_steps_between_emitters_changes_no_order(
    agent: Agent, clock: Path, shim: Path, is_killed: bool
) -> None:
    """An hour back, before 1970, ahead and to where it was; each emitter begins with what it is.

    Every event is stored once, in the order of emission, with the time that the clock showed.
    """
    before: dict[int, str] = {}
    for turn, shift in enumerate(SHIFTS):
        step(clock, shift)
        if is_killed and turn:
            kill_persister(agent)
        with Emitter(agent, clock, shim) as emitter:
            emitter.emit(turn * EACH)
        after = rows_by_id(agent)
        check_ids_kept(before, after)
        assert len(after) == len(before) + EACH, "none was taken for old"
        before = after
    assert check_account(agent, len(SHIFTS) * EACH) == []
    turns = times_of_turns(agent)
    real = [time - shift for turn, shift in zip(turns, SHIFTS, strict=True) for time in turn]
    assert real == sorted(real)
    assert real[-1] - real[0] < HOUR
    assert min(turns[3]) < 0


@pytest.mark.slow
def test_clock_that_steps_under_an_emitter_changes_no_order(
    agent: Agent, clock: Path, shim: Path
) -> None:
    """Its times never descend, and go on as soon as the clock is past them again."""
    with Emitter(agent, clock, shim) as emitter:
        for turn, shift in enumerate(SHIFTS):
            step(clock, shift)
            emitter.emit(turn * EACH)
    assert check_account(agent, len(SHIFTS) * EACH) == []
    turns = times_of_turns(agent)
    times = [time for turn in turns for time in turn]
    assert times == sorted(times)
    for turn, end in ((1, 0), (2, 0), (3, 0), (5, 4)):
        assert turns[turn][-1] - turns[end][-1] <= WINDOW_NS
    assert 0 < turns[0][0] < turns[0][-1] < turns[4][0] < turns[4][-1]


def test_busy_emitter_tells_the_time_of_the_clock(ring: Ring) -> None:
    """Which it asks once a millisecond at most: between two answers it is 5 us off at the worst."""
    subscriber = ring.subscribe()
    asked = []
    for _ in range(100):
        for _ in range(EACH_LAP):
            before = time.time_ns()
            ring.emit(b"")
            asked.append((before, time.time_ns()))
        told = [record.ts_ns for record in subscriber.read(EACH_LAP)]
        for (before, after), ts_ns in zip(asked[-EACH_LAP:], told, strict=True):
            assert before - ERROR_NS <= ts_ns <= after + ERROR_NS
    assert asked[-1][1] - asked[0][0] > 10 * WINDOW_NS, "there were answers enough to go on from"
