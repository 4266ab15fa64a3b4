"""What an event costs its emitter when all of them are stored.

    [emitter] --> ring <-- [persister] --> history          on disk, and on tmpfs

Beside it: the design that ringbus replaced, in which the emitter inserts every event itself.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter_ns, process_time_ns
from typing import TypeVar

from benchmarks.baselines.insert_per_emit import emitter, open_database
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
ORIGINAL = "an INSERT in the emitter"
RATIO = 10

Payload = TypeVar("Payload", bytes, str)


@dataclass(frozen=True)
class Cost:
    """Of one event, in ns."""

    passed: float
    processor: float


def run(options: Options) -> Result:
    size, inserts = options.pick(8 << 20, 1 << 20), options.pick(3000, 100)
    measured = {}
    for place, folder in folders().items():
        measured[OURS, place] = _by_ring(folder, size)
        measured[ORIGINAL, place] = _by_insert(folder, inserts)
    with pinned(0), without_collector():
        costs = round_robin(measured, options.pick(7, 1), warm_ups=0)
    figures, targets = [], []
    for (name, place), of in costs.items():
        figures += [
            Figure(f"{name}, {place}", "time", "ns/event", [cost.passed for cost in of]),
            Figure(f"{name}, {place}", "processor", "ns/event", [cost.processor for cost in of]),
        ]
    for place in folders():
        pairs = list(zip(costs[OURS, place], costs[ORIGINAL, place], strict=True))
        ratio = median(theirs.passed / ours.passed for ours, theirs in pairs)
        claim = f"{place}: {ORIGINAL} over {OURS}"
        targets.append(Target(claim, ratio, RATIO, "times", at_least=True))
    parameters = {
        "payload_bytes": RECORD_BYTES,
        "emits_a_round": fits(size),
        "inserts_a_round": inserts,
    }
    return Result(figures, targets, parameters, ["The loop around each of them is part of it."])


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


def _by_insert(folder: Path, count: int) -> Callable[[], Cost]:
    payloads = [event(number).decode() for number in range(count)]

    def measure() -> Cost:
        with tempfile.TemporaryDirectory(dir=folder, prefix="ringbus-bench-") as place:
            db = open_database(Path(place, "events.sqlite"))
            with closing(db):
                cost = _cost(emitter(db), payloads)
                stored = db.execute("SELECT count(*) FROM events").get
                require(stored == count, f"{stored} of {count} events are stored")
            return cost

    return measure


def _cost(emit: Callable[[Payload], object], payloads: list[Payload]) -> Cost:
    cpu, start = process_time_ns(), perf_counter_ns()
    for payload in payloads:
        emit(payload)
    passed, cpu = perf_counter_ns() - start, process_time_ns() - cpu
    return Cost(passed / len(payloads), cpu / len(payloads))


SCENARIO = Scenario("An event that is stored: what it costs its emitter", run, cores=2)
