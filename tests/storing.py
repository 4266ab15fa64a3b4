"""What the tests of storing and following share: persister processes, and accounts of what came."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from types import FrameType
from typing import Any, Self

import apsw
import pytest
from turns import Agent, started, wait_until

import ringbus
from ringbus.bus import Bus
from ringbus.errors import BackPressure, RingUnlinked
from ringbus.events import Envelope, Gap, Note, Reset, encode
from ringbus.follow import Follow
from ringbus.history import History
from ringbus.persister import agent as agent_persister
from ringbus.persister.agent import AgentPersister, Outcome
from ringbus.ring import HISTORY_GATE, Ring, unlink
from ringbus.ring.batch import Batch

PACKAGE = str(Path(ringbus.__file__).parent)

SMALL = 64 << 10
"""Bytes of the smallest ring: it keeps about a thousand short notes."""

Item = Envelope | Gap | Reset


# --- persisters ---------------------------------------------------------------------------


def has_gate(name: str) -> bool:
    """Whether a living persister serves the ring."""
    with Ring.open(name, observer=True) as ring:
        return ring.has_gate(HISTORY_GATE)


def persister_pid(name: str) -> int:
    """The process whose gate stands."""
    with Ring.open(name, observer=True) as ring:
        (pid,) = [gate.pid for gate in ring.gates() if gate.name == HISTORY_GATE]
        return pid


@contextlib.contextmanager
def persister_process(agent: Agent, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """A persister as a process of its own, whose gate stands; killed at the end."""
    with started("persist", *agent.place, *options) as process:
        wait_until(
            lambda: has_gate(agent.name) and persister_pid(agent.name) == process.pid,
            "the gate of the persister",
        )
        yield process


class Serving:
    """An `AgentPersister` at work in a thread; `outcome` is how it ended."""

    def __init__(self, persister: AgentPersister) -> None:
        self.persister = persister
        self.outcome: Outcome | None = None
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        self.outcome = self.persister.run()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.persister.stop()
        self.join()

    def join(self) -> None:
        """Waits until it has ended."""
        wait_until(lambda: not self._thread.is_alive(), "the end of the persister")
        self._thread.join()


@contextlib.contextmanager
def serving(agent: Agent, **options: bool | float) -> Iterator[Serving]:
    """A persister in this process whose gate stands."""
    automatic, wait = bool(options.get("automatic")), bool(options.get("wait"))
    linger = float(options.get("linger", 60.0))
    persister = AgentPersister(
        agent.name, agent.database, automatic=automatic, wait=wait, linger=linger
    )
    with Serving(persister) as running:
        wait_until(lambda: has_gate(agent.name), "the gate of the persister")
        yield running


@contextlib.contextmanager
def paused(pid: int) -> Iterator[None]:
    """The process stands still meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_until(lambda: _state(pid) == "T", f"process {pid} to stand still")
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def locked(database: Path) -> Iterator[None]:
    """Somebody has a transaction open on it meanwhile: nobody else can store."""
    with contextlib.closing(apsw.Connection(str(database))) as locker:
        locker.set_busy_timeout(60_000)
        locker.execute("BEGIN IMMEDIATE")
        yield
        locker.execute("ROLLBACK")


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def store_all(agent: Agent) -> None:
    """What the ring holds, in small batches, by a persister that ends then."""
    persister = AgentPersister(agent.name, agent.database)
    persister.stop()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(agent_persister, "Batch", lambda: Batch(most_records=40))
        assert persister.run() is Outcome.STOPPED


def die_at(step: int) -> None:
    """Kills this process before its line number `step` of ringbus."""
    seen = itertools.count(1)

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        if event == "line" and next(seen) == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)


# --- events -------------------------------------------------------------------------------


def emit_notes(bus: Bus, count: int, first: int = 0) -> None:
    """Notes of which each tells its number."""
    for number in range(first, first + count):
        bus.emit(Note(str(number)))


def put(ring: Ring, text: str) -> int:
    """A note into a bare ring."""
    kind, payload = encode(Note(text))
    return ring.emit(payload, kind)


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


def text(item: Item) -> str:
    """What a note says."""
    assert isinstance(item, Envelope), item
    assert isinstance(item.event, Note)
    return item.event.text


def texts(items: Iterable[Item]) -> list[str]:
    return [text(item) for item in items]


def numbers(items: Iterable[Item]) -> list[int]:
    """What `emit_notes()` emitted, as it came."""
    return [int(text(item)) for item in items if isinstance(item, Envelope)]


def gaps(items: Iterable[Item]) -> list[Gap]:
    return [item for item in items if isinstance(item, Gap)]


