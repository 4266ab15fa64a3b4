"""One persister process and hundreds of rings: each event once, nobody starved, nothing left."""

from __future__ import annotations

import contextlib
import random
import shlex
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import pytest
from helpers import Child
from storing import SMALL, numbers, put, stored
from turns import Agent, shell, wait_until

from ringbus.ring import HISTORY_GATE, Ring, unlink

pytestmark = pytest.mark.slow

MANY = 200
FEW = 20
FILES_OF_ONE = 5
"""Descriptors of a ring that is served: the lock, the log, its index, and the database twice."""

FILES_OF_ALL = 20
FILES_AT_REST = 10
THREADS_AT_REST = 3
FLOOD = 10_000
"""Records of a batch of the flood, at most."""

BATCHES = 50
MARGIN = 8 << 20


class Rings:
    """Agents of a test, each with a ring, and how much was emitted into each."""

    def __init__(self, state: Path, count: int) -> None:
        self.state = state
        prefix = f"t-{uuid.uuid4().hex[:8]}"
        self.names = [f"{prefix}-{number}" for number in range(count)]
        self.emitted = dict.fromkeys(self.names, 0)
        self._rings: dict[str, Ring] = {}

    def __enter__(self) -> Self:
        for name in self.names:
            self.make(name)
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self._rings):
            self.remove(name)

    def make(self, name: str, size: int = SMALL) -> None:
        self._rings[name] = Ring.create(name, size=size, policy="block")

    def remove(self, name: str) -> None:
        self._rings.pop(name).close()
        unlink(name)

    def emit(self, name: str, count: int = 1, filler: str = "") -> None:
        for _ in range(count):
            put(self._rings[name], f"{self.emitted[name]}{filler}")
            self.emitted[name] += 1

    def are_served(self, names: Sequence[str]) -> bool:
        return all(self._rings[name].has_gate(HISTORY_GATE) for name in names)

    def are_stored(self, names: Sequence[str]) -> bool:
        return all(stored_to(self._rings[name]) >= self._rings[name].tail for name in names)

    def wait_stored(self) -> None:
        names = list(self._rings)
        wait_until(lambda: self.are_stored(names), "all rings to be stored")

    @contextlib.contextmanager
    def persisted(self, *, files: int = 20_000) -> Iterator[subprocess.Popen[bytes]]:
        """One process for all of them, started with so many descriptors; killed at the end."""
        words = [sys.executable, "-m", "ringbus", "persist", "--state", str(self.state)]
        for name in self.names:
            words += ["--agent", name]
        limited = shell(f"ulimit -Sn {files} && exec {shlex.join(words)}")
        with subprocess.Popen(limited, stderr=subprocess.PIPE) as process:
            try:
                wait_until(lambda: self.are_served(list(self._rings)), "the gates of all")
                yield process
            finally:
                process.kill()


def stored_to(ring: Ring) -> int:
    """Where the persister's gate stands."""
    return max([gate.cursor for gate in ring.gates() if gate.name == HISTORY_GATE], default=0)


