"""The longest anybody waits while the oldest million of ten million events is deleted.

    [emitter, 10,000/s] --> ring <-- [persister, sweeping] --> history <-- [reader of the newest]

Beside it: the same for as long, when nothing is to be deleted.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter_ns

from benchmarks.harness import Figure, Options, Result, Scenario, percentile, require
from benchmarks.processes import Child
from benchmarks.rings import RECORD_BYTES, fresh_ring
from benchmarks.storing import disk, emit_event, fill, persist, stored, wait_stored
from ringbus.history import History
from ringbus.ring import Ring

RATE = 10_000  # events/s
SWEEPING = "while it sweeps"
CALM = "before it sweeps"
READ = 100  # rows of the newest page
LEAST_SECONDS = 3.0
PATIENCE = 300.0
NOTES = (
    f"A read is of the newest {READ} rows.",
    "Making the event is part of an emit's time.",
)


@dataclass(frozen=True)
class Waits:
    """Times of single emits and of single reads, in ns."""

    emits: list[int]
    reads: list[int]


def run(options: Options) -> Result:
    rows = options.pick(10_000_000, 20_000)
    swept = rows // 10
    with (
        tempfile.TemporaryDirectory(dir=disk(), prefix="ringbus-bench-") as folder,
        fresh_ring(size=32 << 20, policy="block") as ring,
    ):
        path = Path(folder, f"{ring.name}.sqlite")
        fill(ring, path, rows, emit_event)
        calm = _watch(ring, path, keep=2 * rows)
        before = _count(ring, path)
        start = time.monotonic()
        sweeping = _watch(ring, path, keep=before - swept, until_gone=swept)
        seconds = time.monotonic() - start
    figures = []
    for name, waits in ((CALM, calm), (SWEEPING, sweeping)):
        figures += _figures(f"emit, {name}", waits.emits)
        figures += _figures(f"reader, {name}", waits.reads)
    figures.append(Figure(f"{swept:,} rows", "swept in", "s", [seconds]))
    parameters = {"rows": rows, "payload_bytes": RECORD_BYTES, "events_a_second": RATE}
    return Result(
        figures,
        (),
        parameters,
        [f"A read is of the newest {READ} rows; making the event is part of an emit's time."],
    )


def _watch(ring: Ring, path: Path, *, keep: int, until_gone: int = 0) -> Waits:
    """Emits, and reads, until the persister has deleted so many rows, and for a while at least."""
    with _retention(keep), Child(persist, ring.name, path, core=1) as child:
        child.hear()
        with Child(read, ring.name, path) as reader:
            reader.hear()
            child.tell()
            emits = _emit(ring, path, until_gone)
            reader.tell()
            reads = reader.hear()
        child.tell()
    return Waits(emits, reads)


@contextmanager
def _retention(keep: int) -> Iterator[None]:
    """What a child that starts here keeps."""
    os.environ["RINGBUS_HISTORY"] = str(keep)
    try:
        yield
    finally:
        del os.environ["RINGBUS_HISTORY"]


def _emit(ring: Ring, path: Path, until_gone: int) -> list[int]:
    times, number, start = [], ring.tail, time.monotonic()
    first = _first(ring, path)
    emitted, looked = 0, start
    while True:
        now = time.monotonic()
        while emitted < (now - start) * RATE:
            before = perf_counter_ns()
            emit_event(ring, number)
            times.append(perf_counter_ns() - before)
            number, emitted = number + 1, emitted + 1
        if now - looked > 0.5:
            looked = now
            if now - start > LEAST_SECONDS and _first(ring, path) - first >= until_gone:
                break
            require(now - start < PATIENCE, "the sweep does not end")
        time.sleep(0.001)
    wait_stored(ring, number)
    require(stored(ring) == number, "the persister is beyond the last event")
    return times


def _first(ring: Ring, path: Path) -> int:
    """The seq of the oldest row."""
    with History.open(path, ring.name) as history:
        for item in history.read(limit=1).items:
            return getattr(item, "seq", None) or getattr(item, "to", 0) + 1
    return 0


def _count(ring: Ring, path: Path) -> int:
    with History.open(path, ring.name) as history:
        return history.count()


def read(link: Connection, agent: str, path: Path) -> None:
    """The process of the reader: pages until told to stop; then it tells its times."""
    times = []
    with History.open(path, agent) as history:
        link.send(None)
        while not link.poll(0.005):
            before = perf_counter_ns()
            page = history.page(limit=READ)
            times.append(perf_counter_ns() - before)
            require(len(page) == READ, "the newest page is short")
    link.recv()
    link.send(times)


def _figures(name: str, times: list[int]) -> list[Figure]:
    return [
        Figure(name, "p99", "ms", [percentile(times, 99) / 1e6]),
        Figure(name, "max", "ms", [max(times) / 1e6]),
    ]


SCENARIO = Scenario("Emits and reads while a million rows are swept", run, cores=2)