def check_contiguous(items: Sequence[Item], first: int = 0, end: int | None = None) -> None:
    """Every seq of one epoch comes once: as an event, or in a gap that counts exactly."""
    expected = first
    for item in items:
        assert not isinstance(item, Reset)
        if isinstance(item, Gap):
            assert item.to is not None
            assert (item.from_, item.missed) == (expected, item.to - expected + 1)
            expected = item.to + 1
        else:
            assert item.seq == expected
            expected += 1
    if end is not None:
        assert expected == end


def stored(agent: Agent) -> list[Envelope | Gap]:
    """All that the history holds, in order."""
    items: list[Envelope | Gap] = []
    with History.open(agent.database, agent.name) as history:
        page = history.read()
        while page.items:
            items += page.items
            page = history.read(page.next)
    return items


def check_account(
    agent: Agent, emitted: int, *, first: int = 0, epoch: str | None = None
) -> list[Gap]:
    """Each of `emitted` notes, numbered from `first` on, is accounted for; the gaps.

    It is in the file once, in its place and unchanged, or in exactly one gap. They were all that
    was emitted, of that epoch if one is given.
    """
    items = [item for item in stored(agent) if epoch in (None, item.epoch)]
    check_contiguous(items, end=emitted)
    events = [item for item in items if isinstance(item, Envelope)]
    assert numbers(events) == [first + event.seq for event in events]
    rows_by_id(agent)
    return gaps(items)


def rows_by_id(agent: Agent) -> dict[int, str]:
    """What each id holds; every one lies among those of its own epoch."""
    with closing(apsw.Connection(str(agent.database), flags=apsw.SQLITE_OPEN_READONLY)) as db:
        db.set_busy_timeout(60_000)  # somebody may just be closing it
        epochs = db.execute("SELECT base, next FROM epochs ORDER BY base").fetchall()
        rows = dict(db.execute("SELECT id, payload_json FROM events ORDER BY id"))
    ends = [base for base, _ in epochs[1:]]
    assert all(base + end <= later for (base, end), later in zip(epochs, ends, strict=False))
    ids = [range(base, base + end) for base, end in epochs]
    assert sum(row_id in own for row_id in rows for own in ids) == len(rows)
    return rows


def rows_without_log(path: Path, folder: Path) -> int:
    """What a power cut would leave at the least: the database file alone."""
    copy = folder / "alone.sqlite"
    # By another process: whoever closes a file gives up all locks that its process has on it.
    subprocess.run(["cp", path, copy], check=True)
    with closing(apsw.Connection(str(copy))) as db:
        try:
            found = db.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'events'").get
            return int(db.execute("SELECT count(*) FROM events").get) if found else 0
        except apsw.CorruptError:
            return 0  # copied in the midst of a checkpoint, which SQLite would finish with the log


def check_ids_kept(before: dict[int, str], after: dict[int, str]) -> None:
    """No id that was used holds anything else now."""
    changed = {row_id for row_id, row in after.items() if before.get(row_id, row) != row}
    assert not changed


def rest(follow: Follow) -> list[Item]:
    """All that can be read without waiting."""
    items: list[Item] = []
    while more := follow.read(timeout=0):
        items += more
    return items


def remove(agent: Agent) -> None:
    """Its ring; the history stays."""
    unlink(agent.name)


def read_until(follow: Follow, enough: Callable[[list[Item]], object]) -> list[Item]:
    """What comes until it is enough."""
    items: list[Item] = []

    def is_enough() -> object:
        items.extend(follow.read(timeout=0.05))
        return enough(items)

    wait_until(is_enough, "what is followed")
    return items


def take(follow: Follow, count: int) -> list[Item]:
    """The next so many items, and no more."""
    items = read_until(follow, lambda items: len(items) >= count)
    assert len(items) == count
    return items


class Emitting:
    """A thread that emits numbered notes until it is stopped, or has emitted so many."""

    def __init__(self, bus: Bus, limit: int | None = None, first: int = 0) -> None:
        self.emitted = 0
        self._first = first
        self.error: RingUnlinked | None = None
        self._bus = bus
        self._limit = limit
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        for number in itertools.count():
            if self._stop.is_set() or number == self._limit:
                return
            try:
                self._bus.emit(Note(str(self._first + number)))
            except RingUnlinked as error:
                self.error = error
                return
            self.emitted = number + 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Returns when the last event is out; again is fine."""
        self._stop.set()
        self._thread.join()

    def wait_for(self, count: int) -> None:
        """Returns when so many are out."""
        wait_until(lambda: self.emitted >= count, f"{count} events")

    def join(self) -> None:
        """Waits until the limit is reached, or the ring is gone."""
        wait_until(lambda: not self._thread.is_alive(), "the last event")


def wait_stored(bus: Bus) -> None:
    """Returns when all that is in the ring is stored."""
    assert bus.wait_stored(60)


def store(agent: Agent, bus: Bus) -> None:
    """Everything emitted so far goes to the history; then the persister leaves."""
    with serving(agent):
        assert bus.wait_stored(60)
