"""What one emit costs a program that nobody disturbs.

    [emitter] --> ring          no reader

Beside it: the same emit called from C, which is what it cannot cost less than, a builtin that does
nothing, which is what calling from Python costs at least, and the copy of the payload alone.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import repeat
from time import perf_counter_ns

from benchmarks.baselines.empty_call import build_empty_call
from benchmarks.baselines.memcpy import build_copy
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
from benchmarks.rings import RECORD_BYTES, SIZES, fresh_ring, records
from ringbus.ring import Ring

METHOD = "ring.emit(payload)"
BOUND = "emit = ring.emit; emit(payload)"
CORE = "emit in C"
COPY = "memcpy of the payload"
EMPTY = "empty builtin"
LOOP = "empty loop"
CALLS = 1.5  # a Python emit may cost so many empty calls more than the emit in C

Key = tuple[str, int]  # what, and the size of the payload; 0: there is none
Pass = Callable[[], float]
PYTHON = (METHOD, BOUND, EMPTY)  # have a Python loop around them


def run(options: Options) -> Result:
    count = options.pick(20_000, 2_000)
    rounds = options.pick(51, 5)
    sizes = options.sizes(SIZES)
    with pinned(0), fresh_ring() as ring, CoreEmitter(ring.name) as core, without_collector():
        passes: dict[Key, Pass] = {(EMPTY, 0): _empty(count), (LOOP, 0): _loop(count)}
        copy = build_copy()
        for size in sizes:
            payload, fewer = records(size)[1], count if size < 4096 else count // 10
            if size == RECORD_BYTES:
                passes[METHOD, size] = _method(ring, payload, fewer)
            passes[BOUND, size] = _bound(ring, payload, fewer)
            passes[CORE, size] = _core(ring, core, payload, fewer)
            passes[COPY, size] = _copy(copy, size, fewer)
        times = round_robin(passes, rounds, warm_ups=3)
    return _result(times, {"emits_a_round": count})


def _method(ring: Ring, payload: bytes, count: int) -> Pass:
    def measure() -> float:
        before = ring.tail
        start = perf_counter_ns()
        for _ in repeat(None, count):
            ring.emit(payload)
        passed = perf_counter_ns() - start
        _check(ring, payload, before, count)
        return passed / count

    return measure


def _bound(ring: Ring, payload: bytes, count: int) -> Pass:
    ring.emit(payload)  # from the first emit on, the attribute is the builtin itself

    def measure() -> float:
        emit, before = ring.emit, ring.tail
        start = perf_counter_ns()
        for _ in repeat(None, count):
            emit(payload)
        passed = perf_counter_ns() - start
        _check(ring, payload, before, count)
        return passed / count

    return measure


def _core(ring: Ring, core: CoreEmitter, payload: bytes, count: int) -> Pass:
    def measure() -> float:
        before = ring.tail
        start = perf_counter_ns()
        core.repeat(payload, count)
        passed = perf_counter_ns() - start
        _check(ring, payload, before, count)
        return passed / count

    return measure


def _copy(copy: Callable[[int, int], float], size: int, count: int) -> Pass:
    def measure() -> float:
        passed = copy(size, count)
        require(passed >= 0, "there is no memory to copy to")
        return passed

    return measure


def _empty(count: int) -> Pass:
    empty, payload = build_empty_call(), records()[1]

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


def _check(ring: Ring, payload: bytes, before: int, count: int) -> None:
    """All are there, and the last of them is what was emitted."""
    require(ring.tail - before == count, f"{ring.tail - before} of {count} records were emitted")
    with ring.subscribe(ring.tail - 1) as subscriber:
        (last,) = subscriber.read(timeout=0)
    require(last.payload == payload, "a record holds something else than was emitted")


def _result(times: dict[Key, list[float]], parameters: dict[str, object]) -> Result:
    loop = times.pop((LOOP, 0))
    net = {
        key: [max(time - turn, 0) for time, turn in zip(of, loop, strict=True)]
        if key[0] in PYTHON
        else of
        for key, of in times.items()
    }
    figures = [
        Figure(name, f"time, {size:,} B", "ns/emit", net[name, size], _possible(net, name, size))
        for name, size in sorted(net, key=lambda key: key[1])
        if size
    ]
    figures += [
        Figure(EMPTY, "time", "ns/call", net[EMPTY, 0]),
        Figure(LOOP, "time", "ns/turn", loop),
    ]
    return Result(
        figures,
        [_target(name, net) for name in (METHOD, BOUND)],
        parameters,
        [
            "The empty loop of the same round is taken off the Python rows.",
            "The loop in C is part of the emit in C: about one ns, not measured apart.",
            "Possible for Python is the emit in C and one empty call, for C the copy alone.",
        ],
    )


def _possible(net: dict[Key, list[float]], name: str, size: int) -> list[float]:
    if name == COPY:
        return []
    if name == CORE:
        return net[COPY, size]
    return [core + empty for core, empty in zip(net[CORE, size], net[EMPTY, 0], strict=True)]


def _target(name: str, net: dict[Key, list[float]]) -> Target:
    """What is over the emit in C, round by round, as a number of empty calls."""
    size = RECORD_BYTES
    over = [
        (python - core) / max(empty, 1e-9)
        for python, core, empty in zip(net[name, size], net[CORE, size], net[EMPTY, 0], strict=True)
    ]
    figure = Figure(name, "over", "empty calls", over)
    return Target(f"{name}: over the emit in C", figure.median, CALLS, "empty calls")


SCENARIO = Scenario("Emit, alone in one process", run)
