"""One turn: what a program prints, in order and unchanged, and how it ended."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from turns import Agent, is_alive, lines_of, python, shell

from ringbus.bus import Bus
from ringbus.errors import RingNotFound, RingUnlinked
from ringbus.events import Note, Stream, TurnEnd, TurnStart
from ringbus.harness import run_turn
from ringbus.history import lines_folder
from ringbus.removal import remove_agent
from ringbus.ring import Ring


@pytest.fixture
def bus(agent: Agent) -> Iterator[Bus]:
    with agent.bus() as bus, agent.persisted():
        yield bus


# --- what a turn consists of --------------------------------------------------------------


def test_turn_is_start_lines_exit_note_and_end(agent: Agent, bus: Bus) -> None:
    """A turn that goes well has these events and no others."""
    code = """echo '{"type":"x"}'; echo plain"""
    assert run_turn(bus, shell(code), from_="alice", body="go", unread=2) == 0
    start, data, text, exited, end = agent.events()
    assert start == TurnStart("alice", "go", 2)
    assert data == Stream(b'{"type":"x"}')
    assert isinstance(text, Note)
    assert (text.text, text.source) == ("plain", "stdout")
    assert exited == Note("sh exited 0")
    assert end == TurnEnd(ok=True)


def test_lines_keep_their_order_and_their_bytes(agent: Agent, bus: Bus) -> None:
    """What comes out of stdout comes out of the ring: each line once, in order, unchanged."""
    code = 'for n in range(20000): print(\'{"n": %d, "z": "%s"}\' % (n, \'x\' * (n % 90)))'
    assert run_turn(bus, python(code)) == 0
    expected = [b'{"n": %d, "z": "%s"}' % (n, b"x" * (n % 90)) for n in range(20000)]
    assert lines_of(agent.events()) == expected


def test_stderr_becomes_notes_though_it_is_json(agent: Agent, bus: Bus) -> None:
    """Lines on stderr are notes of exactly their text."""
    run_turn(bus, shell("echo '{\"a\": 1}' >&2; echo trouble >&2"))
    assert lines_of(agent.events(), "stderr") == [b'{"a": 1}', b"trouble"]


@pytest.mark.parametrize("ending", ["", "\n"])
def test_last_line_needs_no_newline(agent: Agent, bus: Bus, ending: str) -> None:
    """The last line counts with a newline and without one, and is one line either way."""
    run_turn(bus, ["printf", "%s", f"one\ntwo{ending}"])
    assert lines_of(agent.events()) == [b"one", b"two"]


@pytest.mark.parametrize(
    "line",
    [b"\xff\xfe broken", b"a\x00b", b"", b"caf\xc3\xa9", b"text\r", b"\xe2\x80\xa8", b"  text "],
    ids=["not-utf8", "nul", "blank", "utf8", "cr", "line-separator", "spaces"],
)
def test_odd_lines_come_through_whole(agent: Agent, bus: Bus, line: bytes) -> None:
    """A line that is not JSON is a note of exactly its bytes."""
    run_turn(bus, python(f"import sys; sys.stdout.buffer.write({line!r} + b'\\n')"))
    assert lines_of(agent.events()) == [line]


def test_carriage_return_after_json_is_white_space(agent: Agent, bus: Bus) -> None:
    """JSON lines that end in CRLF are JSON."""
    run_turn(bus, ["printf", '{"a":1}\\r\\n'])
    assert Stream(b'{"a":1}') in agent.events()


def test_burst_and_trickle_give_the_same_lines(agent: Agent, bus: Bus) -> None:
    """Where the pieces of a stream are cut makes no difference."""
    code = """
