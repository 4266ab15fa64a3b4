"""What an emit costs while another thread of the program computes.

    [emitting thread, busy thread] --> ring          one process, no reader

A call that gives the interpreter lock away gets it back when the busy thread has had its turn,
which lasts 5 ms. Beside it: the same emit, called through stock cffi, which does that.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter_ns

from benchmarks.baselines.stock_cffi import stock_emit
from benchmarks.core_emitter import CoreEmitter
from benchmarks.harness import (
    Figure,
    Options,
    Result,
    Scenario,
    Target,
    percentile,
    require,
    round_robin,
    without_collector,
)
from benchmarks.rings import fresh_ring, records
from ringbus.ring import Ring

BUILTIN = "ring.emit"
STOCK = "stock cffi call"
CALM = "ring.emit, no busy thread"
RATIO = 5
TAIL = 5  # times its p99 without the busy thread may an emit's p99 be
GROUP = 10  # emits between two looks at the clock, where the rate is measured
PERCENTILES = (50, 99, 99.9)

Emit = Callable[[], object]


@dataclass(frozen=True)
class Sample:
    rate: float  # emits/s
    times_ns: list[int]


def run(options: Options) -> Result:
    seconds = options.pick(400, 100) / 1000
    rounds = options.pick(9, 2)
    payload = records()[1]
    with fresh_ring() as ring, CoreEmitter(ring.name) as core, without_collector():
        ring.emit(payload)
        emit = ring.emit
        emits: dict[str, Emit] = {
            BUILTIN: lambda: emit(payload),
            STOCK: stock_emit(core, payload),
        }
        measured = {name: _measure(ring, emits[name], seconds) for name in emits}
        calm = round_robin({CALM: measured[BUILTIN]}, rounds)
        with busy_thread():
            samples = calm | round_robin(measured, rounds)
    return _result(samples, {"payload_bytes": len(payload), "seconds_a_round": 2 * seconds})


@contextmanager
def busy_thread() -> Iterator[None]:
    """A thread that does nothing but run Python."""
    is_over = False

    def spin() -> None:
        while not is_over:
            pass

    thread = threading.Thread(target=spin)
    thread.start()
    try:
        yield
    finally:
        is_over = True
        thread.join()


def _measure(ring: Ring, emit: Emit, seconds: float) -> Callable[[], Sample]:
    """First the rate, then the single times: reading the clock costs as much as an emit."""
    length_ns = int(seconds * 1e9)

    def measure() -> Sample:
        before = ring.tail
        count, passed_ns = _rate(emit, length_ns)
        times_ns = _times(emit, length_ns)
        missing = count + len(times_ns) - (ring.tail - before)
        require(missing == 0, f"{missing} records are missing of {count + len(times_ns)}")
        return Sample(count / passed_ns * 1e9, times_ns)

    return measure


def _rate(emit: Emit, length_ns: int) -> tuple[int, int]:
    count, start = 0, perf_counter_ns()
    while (passed := perf_counter_ns() - start) < length_ns:
        for _ in range(GROUP):
            emit()
        count += GROUP
    return count, passed


def _times(emit: Emit, length_ns: int) -> list[int]:
    times: list[int] = []
    now = start = perf_counter_ns()
    while now - start < length_ns:
        before = perf_counter_ns()
        emit()
        now = perf_counter_ns()
        times.append(now - before)
    return times


def _result(samples: dict[str, list[Sample]], parameters: dict[str, object]) -> Result:
    rates = {name: [sample.rate for sample in of] for name, of in samples.items()}
    figures = [Figure(name, "rate", "emits/s", rates[name]) for name in rates]
    for name, of in samples.items():
        figures += [
            Figure(
                name, f"p{percent:g}", "us", [percentile(s.times_ns, percent) / 1000 for s in of]
            )
            for percent in PERCENTILES
        ]
    ratios = [ours / stock for ours, stock in zip(rates[BUILTIN], rates[STOCK], strict=True)]
    ratio = Figure(BUILTIN, f"rate over that of a {STOCK}", "times", ratios)
    figures.append(ratio)
    busy, calm = (Figure(name, "", "", _p99(samples[name])).median for name in (BUILTIN, CALM))
    return Result(
        figures,
        [
            Target(f"{BUILTIN}: {ratio.quantity}", ratio.median, RATIO, "times", at_least=True),
            Target(f"{BUILTIN}: p99 over that without a busy thread", busy / calm, TAIL, "times"),
        ],
        parameters,
        [
            "Each emit is inside one Python function, whose call is part of all rows.",
            "A look at the clock is part of each time, but not of the rates.",
            "The threads are not pinned, and half of the time is rightly the busy thread's.",
        ],
    )


def _p99(of: list[Sample]) -> list[float]:
    return [percentile(sample.times_ns, 99) for sample in of]


SCENARIO = Scenario("Emit, beside a busy thread of the same process", run, cores=2)
