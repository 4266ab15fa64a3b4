"""What single emits cost while the persister of the ring stores flat out.

    [emitter] --> ring <-- [persister] --> history          a core each

The emitter rests, with its clock stopped, where the ring is half full, until three quarters are
free: so the persister always has work, and no emit waits at its gate. Beside it: the same emits
into a ring that nobody stores.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import median
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
    without_collector,
)
from benchmarks.rings import RECORD_BYTES, fresh_ring
from benchmarks.storing import (
    KIND,
    event,
    fits,
    folders,
    require_stored,
    stored,
    stored_ring,
    wait_stored,
)
from ringbus.ring import Ring

ALONE = "nobody stores"
RATIO = 2
BURST = 1000  # emits between two looks at how full the ring is
PERCENTILES = (50, 99, 99.9)


def run(options: Options) -> Result:
    size, count = options.pick(16 << 20, 2 << 20), options.pick(400_000, 10_000)
    measured: dict[str, Callable[[], list[int]]] = {ALONE: lambda: _alone(size, count)}
    for place, folder in folders().items():
        measured[f"persister, {place}"] = _beside(folder, size, count)
    with pinned(0), without_collector():
        times = round_robin(measured, options.pick(7, 1))
    return _result(times, count)


def _alone(size: int, count: int) -> list[int]:
    with fresh_ring(size=size) as ring:
        return _times(ring, count, lambda _seq: None)


def _beside(folder: Path, size: int, count: int) -> Callable[[], list[int]]:
    kept = fits(size)

    def measure() -> list[int]:
        with stored_ring(folder, size) as (ring, path):
            times = _times(ring, count, lambda seq: _rest(ring, seq, kept))
            require_stored(ring, path, count)
            return times

    return measure


def _rest(ring: Ring, seq: int, kept: int) -> None:
    if seq - stored(ring) > kept // 2:
        wait_stored(ring, seq - kept // 4)


def _times(ring: Ring, count: int, rest: Callable[[int], None]) -> list[int]:
    ring.emit(event(0), KIND)  # from the first emit on, the attribute is the builtin itself
    emit, times = ring.emit, []
    for first in range(1, count, BURST):
        rest(first)
        for payload in [event(number) for number in range(first, min(first + BURST, count))]:
            before = perf_counter_ns()
            emit(payload, KIND)
            times.append(perf_counter_ns() - before)
    require(ring.tail == count, f"{ring.tail} of {count} records were emitted")
    return times


def _result(times: dict[str, list[list[int]]], count: int) -> Result:
    figures = [
        Figure(name, f"p{percent:g}", "ns", [percentile(each, percent) for each in of])
        for name, of in times.items()
        for percent in PERCENTILES
    ]
    figures += [Figure(name, "max", "ns", [max(each) for each in of]) for name, of in times.items()]
    targets = []
    for name in times.keys() - {ALONE}:
        ratios = [
            percentile(ours, 99.9) / percentile(alone, 99.9)
            for ours, alone in zip(times[name], times[ALONE], strict=True)
        ]
        claim = f"{name}: p99.9 over {ALONE}"
        targets.append(Target(claim, median(ratios), RATIO, "times"))
    return Result(
        figures,
        sorted(targets, key=lambda target: target.claim),
        {"payload_bytes": RECORD_BYTES, "emits_a_round": count},
        ["A look at the clock, some 50 ns, is part of each time."],
    )


SCENARIO = Scenario("Emit, while the persister stores flat out", run, cores=2)
