"""`pipe`: a turn out of what comes in at standard input."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import threading
from pathlib import Path
from typing import IO

import pytest
from turns import DEADLINE_SECONDS, Agent, lines_of, started, wait_until

from ringbus.bus import Bus
from ringbus.events import TurnEnd, TurnStart
from ringbus.harness import pipe_turn


def piped(bus: Bus, data: bytes, tee: Path | None = None) -> int:
    """The status of a turn whose input is `data`."""
    ours, theirs = os.pipe()
    feeder = threading.Thread(target=write_all, args=(theirs, data))
    feeder.start()
    with os.fdopen(ours, "rb") as source:
        if tee is None:
            status = pipe_turn(bus, source)
        else:
            with tee.open("wb") as copy:
                status = pipe_turn(bus, source, tee=copy)
    feeder.join()
    return status


def write_all(handle: int, data: bytes) -> None:
    with os.fdopen(handle, "wb") as file:
        file.write(data)


def test_piped_turn_is_ok_at_the_end_of_its_input(agent: Agent, bus: Bus) -> None:
    """The lines of the input, between a start and an end."""
    assert piped(bus, b'{"a":1}\nlast') == 0
    events = agent.events()
    assert lines_of(events) == [b'{"a":1}', b"last"]
    assert (events[0], events[-1]) == (TurnStart("operator", ""), TurnEnd(ok=True))


def test_file_may_be_piped(agent: Agent, bus: Bus, tmp_path: Path) -> None:
    """The input need not be a pipe."""
    recording = tmp_path / "recording"
    recording.write_bytes(b"1\n2\n")
    with recording.open("rb") as source:
        assert pipe_turn(bus, source) == 0
    assert lines_of(agent.events()) == [b"1", b"2"]


def test_tee_copies_every_byte(agent: Agent, bus: Bus, tmp_path: Path) -> None:
    """The copy is the input, whatever its lines are."""
    data = b"\xff\x00\r\n" + b"x" * 300_000 + b"\nend"
    assert piped(bus, data, tmp_path / "copy") == 0
    assert (tmp_path / "copy").read_bytes() == data


def test_tee_whose_reader_has_gone_does_not_end_the_turn(agent: Agent, bus: Bus) -> None:
    """What is recorded does not depend on who looks at the copy."""
    ours, theirs = os.pipe()
    os.close(ours)
    with os.fdopen(theirs, "wb", buffering=0) as copy, io.FileIO(filled(b"1\n2\n"), "rb") as source:
        assert pipe_turn(bus, source, tee=copy) == 0
    assert lines_of(agent.events()) == [b"1", b"2"]


def filled(data: bytes) -> int:
    """The reading end of a pipe that holds `data` and no more."""
    ours, theirs = os.pipe()
    write_all(theirs, data)
    return ours


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_ends_a_piped_turn(agent: Agent, number: signal.Signals, status: int) -> None:
    """The turn is not ok, and keeps what had come."""
    with started("pipe", *agent.place, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(b"here\nunfinished")
        process.stdin.flush()
        wait_until(lambda: b"here" in lines_of(agent.events()), "the first line")
        process.send_signal(number)
        assert process.wait(DEADLINE_SECONDS) == status
    assert lines_of(agent.events()) == [b"here", b"unfinished"]
    assert agent.events()[-1] == TurnEnd(ok=False, note=f"ended by {number.name}")


def test_stuck_copy_does_not_keep_a_signal_from_ending_the_turn(agent: Agent) -> None:
    """Nobody reads the copy, and SIGTERM works."""
    with started("pipe", *agent.place, "--tee", stdin=subprocess.PIPE, bufsize=0) as process:
        assert process.stdin is not None
        feeder = threading.Thread(target=feed_until_closed, args=(process.stdin,))
        feeder.start()
        wait_until(lambda: len(agent.events()) > 1, "the first lines")
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_SECONDS) == 143
        feeder.join()


def feed_until_closed(pipe: IO[bytes]) -> None:
    with contextlib.suppress(BrokenPipeError):
        while True:
            pipe.write(b"line\n" * 1000)
