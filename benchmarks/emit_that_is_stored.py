"""What an event costs its emitter when all of them are stored.

    [emitter] --> ring <-- [persister] --> history          on disk, and on tmpfs

Beside it: the design that ringbus replaced, in which the emitter inserts every event itself, and
what else people keep events with. A batch that is not full is lost with its program; what
`ring.emit` returned is not.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter_ns, process_time_ns
from typing import TypeVar

from benchmarks.baselines.stores import ORIGINAL, STORES, Store
from benchmarks.harness import (
    Figure,
    Options,
    Result,
    Scenario,
    Target,
    pinned,
    require,
    round_robin,
    without_collector,
)
from benchmarks.rings import RECORD_BYTES
from benchmarks.storing import (
    KIND,
    event,
    fits,
    folders,
    require_stored,
    stored_ring,
    wait_stored,
)

OURS = "ring.emit, with a persister"
RATIO = 10

Payload = TypeVar("Payload", bytes, str)


@dataclass(frozen=True)
class Cost:
    """Of one event, in ns."""

    passed: float
    processor: float


def run(options: Options) -> Result:
    size, inserts = options.pick(8 << 20, 1 << 20), options.pick(2000, 100)
    measured: dict[tuple[str, str], Callable[[], Cost]] = {}
    for place, folder in folders().items():
        measured[OURS, place] = _by_ring(folder, size)
        for store in STORES:
            if not store.lack():
                measured[store.name, place] = _by_store(store, folder, inserts)
    with pinned(0), without_collector():
        costs = round_robin(measured, options.pick(5, 1), warm_ups=0)
    figures, targets = [], []
    for (name, place), of in costs.items():
        figures += [
            Figure(f"{name}, {place}", "time", "ns/event", [cost.passed for cost in of]),
            Figure(f"{name}, {place}", "processor", "ns/event", [cost.processor for cost in of]),
        ]
    for place in folders():
        pairs = list(zip(costs[OURS, place], costs[ORIGINAL.name, place], strict=True))
        ratio = median(theirs.passed / ours.passed for ours, theirs in pairs)
        claim = f"{place}: {ORIGINAL.name}, over {OURS}"
        targets.append(Target(claim, ratio, RATIO, "times", at_least=True))
    parameters = {
        "payload_bytes": RECORD_BYTES,
        "emits_a_round": fits(size),
        "inserts_a_round": inserts,
    }
    notes = [f"Without {store.name}: {store.lack()}." for store in STORES if store.lack()]
    notes.append("The loop around each of them is part of it.")
    return Result(figures, targets, parameters, notes)


def _by_ring(folder: Path, size: int) -> Callable[[], Cost]:
    count = fits(size)
    payloads = [event(number) for number in range(count)]

    def measure() -> Cost:
        with stored_ring(folder, size) as (ring, path):
            ring.emit(payloads[0], KIND)
            wait_stored(ring, 1)  # from here on it is at work
            emit = ring.emit
            cost = _cost(lambda payload: emit(payload, KIND), payloads)
            require_stored(ring, path, count + 1)
            return cost

    return measure


def _by_store(store: Store, folder: Path, count: int) -> Callable[[], Cost]:
    payloads = [event(number).decode() for number in range(count)]

    def measure() -> Cost:
        with (
            tempfile.TemporaryDirectory(dir=folder, prefix="ringbus-bench-") as place,
            store.open(Path(place, "events")) as opened,
        ):
            cost = _cost(opened.put, payloads, opened.end)
            stored, newest = opened.holds()
            require(stored == count, f"{store.name}: {stored} of {count} events are stored")
            require(newest == payloads[-1], f"{store.name}: the newest event is another")
        return cost

    return measure


def _cost(
    emit: Callable[[Payload], object],
    payloads: list[Payload],
    end: Callable[[], object] = lambda: None,
) -> Cost:
    cpu, start = process_time_ns(), perf_counter_ns()
    for payload in payloads:
        emit(payload)
    end()
    passed, cpu = perf_counter_ns() - start, process_time_ns() - cpu
    return Cost(passed / len(payloads), cpu / len(payloads))


SCENARIO = Scenario("An event that is stored: what it costs its emitter", run, cores=2)
