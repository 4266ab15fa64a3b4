"""One persister stores an agent: others end, wait or take over, and nothing is lost."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from storing import (
    SMALL,
    Emitting,
    Serving,
    check_account,
    check_contiguous,
    emit_notes,
    gaps,
    has_gate,
    paused,
    persister_pid,
    persister_process,
    put,
    rows_by_id,
    serving,
    stored,
    wait_stored,
)
from turns import DEADLINE_SECONDS, Agent, is_alive, ringbus, started, wait_until
from workers import acknowledged, all_ended, text_of, worker

from ringbus.bus import Bus
from ringbus.events import Envelope, Note
from ringbus.history import History
from ringbus.persister import agent as agent_persister
from ringbus.persister.agent import AgentPersister, Outcome
from ringbus.ring import Ring
from ringbus.ring.stalls import Stall

# --- beside each other ----------------------------------------------------------------------


def test_second_persister_says_so_and_ends(agent: Agent, bus: Bus) -> None:
    """Exit status 1, with a line that tells the remedy."""
    with serving(agent):
        second = ringbus("persist", *agent.place)
    assert second.returncode == 1
    assert f"another persister serves {agent.name}" in second.stderr.decode()
    assert "--wait" in second.stderr.decode()


def test_waiting_persister_follows_one_that_ends(
    agent: Agent, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `wait` it takes the lock when it is free."""
    monkeypatch.setattr(agent_persister, "PATIENCE", 0.0)
    with serving(agent) as first:
        emit_notes(bus, 10)
        with Serving(AgentPersister(agent.name, agent.database, wait=True)):
            first.persister.stop()
            first.join()
            emit_notes(bus, 10, first=10)
            wait_stored(bus)
    assert check_account(agent, 20) == []


def test_explicit_persister_takes_over_from_an_automatic_one_under_load(
    agent: Agent, bus: Bus
) -> None:
    """No gap and no double between the two."""
    with serving(agent, automatic=True) as first, Emitting(bus, limit=20_000) as emitting:
        emitting.wait_for(3000)
        with serving(agent):
            first.join()
            emitting.join()
            wait_stored(bus)
    assert first.outcome is Outcome.HANDED_OVER
    assert check_account(agent, 20_000) == []


def test_explicit_persister_is_not_taken_over(agent: Agent, bus: Bus) -> None:
    """Neither by another of its kind nor by an automatic one."""
    with serving(agent) as first:
        for automatic in (True, False):
            second = AgentPersister(agent.name, agent.database, automatic=automatic)
            assert second.run() is Outcome.TAKEN
        assert first.outcome is None


def test_ring_is_stored_in_one_database(agent: Agent, bus: Bus) -> None:
    """A persister with another file ends, and leaves no trace of the ring in it."""
    other = agent.state / "other.sqlite"
    with serving(agent):
        assert AgentPersister(agent.name, other).run() is Outcome.TAKEN
        with Ring.open(agent.name, observer=True) as ring:
            database = ring.database()
    assert database is not None
    assert database.path == str(agent.database)
    with History.open(other, agent.name) as history:
        assert history.epochs() == []


def test_several_started_at_once_under_load(agent: Agent) -> None:
    """One of them stores; the others end with status 1, and say which process it is."""
    with agent.bus() as bus, Emitting(bus, limit=20_000) as emitting, ExitStack() as stack:
        running = [stack.enter_context(started("persist", *agent.place)) for _ in range(5)]
        wait_until(lambda: has_gate(agent.name), "a persister")
        wait_until(lambda: sum(each.poll() is None for each in running) == 1, "four ends")
        winner = persister_pid(agent.name)
        losers = [each for each in running if each.pid != winner]
        for loser in losers:
            told = loser.communicate()[1].decode()
            assert loser.returncode == 1, told
            assert f"process {winner}" in told
        emitting.join()
        wait_stored(bus)
    assert len(losers) == 4
    assert check_account(agent, 20_000) == []


def test_several_that_wait_follow_each_other_as_they_are_killed(agent: Agent, bus: Bus) -> None:
    """Under load: each goes on where the last one died."""
    with ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(started("persist", *agent.place, "--wait"))
        wait_until(lambda: has_gate(agent.name), "a persister")
        emitting = stack.enter_context(Emitting(bus))
        killed: set[int] = set()
        for _ in range(3):
            wait_until(lambda: has_gate(agent.name), "a persister")
            emitting.wait_for(emitting.emitted + 2000)
            victim = persister_pid(agent.name)
            os.kill(victim, signal.SIGKILL)
            killed.add(victim)
            wait_until(lambda victim=victim: is_served_by_another(agent, victim), "the next one")
        emitting.wait_for(emitting.emitted + 2000)
        emitting.stop()
        wait_stored(bus)
    assert len(killed) == 3
    assert check_account(agent, emitting.emitted) == []


def is_served_by_another(agent: Agent, than: int) -> bool:
    return has_gate(agent.name) and persister_pid(agent.name) != than


# --- `ringbus up` -------------------------------------------------------------------------


