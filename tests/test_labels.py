"""What people are told of rings: who is in the way, and nothing that a label smuggles in."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import Child, fill_to_the_gate

from ringbus import BackPressure, GateTaken, Ring, RingExists, RingNotFound, list_rings

HOSTILE = "evil\x1b[2J\x9b31m\r\nfake\trow\u202edrawkcab"
MARKUP = "[bold]loud[/] [/red] :bomb:"
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]")


def ringbus(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        [sys.executable, "-m", "ringbus", *arguments],
        cwd=Path(__file__).parent.parent,
        text=True,
        check=False,
        **options,
    )


@pytest.fixture
def gated(ring: Ring) -> Iterator[Ring]:
    """A ring with two gates whose names are written to do harm."""
    with ring.subscribe(gate=HOSTILE), ring.subscribe(gate=MARKUP):
        ring.emit(b"x")
        yield ring


@pytest.mark.parametrize("verb", ["stats", "ls"])
def test_control_characters_of_gate_names_do_not_get_through(gated: Ring, verb: str) -> None:
    """One line for each gate, and what it says is in its own cell."""
    arguments = [verb, gated.name] if verb == "stats" else [verb]
    run = ringbus(*arguments, capture_output=True)
    assert run.returncode == 0
    assert CONTROLS.search(run.stdout) is None
    (line,) = [line for line in run.stdout.splitlines() if "evil" in line]
    assert "evil [2J 31m fake row drawkcab" in line
    assert MARKUP in run.stdout


def test_table_on_a_terminal_takes_names_as_they_are(gated: Ring) -> None:
    """Neither as escape sequences nor as markup; markup that does not fit does not break it."""
    master, slave = os.openpty()
    try:
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "200"}
        run = ringbus("stats", gated.name, stdout=slave, stderr=subprocess.PIPE, env=environment)
        assert (run.returncode, run.stderr) == (0, "")
        shown = os.read(master, 1 << 16).decode()
    finally:
        os.close(master)
        os.close(slave)
    assert MARKUP in shown
    assert "\x1b[2J" not in shown
    assert "\x9b" not in shown
    assert "\u202e" not in shown


@pytest.mark.parametrize("bad", ["\x1b[31mred", "a b", ".hidden", "~"])
def test_file_with_a_name_of_no_ring_is_left_out(ring: Ring, bad: str) -> None:
    """Anybody may make such a file; the lists go on without it."""
    path = Path(f"/dev/shm/ringbus.{bad}")
    path.write_bytes(b"")
    try:
        assert bad not in list_rings()
        run = ringbus("ls", capture_output=True)
        assert run.returncode == 0
        assert ring.name in run.stdout
        assert CONTROLS.search(run.stdout + run.stderr) is None
    finally:
        path.unlink()


def test_back_pressure_names_gate_holder_lag_time_and_remedy(ring: Ring) -> None:
    """Whoever reads it knows whom to look at, and what to do."""

    def hold(child: Child) -> None:
        with Ring.open(ring.name) as mine, mine.subscribe(gate="slow\x1b[2J"):
            child.say("ready")
            child.hear()

    with Child(hold) as child, Ring.open(ring.name, policy="fail") as mine:
        child.said()
        tail = fill_to_the_gate(ring)
        for state in ("", ", which is dead"):
            with pytest.raises(BackPressure) as caught:
                mine.emit(bytes(500))
            assert re.fullmatch(
                rf"gate 'slow\\x1b\[2J' of ring '{ring.name}' is {tail} records behind, a whole "
                rf"ring \(process {child.pid}{state}; it last moved \d+\.\d s ago\); nothing was "
                r"published: .*policy=\"drop\" or a larger size",
                str(caught.value),
            )
            child.kill()


def test_stats_tell_who_gates_and_how_far_behind(ring: Ring) -> None:
    """Of the living and of the dead."""

    def hold(child: Child) -> None:
        with Ring.open(ring.name) as mine, mine.subscribe(gate="gone"):
            child.say("ready")
            child.hear()

    with Child(hold) as child, ring.subscribe(gate="here") as here:
        child.said()
        child.kill()
        ring.emit_many([b"x"] * 7)
        here.advance(4)
        rows = [
            line.split("\t")
            for line in ringbus("stats", ring.name, capture_output=True).stdout.splitlines()
        ]
        assert ["GATE", "PID", "STATE", "LAG", "CURSOR", "LAST MOVED", "SINCE"] in rows
        found = {row[0]: row[1:5] for row in rows if row[0] in {"gone", "here"}}
        assert found == {
            "gone": [str(child.pid), "dead", "7", "0"],
            "here": [str(os.getpid()), "alive", "3", "4"],
        }


def test_refusals_say_what_to_do(ring: Ring) -> None:
    """Each names the ring and the next step."""
    with pytest.raises(RingNotFound, match="'no-such' on this machine; `ringbus ls` lists"):
        Ring.open("no-such")
    with pytest.raises(RingExists, match=f"'{ring.name}' exists.*`ringbus rm {ring.name}`"):
        Ring.create(ring.name)
    with (
        ring.subscribe(gate="g"),
        pytest.raises(GateTaken, match=f"'g' of ring.*`ringbus stats {ring.name}`"),
    ):
        ring.subscribe(gate="g")
