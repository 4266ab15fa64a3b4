"""Another user's agent: what the commands and the Bus do for one who may only read its ring."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers import Child
from others import become_other, need_root

# All that a child may need: the other user may not be able to read the interpreter's files.
import ringbus.persister
import ringbus.web.rings
from ringbus import Bus, Note, NotPermitted, Ring
from ringbus.agents import agent_rings, agents
from ringbus.cli import cli
from ringbus.errors import HistoryError
from ringbus.history import History
from ringbus.removal import remove_agent

NAME = f"test-theirs-{os.getpid()}"


@pytest.fixture(scope="module")
def theirs() -> Iterator[Path]:
    """The state folder of an agent NAME, three events stored, that all may read."""
    need_root()
    with tempfile.TemporaryDirectory() as folder:  # not pytest's own, which is for one user
        state = Path(folder)
        state.chmod(0o755)
        with Bus(NAME, size=64 << 10, mode=0o644, state=state) as bus:
            bus.emit_many([Note(f"note {number}") for number in range(3)])
            assert bus.wait_stored(20)
            yield state
        remove_agent(NAME, state, purge=True)


def as_other(function: Callable[[], None]) -> None:
    """Runs it in a process of another user, whose home is nowhere."""

    def run(_: Child) -> None:
        become_other()
        function()

    with Child(run) as child:
        child.finish()


def command(*arguments: str) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of a command."""
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


def test_commands_that_read_work(theirs: Path) -> None:
    """The ring says where its history is; nothing is written anywhere."""

    def use() -> None:
        for verb in ("tail", "history"):
            end = ["--no-follow"] if verb == "tail" else []
            status, out, _ = command(verb, "--agent", NAME, *end)
            assert (status, [line[-6:] for line in out.splitlines()]) == (
                0,
                ["note 0", "note 1", "note 2"],
            )
        status, out, _ = command("stats", NAME)
        assert status == 0
        assert "3, of which 3 are kept" in out
        assert NAME in command("ls")[1]
        assert NAME in agents(theirs)
        stats = ringbus.web.rings.ring_stats(NAME)
        assert stats is not None
        assert stats.tail == 3

    as_other(use)


def test_commands_that_write_are_refused(theirs: Path) -> None:
    """Each names the ring and what it lacks; the ring and its history stay."""

    def use() -> None:
        for arguments, why in (
            (["emit", "--agent", NAME, "hello"], "is read-only for user"),
            (["persist", "--agent", NAME], "is read-only for user"),
            (["rm", NAME], "may not be removed by user"),
            (["rm", NAME, "--purge"], "may not be removed by user"),
        ):
            status, _, err = command(*arguments)
            assert status == 1, arguments
            assert f"'{NAME}' {why}" in err, arguments
            assert "mode 0644" in err
        assert NAME not in command("gc", "--force")[1]

    as_other(use)
    with Ring.open(NAME, observer=True) as ring:
        assert ring.tail == 3
    assert (theirs / f"{NAME}.sqlite").exists()


def test_bus_reads_and_does_not_emit(theirs: Path) -> None:
    """It starts no persister and takes the history that the ring names."""

    def use() -> None:
        with Bus(NAME) as bus:
            assert [item.event for item in bus.history()] == [Note(f"note {n}") for n in range(3)]
            assert next(bus.follow(last=1)).event == Note("note 2")  # type: ignore[union-attr]
            live = bus.subscribe()
            with pytest.raises(NotPermitted, match="is read-only for user"):
                bus.emit(Note("mine"))
            assert (live.lag, live.missed) == (0, 0)

    as_other(use)


def test_history_in_a_closed_folder_is_told_and_the_ring_goes_on(
    theirs: Path, caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest
) -> None:
    """One warning with the path; what the ring holds is shown."""
    theirs.chmod(0o700)
    request.addfinalizer(lambda: theirs.chmod(0o755))

    def use() -> None:
        with Bus(NAME) as bus:
            assert len(bus.history()) == 3
            follow = bus.follow()
            assert [next(follow).event for _ in range(3)] == [  # type: ignore[union-attr]
                Note(f"note {n}") for n in range(3)
            ]
        assert f"{theirs / NAME}.sqlite" in caplog.text
        assert "Permission denied" in caplog.text
        with pytest.raises(HistoryError, match="Permission denied"):
            History.open(theirs / f"{NAME}.sqlite", NAME)

    as_other(use)


def test_persister_of_all_agents_leaves_those_of_others_alone(theirs: Path, tmp_path: Path) -> None:
    """They are shown, not stored; a persister for all does not try again and again."""

    def use() -> None:
        assert NAME in agent_rings()
        persister = ringbus.persister.Persister(None, tmp_path / "mine")
        persister._start_new()
        assert NAME not in persister._running
        persister.stop()
        persister.run()

    as_other(use)
