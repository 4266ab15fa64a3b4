"""Storing by persisters that are killed, and through power cuts: every event once, or a gap."""

from __future__ import annotations

import itertools
import os
import random
import signal
import struct
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import apsw
import pytest
from helpers import Child
from storing import (
    SMALL,
    Emitting,
    check_account,
    check_contiguous,
    check_ids_kept,
    die_at,
    emit_notes,
    emit_to_the_gate,
    gaps,
    has_gate,
    numbers,
    paused,
    persister_process,
    put,
    rows_by_id,
    serving,
    store_all,
    stored,
    wait_stored,
)
from turns import Agent, python, started, wait_until
from workers import acknowledged, all_ended, text_of, worker

from ringbus.bus import Bus
from ringbus.events import Envelope, Gap, Note
from ringbus.history import History
from ringbus.ring import Ring, unlink

# --- killed -------------------------------------------------------------------------------

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
    before = rows_by_id(agent)
    emitted = emit_to_the_gate(agent, 500)
    with serving(agent):
        assert bus.wait_stored(60)
    assert check_account(agent, emitted) == []
    check_ids_kept(before, rows_by_id(agent))


def test_killed_at_any_line(agent: Agent, bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the persister and the history: begun, a loss told, batches, sweeps, and its end.

    Each successor goes on where the last one died. Meanwhile the ring is lapped at times.
    """
    monkeypatch.setenv("RINGBUS_HISTORY", "500")
    seed = random.randrange(1 << 32)
    print("seed", seed)
    dice = random.Random(seed)
    emitted = 0
    before: dict[int, str] = {}
    with Ring.open(agent.name, policy="drop") as ring:
        for _ in range(60):
            for _ in range(dice.choice([30, 100, 1500])):
                put(ring, str(emitted))
                emitted += 1

            def run(
                child: Child, step: int = dice.randrange(1, dice.choice([500, 900, 4000]))
            ) -> None:
                die_at(step)
                store_all(agent)

            with Child(run) as child:
                child.end()
            if agent.database.exists():
                before = check_prefix(agent, bus.epoch, before)
    store_all(agent)
    check_prefix(agent, bus.epoch, before)
    assert {gap.reason for gap in check_account(agent, emitted)} == {"lapped", "retention"}


def check_prefix(agent: Agent, epoch: str, before: dict[int, str]) -> dict[int, str]:
    """All below what is said to be stored is accounted for, nothing above is there."""
    with History.open(agent.database, agent.name, write=True) as history:
        following = history.next_seq(epoch)
    check_account(agent, following or 0)
    after = rows_by_id(agent)
    check_ids_kept(before, after)
    return after


@pytest.mark.slow
def test_killed_at_random_moments_under_load(agent: Agent, tmp_path: Path) -> None:
    """While it starts, stores, and applies its log; three emitters run on meanwhile.

    What each of them knows to be out is stored as it was, or in a gap: starting another persister
    again and again may take longer than an emitter waits.
    """
    seed = random.randrange(1 << 32)
    print("seed", seed)
    dice = random.Random(seed)
    files = [tmp_path / f"acknowledged-{number}" for number in range(3)]
    with agent.bus(size=4 * SMALL) as bus:
        with persister_process(agent):
            bus.emit(Note("the first"))
            wait_stored(bus)
        running = [
            worker("emit", agent.name, agent.state, number, 12_000, file)
            for number, file in enumerate(files)
        ]
        with all_ended(running):
            for turn in itertools.count():
                with started("persist", *agent.place) as process:
                    if turn % 3:
                        wait_until(lambda: is_over(running) or has_gate(agent.name), "the gate")
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(timeout=dice.uniform(0, 0.6))
                if is_over(running):
                    break
            assert [process.wait() for process in running] == [0, 0, 0]
        with serving(agent):
            assert bus.wait_stored(60)
        with Ring.open(agent.name) as ring:
            emitted = ring.tail
    items = stored(agent)
    check_contiguous(items, end=emitted)
    assert emitted == 36_001
    texts = {item.seq: item.event for item in items if isinstance(item, Envelope)}
    for number, file in enumerate(files):
        told = acknowledged(file)
        assert [count for _, count in told] == list(range(12_000))
        for seq, count in told:
            assert texts.get(seq, Note(text_of(number, count))) == Note(text_of(number, count))
    assert len(texts) > 1000
    rows_by_id(agent)


def is_over(running: list[subprocess.Popen[str]]) -> bool:
    return all(process.poll() is not None for process in running)


# --- power cuts ---------------------------------------------------------------------------

APPLIES_OFTEN = """
import sys
from pathlib import Path
from ringbus.persister import checkpoints
from ringbus.persister.agent import AgentPersister
checkpoints.LARGE_LOG, checkpoints.LOG_CAP = 1 << 18, 1 << 20
AgentPersister(sys.argv[1], Path(sys.argv[2])).run()
"""

# SQLite's `-shm` file: where it says how many frames the log has, and how many of them a checkpoint
# may have copied, having synced them.
FRAMES_AT, SYNCED_AT = 16, 128
LOG_HEAD, FRAME_HEAD = 32, 24


class Disk:
    """Copies of a history as a power cut may leave it, whole or without the log's unsynced end."""

    def __init__(self, database: Path, folder: Path) -> None:
        self.database = database
        self.folder = folder

    def part(self, end: str) -> Path:
        return self.database.with_name(self.database.name + end)

    def log_frames(self) -> tuple[int, int]:
        """How many are synced for sure, and how many there are."""
        content = self.part("-shm").read_bytes()
        (frames,) = struct.unpack_from("=I", content, FRAMES_AT)
        (synced,) = struct.unpack_from("=I", content, SYNCED_AT)
        return min(synced, frames), frames

    def copy(self, name: str) -> Path:
        """By another process: whoever closes a file gives up all locks that its process has."""
        copy = self.folder / f"{name}.sqlite"
        for end in ("", "-wal"):
            if self.part(end).exists():
                subprocess.run(["cp", self.part(end), f"{copy}{end}"], check=True)
        return copy

    def cut_copy(self, name: str, dice: random.Random) -> Path:
        """The log ends at any byte behind what was synced."""
        copy = self.copy(name)
        synced, frames = self.log_frames()
        log = copy.with_name(copy.name + "-wal")
        (page,) = struct.unpack_from(">I", log.read_bytes(), 8)
        ends = [LOG_HEAD + count * (FRAME_HEAD + page) for count in (synced, frames)]
        os.truncate(log, dice.randint(*ends))
        return copy


EACH_MOMENT = 2000


def prefix_length(copy: Path, agent: Agent, epoch: str) -> int:
    """How many events a copy holds; it opens clean, and lacks nothing below the last one."""
    with closing(apsw.Connection(str(copy))) as db:
        assert db.pragma("integrity_check") == "ok"
    with History.open(copy, agent.name) as history:
        found = numbers(history.page(limit=1_000_000))
        following = history.next_seq(epoch)
    assert found == list(range(len(found)))
    assert following == len(found)
    return len(found)


def test_power_cut_leaves_a_whole_prefix(agent: Agent, bus: Bus, tmp_path: Path) -> None:
    """The files as they are at any moment, with or without what was not synced yet.

    They open clean and hold all up to some event. What comes in the next ring follows behind a gap.
    """
    seed = random.randrange(1 << 32)
    print("seed", seed)
    dice = random.Random(seed)
    disk = Disk(agent.database, tmp_path)
    program = [*python(APPLIES_OFTEN), agent.name, str(agent.database)]
    with ended_at_last(program) as process:
        wait_until(lambda: has_gate(agent.name), "the gate of the persister")
        emit_notes(bus, EACH_MOMENT)
        wait_until(lambda: disk.log_frames()[0] > 0, "a first checkpoint")
        lengths = []
        for moment in range(1, 16):
            with Emitting(bus, EACH_MOMENT, first=moment * EACH_MOMENT) as emitting:
                emitting.wait_for(dice.randrange(EACH_MOMENT))
                with paused(process.pid):
                    whole = disk.copy(f"whole-{moment}")
                    cut = disk.cut_copy(f"cut-{moment}", dice)
                emitting.join()
            lengths.append(prefix_length(whole, agent, bus.epoch))
            kept = prefix_length(cut, agent, bus.epoch)
            assert kept <= lengths[-1]
        assert lengths == sorted(lengths)
    unlink(agent.name)
    for end in ("", "-wal", "-shm"):
        disk.part(end).unlink(missing_ok=True)
        if cut.with_name(cut.name + end).exists():
            cut.with_name(cut.name + end).rename(disk.part(end))
    ids = rows_by_id(agent)
    with agent.bus() as second, serving(agent):
        emit_notes(second, 10, first=1_000_000)
        assert second.wait_stored(60)
    items = stored(agent)
    assert gaps(items) == [Gap(bus.epoch, kept, None, None, "ring-lost")]
    assert numbers(items) == [*range(kept), *range(1_000_000, 1_000_010)]
    check_ids_kept(ids, rows_by_id(agent))


@contextmanager
def ended_at_last(program: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """It runs meanwhile, and is killed at the end."""
    with subprocess.Popen(program) as process:
        try:
            yield process
        finally:
            process.kill()
