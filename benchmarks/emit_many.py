"""What a record costs when several are emitted at once.

    [emitter] --> ring          no reader, batches of 1 to 1,000

Beside it: one emit for each record, in a loop; the core's own emit of the largest batch, which is
the least that a record costs; and faster-fifo's `put_many()`, whose queue is emptied with the clock
stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from time import perf_counter_ns
from typing import Any

from benchmarks.baselines.shared_queues import FIFO_BYTES, same
from benchmarks.core_emitter import CoreEmitter
from benchmarks.harness import (
    Figure,
    Options,
    Result,
    Scenario,
    pinned,
    require,
    round_robin,
    without_collector,
)
from benchmarks.rings import RECORD_BYTES, fresh_ring, records
from benchmarks.transports import needs
from ringbus.ring import Ring

MANY = "ring.emit_many(batch)"
LOOP = "emit in a loop"
CORE = "the core in C"
FIFO = "faster-fifo put_many"
BATCHES = (1, 10, 100, 1000)

Key = tuple[str, int]  # what, and records in a batch
lack = needs("faster_fifo")


def run(options: Options) -> Result:
    count, has_fifo = options.pick(10_000, 1_000), not lack()
    with pinned(0), fresh_ring() as ring, CoreEmitter(ring.name) as core, without_collector():
        passes: dict[Key, Callable[[], float]] = {}
        for size in BATCHES:
            batch, turns = records()[:size], count // size
            passes[MANY, size] = _many(ring, batch, turns)
            passes[LOOP, size] = _loop(ring, batch, turns)
            if has_fifo and size > 1:
                passes[FIFO, size] = _fifo(batch, turns)
        passes[CORE, BATCHES[-1]] = _core(
            ring, core, records()[: BATCHES[-1]], count // BATCHES[-1]
        )
        times = round_robin(passes, options.pick(21, 2), warm_ups=2)
    return Result(
        [
            Figure(
                name,
                f"time, {size:,} at once",
                "ns/record",
                of,
                () if name == CORE else times[CORE, BATCHES[-1]],
            )
            for (name, size), of in times.items()
        ],
        parameters={"payload_bytes": RECORD_BYTES, "records_a_round": count},
        notes=[] if has_fifo else [f"Without {FIFO}: {lack()}."],
    )


def _many(ring: Ring, batch: list[bytes], turns: int) -> Callable[[], float]:
    def emit() -> None:
        emit_many = ring.emit_many
        for _ in range(turns):
            emit_many(batch)

    return lambda: _time(ring, emit, batch, turns)


def _loop(ring: Ring, batch: list[bytes], turns: int) -> Callable[[], float]:
    def emit() -> None:
        emit_one = ring.emit
        for _ in range(turns):
            for payload in batch:
                emit_one(payload)

    ring.emit(batch[0])  # from the first emit on, the attribute is the builtin itself
    return lambda: _time(ring, emit, batch, turns)


def _core(ring: Ring, core: CoreEmitter, batch: list[bytes], turns: int) -> Callable[[], float]:
    items = core.items(batch)
    return lambda: _time(ring, lambda: core.repeat_all(items, len(batch), turns), batch, turns)


def _time(ring: Ring, emit: Callable[[], None], batch: list[bytes], turns: int) -> float:
    """ns for each record; all are there, and the last batch is what was emitted."""
    before, count = ring.tail, turns * len(batch)
    start = perf_counter_ns()
    emit()
    passed = perf_counter_ns() - start
    require(ring.tail - before == count, f"{ring.tail - before} of {count} records were emitted")
    found: list[bytes] = []
    with ring.subscribe(ring.tail - len(batch)) as subscriber:
        while len(found) < len(batch):
            found += [record.payload for record in subscriber.read(timeout=0)]
    require(found == batch, "the last batch is not what was emitted")
    return passed / count


def _fifo(batch: list[bytes], turns: int) -> Callable[[], float]:
    faster_fifo: Any = import_module("faster_fifo")
    queue = faster_fifo.Queue(FIFO_BYTES, loads=bytes, dumps=same)

    def measure() -> float:
        passed = 0
        for _ in range(turns):
            start = perf_counter_ns()
            queue.put_many(batch)
            passed += perf_counter_ns() - start
            found: list[bytes] = []
            while len(found) < len(batch):
                found += queue.get_many()
            require(found == batch, "faster-fifo gave something else than was put")
        return passed / turns / len(batch)

    return measure


SCENARIO = Scenario("Several records emitted at once", run)
