"""How late a record is read that was emitted when it was due: 1,000 and 10,000 a second.

    [emitter] --> ring --> [reader]          one emit at each tick of a clock

The time runs from the moment when the record should have been emitted until its bytes are in the
reader's hands. An emitter that is held up is therefore late with all that follow, as its program
would be. It waits for its ticks awake, giving way to other threads of its process, for a timer
would be later than the records are; the reader sleeps in its own way.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable
from contextlib import ExitStack
from itertools import cycle, islice
from multiprocessing.connection import Connection
from time import monotonic_ns

from benchmarks.baselines.shared_queues import PROMPT, QUICK
from benchmarks.delivery import READY, OneChecker
from benchmarks.harness import (
    Figure,
    Options,
    Result,
    Scenario,
    Target,
    WrongResultError,
    percentile,
    ratio,
    require,
    round_robin,
)
from benchmarks.peers import absences, present
from benchmarks.processes import Child, hear_each
from benchmarks.rings import records
from benchmarks.transports import RINGBUS, Peer, Shape, Transport

RATES = {1000: 1.0, 10_000: 0.6}  # records a second, and the seconds of a round
PERCENTILES = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p99.9": 99.9, "max": 100.0}
GOALS = ((10_000, "p50"), (10_000, "p99"), (1000, "p99"))
KERNEL = "Unix datagram"  # what the goals are about
AWAKE_NS = 200_000  # before a tick: a sleep may be so much too long

Key = tuple[str, int]  # who, and the rate
Latencies = list[float]  # us


def run(options: Options) -> Result:
    failures: dict[Key, str] = {}
    contenders = {
        (peer.name, rate): _contender(peer, rate, int(rate * seconds), failures)
        for rate, seconds in _rates(options).items()
        for peer in (PROMPT if one is QUICK else one for one in present(Shape(), options))
        if not peer.lack()
    }
    measured = round_robin(contenders, options.pick(3, 1), warm_ups=0)
    found = {
        key: [one for one in of if one is not None]
        for key, of in measured.items()
        if key not in failures
    }
    figures = [
        Figure(name, f"{label} at {rate:,}/s", "us", [percentile(one, percent) for one in of])
        for (name, rate), of in found.items()
        for label, percent in PERCENTILES.items()
    ]
    return Result(
        figures,
        [target for goal in GOALS if (target := _target(*goal, figures))],
        {"payload_bytes": Shape().size},
        ["A round's p99.9 at 1,000/s is its second or third worst record.", *absences(options)],
        [f"{name}, {rate:,}/s: {why}" for (name, rate), why in failures.items()],
    )


def _rates(options: Options) -> dict[int, float]:
    return {10_000: 0.05} if options.quick else RATES


def _contender(
    peer: Peer, rate: int, count: int, failures: dict[Key, str]
) -> Callable[[], Latencies | None]:
    def measure() -> Latencies | None:
        if (peer.name, rate) in failures:
            return None
        try:
            return _measure(peer, rate, count)
        except WrongResultError as error:
            if peer is RINGBUS:
                raise
            failures[peer.name, rate] = str(error).strip().splitlines()[-1]
            return None

    return measure


def _measure(peer: Peer, rate: int, count: int) -> Latencies:
    with peer.open(Shape()) as transport, ExitStack() as stack:
        reader = stack.enter_context(Child(read_all, transport, count, core=1))
        require(reader.hear() == READY, "the reader did not come up")
        interval_ns = 1_000_000_000 // rate
        emitter = stack.enter_context(Child(emit_all, transport, count, interval_ns, core=0))
        require(emitter.hear() == READY, "the emitter did not come up")
        emitter.tell()
        start_ns, arrivals = hear_each([emitter, reader])
        emitter.tell()
    require(len(arrivals) == count, f"{len(arrivals)} of {count} records were delivered")
    return [
        (arrival - start_ns - number * interval_ns) / 1000
        for number, arrival in enumerate(arrivals)
    ]


def emit_all(link: Connection, transport: Transport, count: int, interval_ns: int) -> None:
    """The emitter process; its first word is when the first record was due."""
    emitter = transport.open_emitter(0)
    emit, table = emitter.emit, records()
    link.send(READY)
    link.recv()
    due_ns = start_ns = monotonic_ns() + 10_000_000
    for payload in islice(cycle(table), count):
        _wait_until(due_ns)
        emit(payload)
        due_ns += interval_ns
    emitter.finish()
    link.send(start_ns)
    link.recv()


def _wait_until(due_ns: int) -> None:
    while (left_ns := due_ns - monotonic_ns()) > 0:
        time.sleep((left_ns - AWAKE_NS) / 1e9 if left_ns > AWAKE_NS else 0)


def read_all(link: Connection, transport: Transport, count: int) -> None:
    """The reader process: when each record was there, all of them compared."""
    read, check = transport.open_reader(0), OneChecker(Shape())
    arrivals = array("q")
    link.send(READY)
    while len(arrivals) < count:
        batch = read()
        now_ns = monotonic_ns()
        require(bool(batch), f"{len(arrivals)} of {count} records were delivered")
        require(check.holds(batch), f"wrong records were delivered after {len(arrivals)}")
        arrivals.extend([now_ns] * len(batch))
    link.send(arrivals)


def _target(rate: int, label: str, figures: list[Figure]) -> Target | None:
    quantity = f"{label} at {rate:,}/s"
    values = {one.contender: one.values for one in figures if one.quantity == quantity}
    if KERNEL not in values or RINGBUS.name not in values:
        return None
    claim = f"{quantity}: {RINGBUS.name} over {KERNEL}"
    return Target(claim, ratio(values[RINGBUS.name], values[KERNEL]), 1, "times")


SCENARIO = Scenario("Latency at a fixed rate, from the moment a record is due", run, cores=2)
