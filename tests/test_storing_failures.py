"""Storing while things fail: killed at each step, damaged, locked and deleted files, full disks."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from missing import go_without
from storing import (
    Serving,
    check_contiguous,
    emit_notes,
    gaps,
    has_gate,
    numbers,
    paused,
    persister_process,
    put,
    serving,
    stored,
    wait_stored,
)
from turns import Agent, fresh_agent, python, wait_until

from ringbus.bus import Bus
from ringbus.errors import BackPressure
from ringbus.events import Note
from ringbus.history import History, schema
from ringbus.persister import Persister
from ringbus.persister.agent import AgentPersister
from ringbus.ring import Ring

DIES = """
import os, signal, sys
from pathlib import Path
from ringbus.history import History, writing
from ringbus.persister import agent as module
from ringbus.ring.subscriber import Subscriber

agent, database, point, times = sys.argv[1:]
left = int(times)

def die(real, before):
    def call(*arguments):
        global left
        left -= 1
        if before and left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(*arguments)
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return call

module.Batch = lambda: real_batch(most_records=50)
from ringbus.ring.batch import Batch as real_batch
where = {
    "before the transaction": (History, "append_batch", True),
    "inside, before the rows": (writing, "store_batch", True),
    "inside, after the rows": (writing, "advance", True),
    "inside, before the commit": (writing, "record_gaps", False),
    "after the commit": (History, "append_batch", False),
    "after the gate moved": (Subscriber, "advance", False),
}
owner, name, before = where[point]
setattr(owner, name, die(getattr(owner, name), before))
module.AgentPersister(agent, Path(database)).run()
"""

POINTS = [
    "before the transaction",
    "inside, before the rows",
    "inside, after the rows",
    "inside, before the commit",
    "after the commit",
    "after the gate moved",
]


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("times", [1, 4])
def test_killed_at_each_step_of_a_batch(agent: Agent, bus: Bus, point: str, times: int) -> None:
    """Its successor stores each event once, though emitters went on as far as its gate let them."""
    emit_notes(bus, 500)
    died = subprocess.run(
        [*python(DIES), agent.name, str(agent.database), point, str(times)],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()
    emitted = emit_to_the_gate(agent, 500)
    with serving(agent):
        assert bus.wait_stored(60)
    items = stored(agent)
    check_contiguous(items, end=emitted)
    assert numbers(items) == list(range(emitted))


def emit_to_the_gate(agent: Agent, first: int) -> int:
    """Notes until the ring has no room before the gate; how many there are then."""
    number = first
    with Ring.open(agent.name, policy="fail") as ring:
        while True:
            try:
                put(ring, str(number))
            except BackPressure:
                return number
            number += 1


def test_power_cut_leaves_a_whole_prefix(agent: Agent, bus: Bus, tmp_path: Path) -> None:
    """The files as they are at any moment open clean, and hold all up to some event."""
    dice = random.Random(1)
    emitted = 0
    before = -1
    with persister_process(agent) as process:
        for moment in range(12):
            for _ in range(dice.randrange(1, 40)):
                emit_notes(bus, 10, first=emitted)
                emitted += 10
            copy = tmp_path / f"moment{moment}.sqlite"
            with paused(process.pid):
                for end in ("", "-wal"):
                    source = agent.database.with_name(agent.database.name + end)
                    if source.exists():
                        subprocess.run(["cp", source, copy.with_name(copy.name + end)], check=True)
            with closing(apsw.Connection(str(copy))) as db:
                assert db.pragma("integrity_check") == "ok"
            with History.open(copy, agent.name) as history:
                found = numbers(history.page(limit=100_000))
                following = history.next_seq(bus.epoch)
            assert found == list(range(len(found)))
            assert following == len(found) > before
            before = len(found) - 1
        assert bus.wait_stored(60)
    assert numbers(stored(agent)) == list(range(emitted))


def test_deleted_database_is_begun_anew(agent: Agent, bus: Bus) -> None:
    """With all that the ring still holds."""
    with serving(agent):
        emit_notes(bus, 50)
        assert bus.wait_stored(60)
        for end in ("", "-wal", "-shm"):
            agent.database.with_name(agent.database.name + end).unlink(missing_ok=True)
        emit_notes(bus, 50, first=50)
        wait_until(agent.database.exists, "a fresh database")
        wait_until(lambda: has_gate(agent.name), "the persister to store again")
        assert bus.wait_stored(60)
    items = stored(agent)
    check_contiguous(items, end=100)
    assert numbers(items) == list(range(100))


def test_full_disk_holds_nobody_up(agent: Agent, bus: Bus, tmp_path: Path) -> None:
    """Emitters run on; when there is room again, storing goes on, and the loss is a gap."""
    if os.geteuid() != 0:
        go_without("only root may mount a small disk")
    disk = agent.database.parent
    disk.mkdir(parents=True, exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        go_without(f"nothing may be mounted here: {mounted.stderr.decode()}")
    try:
        with serving(agent):
            emit_notes(bus, 10)
            assert bus.wait_stored(60)
            filler = disk / "filler"
            with filler.open("wb", buffering=0) as file:
                written = 1
                while written:
                    try:
                        written = file.write(bytes(4096))
                    except OSError:
                        break
            emitted = 10
            while has_gate(agent.name):  # until it is in want of room
                emit_notes(bus, 100, first=emitted)
                emitted += 100
                time.sleep(0.001)
            emit_notes(bus, 3000, first=emitted)
            emitted += 3000
            filler.unlink()
            wait_until(lambda: has_gate(agent.name), "the persister to store again")
            assert bus.wait_stored(60)
        items = stored(agent)
        check_contiguous(items, end=emitted)
        assert [gap.reason for gap in gaps(items)] == ["store-unavailable"]
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


# --- it cannot store ----------------------------------------------------------------------


def check_goes_on_after(
    agent: Agent,
    bus: Bus,
    running: Serving,
    break_it: Callable[[], object],
    mend_it: Callable[[], object],
) -> None:
    """Emits a whole ring and more while nothing can be stored; what is lost is a gap."""
    emit_notes(bus, 10)
    wait_stored(bus)
    break_it()
    bus.emit(Note("10"))  # makes it try
    wait_until(lambda: not has_gate(agent.name), "the persister to give up its gate")
    emit_notes(bus, 4989, first=11)
    mend_it()
    wait_until(lambda: has_gate(agent.name), "the persister to store again")
    wait_stored(bus)
    items = stored(agent)
    check_contiguous(items, end=5000)
    (gap,) = gaps(items)
    assert (gap.from_, gap.reason) == (10, "store-unavailable")
    assert running.outcome is None


def test_locked_database_holds_nobody_up(
    agent: Agent, bus: Bus, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody who never commits: emitters run on, and later there is a gap of the exact size."""
    monkeypatch.setattr(schema, "LOCK_SECONDS", 0)
    with serving(agent) as running:
        locker = apsw.Connection(str(agent.database))
        check_goes_on_after(
            agent,
            bus,
            running,
            lambda: locker.execute("BEGIN IMMEDIATE"),
            lambda: locker.execute("ROLLBACK"),
        )
        locker.close()
    unable, able = [record.message for record in caplog.records]
    assert f"cannot store: {agent.database}: database is locked" in unable
    assert able == f"{agent.name}: storing again"