import sys
for byte in b'{"a":1}\\nplain\\n' * 50: sys.stdout.buffer.write(bytes([byte])); sys.stdout.flush()
"""
    run_turn(bus, python(code))
    assert lines_of(agent.events()) == [b'{"a":1}', b"plain"] * 50


# --- partial messages ---------------------------------------------------------------------

PARTIAL = '{"type":"stream_event","event":{"type":"ping"}}'


@pytest.mark.parametrize("keep_partial", [False, True])
def test_partial_messages_are_transient_unless_kept(
    agent: Agent, bus: Bus, keep_partial: bool
) -> None:
    """Deltas go to those who watch, and to the history only when asked."""
    with bus.subscribe() as watching:
        run_turn(bus, ["echo", PARTIAL], keep_partial=keep_partial)
        _, partial = itertools.islice(watching, 2)
    assert partial.event == Stream(PARTIAL.encode())
    assert partial.transient is not keep_partial


# --- long lines ---------------------------------------------------------------------------


def test_line_of_ten_megabytes_is_kept_in_a_file(agent: Agent, bus: Bus) -> None:
    """A line longer than a record is a note with its head, its size and the file of all of it."""
    code = "print('é' * 5_000_000); print('next')"
    assert run_turn(bus, python(code)) == 0
    note = agent.events()[1]
    assert isinstance(note, Note)
    assert note.file is not None
    file = Path(note.file)
    assert note.size == 10_000_000
    assert note.reason == "line of 10000000 bytes is longer than a record"
    assert note.text == "é" * (32 << 10)
    assert file.read_bytes() == "é".encode() * 5_000_000
    assert lines_of(agent.events())[1] == b"next"
    assert file.parent == lines_folder(agent.database)
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700


def test_head_is_cut_between_characters(agent: Agent, bus: Bus) -> None:
    """A character on the edge of the head is left out whole."""
    run_turn(bus, python("print('x' + 'é' * 5_000_000)"))
    note = agent.events()[1]
    assert isinstance(note, Note)
    assert note.text == "x" + "é" * ((32 << 10) - 1)


def test_long_line_without_newline_at_the_end(agent: Agent, bus: Bus) -> None:
    """The file of a last line that nobody ended is whole."""
    run_turn(bus, python("import sys; sys.stdout.write('x' * 3_000_000)"))
    note = agent.events()[1]
    assert isinstance(note, Note)
    assert note.file is not None
    assert (note.size, Path(note.file).stat().st_size) == (3_000_000, 3_000_000)


def test_line_that_only_its_note_is_too_long_for_is_kept_in_a_file(agent: Agent) -> None:
    """Bytes that JSON must escape can make a short line too long for a record."""
    with agent.bus(size=64 << 10) as bus, agent.persisted():
        run_turn(bus, python("import sys; sys.stdout.buffer.write(b'\\x00' * 15000 + b'\\n')"))
        note = agent.events()[1]
    assert isinstance(note, Note)
    assert note.file is not None
    assert Path(note.file).read_bytes() == bytes(15000)
    assert note.text
    assert set(note.text) == {"\x00"}


def test_long_line_that_cannot_be_kept_is_still_told_of(agent: Agent, bus: Bus) -> None:
    """Where no file can be written the note says so, and the turn goes on."""
    folder = lines_folder(agent.database)
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("in the way")
    assert run_turn(bus, python("print('x' * 3_000_000); print('next')")) == 0
    note, following = agent.events()[1:3]
    assert isinstance(note, Note)
    assert (note.size, note.file) == (3_000_000, None)
    assert "could not be kept whole" in str(note.reason)
    assert lines_of([following]) == [b"next"]


# --- how a program starts and ends --------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "status", "said", "note"),
    [
        ("exit 3", 3, "sh exited 3", "exit status 3"),
        ("kill -SEGV $$", 139, "sh killed by SIGSEGV", "killed by SIGSEGV"),
        ("kill -KILL $$", 137, "sh killed by SIGKILL", "killed by SIGKILL"),
    ],
)
def test_bad_end_is_told_and_returned(
    agent: Agent, bus: Bus, code: str, status: int, said: str, note: str
) -> None:
    """The status is the program's, or 128+n after a signal, and the turn is not ok."""
    assert run_turn(bus, shell(code)) == status
    assert agent.events()[-2:] == [Note(said), TurnEnd(ok=False, note=note)]


def test_name_in_the_exit_note_is_without_its_folder(agent: Agent, bus: Bus) -> None:
    """The note names the program as people call it."""
    run_turn(bus, ["/bin/sh", "-c", "exit 0"])
    assert Note("sh exited 0") in agent.events()


@pytest.mark.parametrize(("mode", "status"), [(None, 127), (0o644, 126)])
def test_program_that_cannot_start_ends_its_turn(
    agent: Agent, bus: Bus, tmp_path: Path, mode: int | None, status: int
) -> None:
    """A missing program is status 127 and one that may not run 126, as in a shell."""
    program = tmp_path / "program"
    if mode is not None:
        program.write_text("#!/bin/sh\n")
        program.chmod(mode)
    assert run_turn(bus, [str(program)]) == status
    start, end = agent.events()
    assert isinstance(start, TurnStart)
    assert isinstance(end, TurnEnd)
    assert not end.ok
    assert str(end.note).startswith(f"cannot start {program}: ")


def test_grandchild_that_holds_stdout_does_not_hold_the_turn(agent: Agent, bus: Bus) -> None:
    """Reading stops soon after the exit; what was printed by then is there."""
    keeper = agent.state / "pid"
    agent.state.mkdir(exist_ok=True)
    assert run_turn(bus, shell(f"sleep 60 & echo $! > '{keeper}'; echo done")) == 0
    pid = int(keeper.read_text())
    try:
        assert lines_of(agent.events()) == [b"done"]
        assert is_alive(pid)
    finally:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