def count_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def count_threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def own_memory(pid: int) -> int:
    """Bytes that the process has for itself alone, and in no file."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) << 10
    raise AssertionError("no such line")


@pytest.fixture
def rings(tmp_path: Path) -> Iterator[Rings]:
    with Rings(tmp_path / "state", MANY) as rings:
        yield rings


@pytest.fixture
def few_rings(tmp_path: Path) -> Iterator[Rings]:
    with Rings(tmp_path / "state", FEW) as rings:
        yield rings


# --- every event --------------------------------------------------------------------------


def test_every_event_of_many_rings_is_stored_once(rings: Rings) -> None:
    """By one process, though it is killed and started again, and began with few descriptors."""
    dice = random.Random(1)

    def emit_anywhere() -> None:
        for _ in range(4000):
            rings.emit(dice.choice(rings.names))

    with rings.persisted(files=256) as process:
        emit_anywhere()
        process.kill()
        process.wait()
    emit_anywhere()
    with rings.persisted(files=256):
        emit_anywhere()
        rings.wait_stored()
    assert sum(rings.emitted.values()) == 12_000
    for name, count in rings.emitted.items():
        assert numbers(stored(Agent(name, rings.state))) == list(range(count))


def test_descriptors_and_threads_are_few_a_ring_and_go_with_it(rings: Rings) -> None:
    """So many for each that is served, and none for those that were removed."""
    with rings.persisted() as process:
        for name in rings.names:
            rings.emit(name)
        rings.wait_stored()
        wait_until(
            lambda: count_files(process.pid) <= FILES_OF_ALL + MANY * FILES_OF_ONE,
            "no more descriptors than that",
        )
        assert count_threads(process.pid) <= MANY + FILES_OF_ALL
        kept = rings.names[::10]
        for name in set(rings.names) - set(kept):
            rings.remove(name)
        wait_until(
            lambda: count_files(process.pid) <= FILES_OF_ALL + len(kept) * FILES_OF_ONE,
            "the descriptors of the removed ones to go",
        )
        wait_until(
            lambda: count_threads(process.pid) <= FILES_OF_ALL + len(kept), "their threads to end"
        )
        for name in kept:
            rings.emit(name)
        rings.wait_stored()


# --- fairness -----------------------------------------------------------------------------


def test_a_flood_does_not_starve_the_others(rings: Rings) -> None:
    """The event of each is stored before the flood gets so many batches further."""
    flooded, *others = rings.names
    rings.remove(flooded)
    rings.make(flooded, 4 << 20)

    def flood(child: Child) -> None:
        with Ring.open(flooded, policy="block") as ring:
            while True:
                put(ring, "flood")

    with rings.persisted(), Ring.open(flooded, observer=True) as ring, Child(flood):
        for _ in range(3):
            start = stored_to(ring)
            wait_until(
                lambda start=start: stored_to(ring) > start + FLOOD, "the flood to be stored"
            )
            before = stored_to(ring)
            for name in others:
                rings.emit(name)
            wait_until(lambda: rings.are_stored(others), "the others to be stored")
            passed = stored_to(ring) - before
            print(f"{passed} records of the flood were stored meanwhile")
            assert passed < BATCHES * FLOOD
        end = stored_to(ring)
        wait_until(lambda: stored_to(ring) > end + FLOOD, "the flood, which went on")
    for name in others:
        assert numbers(stored(Agent(name, rings.state))) == [0, 1, 2]


# --- memory -------------------------------------------------------------------------------


def test_memory_does_not_grow_with_what_was_stored(few_rings: Rings) -> None:
    """Ten times as many events leave the process as large as it was."""
    rings = few_rings

    def emit_and_measure(pid: int, count: int) -> int:
        for _ in range(count // 100):
            for name in rings.names:
                rings.emit(name, 100, "x" * 200)
        rings.wait_stored()
        return own_memory(pid)

    with rings.persisted() as process:
        before = emit_and_measure(process.pid, 1000)
        after = emit_and_measure(process.pid, 10_000)
        print(f"{before >> 10} KiB, later {after >> 10} KiB")
        assert after < before + MARGIN


def test_rings_that_come_and_go_leave_nothing_behind(tmp_path: Path) -> None:
    """A thousand of them: no descriptor, no thread, no memory; and each is stored."""
    count, rounds = 50, 20
    with Rings(tmp_path / "state", count) as rings, rings.persisted() as process:
        pid = process.pid
        memory: list[int] = []
        for _ in range(rounds):
            for name in rings.names:
                rings.emit(name, 3)
                rings.remove(name)
            wait_until(
                lambda: count_files(pid) <= FILES_AT_REST and count_threads(pid) <= THREADS_AT_REST,
                "their descriptors and threads to go",
            )
            memory.append(own_memory(pid))
            for name in rings.names:
                rings.make(name)
            wait_until(lambda: rings.are_served(rings.names), "the gates of all")
        print([f"{size >> 10} KiB" for size in memory])
        assert memory[-1] < memory[rounds // 4] + MARGIN
    for name in rings.names:
        items = stored(Agent(name, rings.state))
        assert len({item.epoch for item in items}) == rounds
        assert numbers(items) == list(range(3 * rounds))