def test_database_that_was_replaced_holds_nobody_up(agent: Agent, bus: Bus) -> None:
    """A folder in its place, and the file back again."""
    aside = agent.state / "aside"
    files = [agent.database.with_name(agent.database.name + end) for end in ("", "-wal", "-shm")]

    def break_it() -> None:
        aside.mkdir()
        for path in files:
            path.rename(aside / path.name)
        agent.database.mkdir()

    def mend_it() -> None:
        agent.database.rmdir()
        for path in files:
            if (aside / path.name).exists():
                (aside / path.name).rename(path)

    with serving(agent) as running:
        check_goes_on_after(agent, bus, running, break_it, mend_it)


def test_folder_that_cannot_be_made_is_tried_again(agent: Agent, bus: Bus) -> None:
    """A file stands where the state folder should be; once it is gone, all is stored."""
    agent.state.write_text("in the way")
    emit_notes(bus, 2500)
    with Serving(AgentPersister(agent.name, agent.database)) as running:
        wait_until(lambda: running.persister._unable, "the persister to find out")
        agent.state.unlink()
        wait_until(lambda: has_gate(agent.name), "the gate of the persister")
        wait_stored(bus)
    items = stored(agent)
    check_contiguous(items, end=2500)
    assert [gap.reason for gap in gaps(items)] == ["store-unavailable"]


def test_one_agents_broken_history_does_not_hold_up_another(agent: Agent, tmp_path: Path) -> None:
    """Each has a thread of its own."""
    with fresh_agent(agent.state) as other, agent.bus(), other.bus() as bus:
        agent.database.mkdir(parents=True)
        persister = Persister([agent.name, other.name], agent.state)
        thread = threading.Thread(target=persister.run)
        thread.start()
        try:
            wait_until(lambda: has_gate(other.name), "the other's gate")
            emit_notes(bus, 10)
            wait_stored(bus)
        finally:
            persister.stop()
            thread.join()
        assert numbers(stored(other)) == list(range(10))
        agent.database.rmdir()
