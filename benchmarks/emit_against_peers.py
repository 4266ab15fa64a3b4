"""What one emit costs its program, beside what sending a record costs with other means.

    [emitter] --> ring                       nobody reads
    [emitter] --> ring --> [reader]          a reader takes all, as fast as it can

With a reader, the time is from one emit to the next, and so holds the waiting for a reader that is
slower: nothing may be lost, and what lies between the two is bounded.
"""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.delivery import Delivered, count_for
from benchmarks.harness import Figure, Options, Result, Scenario, Target, ratio, round_robin
from benchmarks.peers import absences, present
from benchmarks.throughput import Lenient
from benchmarks.transports import RINGBUS, Peer, Shape

QUANTITIES = {0: "emit, nobody reads", 1: "emit, one reader"}
GOALS = ((0, "pyzmq PUB/SUB", 5.0), (0, "quick-queue", 1.0), (1, "pyzmq PUB/SUB", 8.0))

Key = tuple[str, int]  # who, and the number of readers


def run(options: Options) -> Result:
    seconds, lenient = options.pick(200, 20) / 1000, Lenient()
    contenders = {
        (peer.name, readers): _contender(lenient, peer, Shape(1, readers), seconds)
        for readers in QUANTITIES
        for peer in present(Shape(1, readers), options)
    }
    measured = round_robin(contenders, options.pick(3, 1), warm_ups=0)
    times = {key: [one.emit_ns for one in of if one is not None] for key, of in measured.items()}
    return Result(
        [
            Figure(name, QUANTITIES[readers], "ns/emit", of)
            for (name, readers), of in times.items()
            if (name, Shape(1, readers)) not in lenient.failures
        ],
        [target for goal in GOALS if (target := _target(*goal, times))],
        {"payload_bytes": Shape().size, "seconds_a_round": f"about {seconds:g}"},
        ["The loop around each emit is part of it.", *absences(options)],
        lenient.told(),
    )


def _contender(
    lenient: Lenient, peer: Peer, shape: Shape, seconds: float
) -> Callable[[], Delivered | None]:
    return lambda: lenient.run(peer, shape, count_for(peer, shape, seconds))


def _target(readers: int, name: str, times: float, found: dict[Key, list[float]]) -> Target | None:
    theirs, ours = found.get((name, readers)), found[RINGBUS.name, readers]
    if not theirs or len(theirs) < len(ours):
        return None
    claim = f"{QUANTITIES[readers]}: {name} over {RINGBUS.name}"
    return Target(claim, ratio(theirs, ours), times, "times", at_least=True)


SCENARIO = Scenario("Emit, against sending with other means", run, cores=2)