@pytest.mark.slow
def test_up_takes_over_from_an_automatic_one_under_load(agent: Agent, tmp_path: Path) -> None:
    """Real processes: three emitters, and the persister that the first Bus has started."""
    each = 40_000
    files = [tmp_path / f"acknowledged-{number}" for number in range(3)]
    with Bus(agent.name, state=agent.state, size=4 * SMALL) as bus:
        automatic = persister_pid(agent.name)
        running = [
            worker("emit", agent.name, agent.state, number, each, file)
            for number, file in enumerate(files)
        ]
        with all_ended(running), started("up", *agent.place, "--port", "0") as supervisor:
            assert supervisor.stdout is not None
            assert supervisor.stdout.readline().startswith(b"http://")
            wait_until(lambda: is_served_by_another(agent, automatic), "the take-over")
            assert any(process.poll() is None for process in running), "under load"
            assert parent_of(persister_pid(agent.name)) == supervisor.pid
            assert [process.wait() for process in running] == [0, 0, 0]
            wait_stored(bus)
            supervisor.send_signal(signal.SIGINT)
            assert supervisor.wait(DEADLINE_SECONDS) == 0
        wait_until(lambda: not is_alive(automatic), "the end of the automatic one")
    items = stored(agent)
    check_contiguous(items, end=3 * each)
    assert gaps(items) == []
    events = [item.event for item in items if isinstance(item, Envelope)]
    for number, file in enumerate(files):
        for seq, count in acknowledged(file):
            assert events[seq] == Note(text_of(number, count))
    rows_by_id(agent)


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


# --- beside one that is stopped -----------------------------------------------------------


@contextmanager
def writing(path: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """The command; what it says goes to the file."""
    with path.open("wb") as file, started(*arguments, stderr=file) as process:
        yield process


def says(path: Path, *words: str) -> bool:
    said = path.read_text()
    return all(word in said for word in words)


def emit_and_count_stalls(agent: Agent, first: int, count: int) -> list[str]:
    """The gates that were pushed on after a wait, by an emitter that waits a tenth of a second."""
    told: list[Stall] = []
    with Ring.open(agent.name, policy="block", limit=0.1, on_stall=told.append) as ring:
        for number in range(first, first + count):
            put(ring, str(number))
    return [stall.gate for stall in told if not stall.dead]


@pytest.mark.parametrize("verb", [("persist",), ("up", "--port", "0")])
def test_successor_of_a_stopped_persister_says_who_it_is_and_what_to_do(
    agent: Agent, bus: Bus, tmp_path: Path, verb: tuple[str, ...]
) -> None:
    """It is an automatic one. Emitters wait once, and all is told when it goes on."""
    words = tmp_path / "said"
    with ExitStack() as stack:
        holder = stack.enter_context(persister_process(agent, "--automatic"))
        emit_notes(bus, 10)
        wait_stored(bus)
        with paused(holder.pid):
            stack.enter_context(writing(words, *verb, *agent.place))
            pid = str(holder.pid)
            wait_until(
                lambda: says(words, f"process {pid}", "stopped", f"kill -CONT {pid}"), "the advice"
            )
            stalls = emit_and_count_stalls(agent, 10, 5000)
            assert stalls == ["history"], "once, and for nobody else"
        wait_until(lambda: is_served_by_another(agent, holder.pid), "the take-over")
        assert holder.wait(DEADLINE_SECONDS) == 0
        emit_notes(bus, 10, first=5010)
        wait_stored(bus)
    (gap,) = check_account(agent, 5020)
    assert (gap.from_, gap.reason) == (10, "lapped")
    assert says(words, agent.name)
    assert words.read_text().count("kill -CONT") == 1


def test_stopped_persister_that_is_killed_makes_room(
    agent: Agent, bus: Bus, tmp_path: Path
) -> None:
    """As the one that waits has advised; nothing is missing if it is done in time."""
    words = tmp_path / "said"
    with ExitStack() as stack:
        holder = stack.enter_context(persister_process(agent))
        emit_notes(bus, 10)
        wait_stored(bus)
        with paused(holder.pid):
            stack.enter_context(writing(words, "persist", *agent.place, "--wait"))
            wait_until(lambda: says(words, f"kill -9 {holder.pid}"), "the advice")
            emit_notes(bus, 100, first=10)
            os.kill(holder.pid, signal.SIGKILL)
        wait_until(lambda: is_served_by_another(agent, holder.pid), "the take-over")
        wait_stored(bus)
    assert check_account(agent, 110) == []


def test_persister_beside_a_stopped_one_ends_and_says_who_that_is(agent: Agent, bus: Bus) -> None:
    """It was started by hand, so it gives way to nobody."""
    with persister_process(agent) as holder:
        with paused(holder.pid):
            second = ringbus("persist", *agent.place)
            emit_notes(bus, 10)
        wait_stored(bus)
    told = second.stderr.decode()
    assert second.returncode == 1
    assert f"process {holder.pid}, which is stopped" in told
    assert f"kill -CONT {holder.pid}" in told
    assert check_account(agent, 10) == []