def test_grandchild_that_never_stops_printing_does_not_hold_the_turn(
    agent: Agent, bus: Bus
) -> None:
    """The pipe is never empty, and the turn ends all the same."""
    agent.state.mkdir(exist_ok=True)
    keeper = agent.state / "pid"
    code = f"exec 3>&1; sh -c 'while echo y; do :; done >&3' & echo $! > '{keeper}'"
    try:
        assert run_turn(bus, shell(code)) == 0
        assert isinstance(agent.events()[-1], TurnEnd)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(keeper.read_text()), signal.SIGKILL)


def test_program_that_closes_its_streams_early_is_waited_for(agent: Agent, bus: Bus) -> None:
    """The end of the streams is not the end of the program."""
    assert run_turn(bus, shell("exec >&- 2>&-; sleep 0.2; exit 7")) == 7


# --- the message --------------------------------------------------------------------------


def test_body_is_on_stdin(agent: Agent, bus: Bus) -> None:
    """The program reads the message, in UTF-8, and then the end of the input."""
    run_turn(bus, ["cat"], body="grüße\nzwei")
    assert lines_of(agent.events()) == ["grüße".encode(), b"zwei"]


def test_without_body_stdin_is_empty(agent: Agent, bus: Bus) -> None:
    """A program that reads finds the end at once; ours is not touched."""
    assert run_turn(bus, ["cat"]) == 0
    assert lines_of(agent.events()) == []


@pytest.mark.parametrize("code", ["exec <&-; sleep 0.1", "sleep 0.1", "head -c 10 >&2"])
def test_program_need_not_read_its_body(agent: Agent, bus: Bus, code: str) -> None:
    """More than a pipe holds, and a program that takes none or little of it: nothing hangs."""
    assert run_turn(bus, shell(code), body="x" * 500_000) == 0


def test_body_and_output_flow_at_the_same_time(agent: Agent, bus: Bus) -> None:
    """A program that answers while it reads needs more room than both pipes have."""
    body = "\n".join(f"line {n}" for n in range(100_000))
    assert run_turn(bus, ["cat"], body=body) == 0
    assert len(lines_of(agent.events())) > 0


def test_body_longer_than_a_record_is_shortened_in_the_start_alone(agent: Agent) -> None:
    """The program gets all of it."""
    with agent.bus(size=64 << 10) as bus, agent.persisted():
        run_turn(bus, ["wc", "-c"], body="x" * 100_000)
        start, counted = agent.events()[:2]
    assert isinstance(start, TurnStart)
    assert start.body.endswith("x\n[shortened]")
    assert lines_of([counted]) == [b"100000"]


# --- a ring that refuses ------------------------------------------------------------------


def test_removed_ring_does_not_stop_the_program(
    agent: Agent, bus: Bus, capfd: pytest.CaptureFixture[str]
) -> None:
    """The program runs to its end and its output is drained; we say so once, and fail."""
    done = agent.state / "done"
    code = f"""
import pathlib
from ringbus.removal import remove_agent
remove_agent({agent.name!r}, pathlib.Path({str(agent.state)!r}), purge=False)
for n in range(100_000): print(n)
pathlib.Path({str(done)!r}).touch()
"""
    assert run_turn(bus, python(code)) == 1
    assert done.exists()
    assert capfd.readouterr().err.count("goes on without being recorded") == 1


def test_turn_on_a_removed_ring_does_not_begin(agent: Agent) -> None:
    """Without a TurnStart no program is started."""
    made = agent.state / "made"
    with agent.bus() as bus:
        remove_agent(agent.name, agent.state, purge=False)
        with pytest.raises((RingNotFound, RingUnlinked)):
            run_turn(bus, ["touch", str(made)])
    assert not made.exists()


def test_full_ring_under_policy_fail_does_not_stop_the_program(
    agent: Agent, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Lines that find no room are counted; the program runs to its end, and we fail."""
    monkeypatch.setattr("ringbus.harness.streams.TURN_END_SECONDS", 0.1)
    monkeypatch.setattr("ringbus.harness.STORE_SECONDS", 0.1)
    done = agent.state / "done"
    agent.state.mkdir()
    with agent.bus(size=64 << 10, policy="fail") as bus, Ring.open(agent.name) as ring:
        with ring.subscribe(gate="stopped"):
            assert run_turn(bus, shell(f"seq 100000; echo > '{done}'")) == 1
        assert done.exists()
        assert bus.emit(Note("there is room again")) > 0
    said = capfd.readouterr().err
    assert said.count("goes on without being recorded") == 1
    assert "records of this turn were not published" in said
