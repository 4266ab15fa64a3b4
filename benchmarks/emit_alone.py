"""What one emit costs a program that nobody disturbs.

    [emitter] --> ring          no reader

Beside it: the same emit called from C, which is what it cannot cost less than, and a builtin that
does nothing, which is what calling from Python costs at least.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import repeat
from time import perf_counter_ns

from benchmarks.baselines.empty_call import build_empty_call
from benchmarks.core_emitter import CoreEmitter
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
from benchmarks.rings import fresh_ring, records
from ringbus.ring import Ring

METHOD = "ring.emit(payload)"
BOUND = "emit = ring.emit; emit(payload)"
CORE = "emit in C"
EMPTY = "empty builtin"
LOOP = "empty loop"
CALLS = 2  # a Python emit may cost so many empty calls more than the emit in C

Pass = Callable[[], float]


def run(options: Options) -> Result:
    count = options.pick(20_000, 2_000)
    rounds = options.pick(101, 5)
    with pinned(0), fresh_ring() as ring, CoreEmitter(ring.name) as core, without_collector():
        passes = {
            METHOD: _method(ring, count),
            BOUND: _bound(ring, count),
            CORE: _core(ring, core, count),
            EMPTY: _empty(count),
            LOOP: _loop(count),
        }
        times = round_robin(passes, rounds, warm_ups=3)
    return _result(times, {"payload_bytes": len(_PAYLOAD), "emits_a_round": count})


_PAYLOAD = records()[1]


def _method(ring: Ring, count: int) -> Pass:
    payload = _PAYLOAD

    def measure() -> float:
        before = ring.tail
        start = perf_counter_ns()
        for _ in repeat(None, count):
            ring.emit(payload)
        passed = perf_counter_ns() - start
        _check(ring, before, count)
        return passed / count

    return measure


def _bound(ring: Ring, count: int) -> Pass:
    payload = _PAYLOAD
    ring.emit(payload)  # from the first emit on, the attribute is the builtin itself

    def measure() -> float:
        emit, before = ring.emit, ring.tail
        start = perf_counter_ns()
        for _ in repeat(None, count):
            emit(payload)
        passed = perf_counter_ns() - start
        _check(ring, before, count)
        return passed / count

    return measure


def _core(ring: Ring, core: CoreEmitter, count: int) -> Pass:
    def measure() -> float:
        before = ring.tail
        start = perf_counter_ns()
        core.repeat(_PAYLOAD, count)
        passed = perf_counter_ns() - start
        _check(ring, before, count)
        return passed / count

    return measure


def _empty(count: int) -> Pass:
    empty, payload = build_empty_call(), _PAYLOAD

    def measure() -> float:
        start = perf_counter_ns()
        for _ in repeat(None, count):
            empty(payload)
        return (perf_counter_ns() - start) / count

    return measure


def _loop(count: int) -> Pass:
    def measure() -> float:
        start = perf_counter_ns()
        for _ in repeat(None, count):
            pass
        return (perf_counter_ns() - start) / count

    return measure


def _check(ring: Ring, before: int, count: int) -> None:
    """All are there, and the last of them is what was emitted."""
    require(ring.tail - before == count, f"{ring.tail - before} of {count} records were emitted")
    with ring.subscribe(ring.tail - 1) as subscriber:
        (last,) = subscriber.read(timeout=0)
    require(last.payload == _PAYLOAD, "a record holds something else than was emitted")


def _result(times: dict[str, list[float]], parameters: dict[str, object]) -> Result:
    net = {
        name: [max(time - loop, 0) for time, loop in zip(times[name], times[LOOP], strict=True)]
        for name in (METHOD, BOUND, EMPTY)
    }
    net[CORE] = times[CORE]
    figures = [Figure(name, "time", "ns/emit", net[name]) for name in (METHOD, BOUND, CORE)]
    figures += [
        Figure(EMPTY, "time", "ns/call", net[EMPTY]),
        Figure(LOOP, "time", "ns/turn", times[LOOP]),
    ]
    return Result(
        figures,
        [_target(name, net) for name in (METHOD, BOUND)],
        parameters,
        [
            "The empty loop of the same round is taken off the Python rows.",
            "The loop in C is part of the emit in C: about one ns, not measured apart.",
        ],
    )


def _target(name: str, net: dict[str, list[float]]) -> Target:
    """What is over the emit in C, round by round, as a number of empty calls."""
    over = [
        (python - core) / max(empty, 1e-9)
        for python, core, empty in zip(net[name], net[CORE], net[EMPTY], strict=True)
    ]
    figure = Figure(name, "over", "empty calls", over)
    return Target(f"{name}: over the emit in C", figure.median, CALLS, "empty calls")


SCENARIO = Scenario("Emit, alone in one process", run)
