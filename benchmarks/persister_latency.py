"""How soon an event of a calm agent is on disk.

    [emitter] --> ring <-- [persister] --> history          one event now and then

The clock runs from before the emit until the persister's gate has moved past the event, which is
when it is committed: whoever reads the history then finds it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns

from benchmarks.harness import (
    Figure,
    Options,
    Result,
    Scenario,
    Target,
    percentile,
    pinned,
    require,
    round_robin,
)
from benchmarks.processes import PATIENCE
from benchmarks.rings import RECORD_BYTES
from benchmarks.storing import KIND, event, folders, require_stored, stored, stored_ring
from ringbus.ring import Ring

LIMIT_MS = 50
PAUSES = (0.0, 0.1)  # seconds between two events, evenly spread
PERCENTILES = (50, 99)


def run(options: Options) -> Result:
    count = options.pick(200, 10)
    measured = {
        f"persister, {place}": _measure(folder, count) for place, folder in folders().items()
    }
    with pinned(0):
        times = round_robin(measured, options.pick(3, 1), warm_ups=0)
    figures, targets = [], []
    for name, of in times.items():
        for percent in PERCENTILES:
            figure = Figure(
                name, f"p{percent}", "ms", [percentile(each, percent) / 1e6 for each in of]
            )
            figures.append(figure)
        figures.append(Figure(name, "max", "ms", [max(each) / 1e6 for each in of]))
        targets.append(Target(f"{name}: p99 from emit to commit", figure.median, LIMIT_MS, "ms"))
    parameters = {"payload_bytes": RECORD_BYTES, "events_a_round": count, "seconds_apart": PAUSES}
    return Result(figures, targets, parameters)


def _measure(folder: Path, count: int) -> Callable[[], list[int]]:
    def measure() -> list[int]:
        with stored_ring(folder) as (ring, path):
            _time_one(ring, 0)  # and the persister has begun
            times = [_time_one(ring, number) for number in range(1, count + 1)]
            require_stored(ring, path, count + 1)
            return times

    return measure


def _time_one(ring: Ring, number: int) -> int:
    time.sleep(random.uniform(*PAUSES))
    start = perf_counter_ns()
    ring.emit(event(number), KIND)
    while stored(ring) <= number:
        require(perf_counter_ns() - start < PATIENCE * 1e9, f"event {number} was never stored")
    return perf_counter_ns() - start


SCENARIO = Scenario("From the emit of a calm agent to the commit", run, cores=2)
