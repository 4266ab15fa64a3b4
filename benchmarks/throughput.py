"""What the scenarios of throughput share: every peer, in shapes of one kind, against the core."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.baselines.core_delivery import NAME as CORE
from benchmarks.baselines.core_delivery import deliver_by_core
from benchmarks.delivery import Delivered, count_for, deliver
from benchmarks.harness import (
    Figure,
    Options,
    Result,
    Target,
    WrongResultError,
    ratio,
    round_robin,
)
from benchmarks.peers import absences, present
from benchmarks.transports import RINGBUS, Peer, Shape

Key = tuple[str, int]  # who, and the size of a payload


@dataclass(frozen=True)
class Goal:
    """How many times what a peer delivers ringbus is to deliver."""

    peer: str
    times: float
    size: int = 256


class Lenient:
    """Runs of the others: one that fails is left out from then on, and told."""

    def __init__(self) -> None:
        self.failures: dict[tuple[str, Shape], str] = {}

    def run(self, peer: Peer, shape: Shape, count: int) -> Delivered | None:
        key = (peer.name, shape)
        if key in self.failures:
            return None
        try:
            return deliver(peer, shape, count)
        except WrongResultError as error:
            if peer is RINGBUS:
                raise
            self.failures[key] = str(error).strip().splitlines()[-1]
            return None

    def told(self) -> list[str]:
        return [
            f"{name}, {shape.emitters} to {shape.readers}, {shape.size} bytes: {why}"
            for (name, shape), why in self.failures.items()
        ]


def throughput(
    shapes: Sequence[Shape], goals: Sequence[Goal], options: Options, notes: Sequence[str] = ()
) -> Result:
    """Records a second of every peer, for each shape; in each round all of them, in turn."""
    seconds, lenient = options.pick(300, 20) / 1000, Lenient()
    contenders: dict[Key, Callable[[], Delivered | None]] = {}
    for shape in shapes:
        contenders[CORE, shape.size] = _core(shape, seconds)
        for peer in present(shape, options):
            contenders[peer.name, shape.size] = _peer(lenient, peer, shape, seconds)
    measured = round_robin(contenders, options.pick(3, 1), warm_ups=0)
    rates = {
        key: [one.rate for one in of if one is not None]
        for key, of in measured.items()
        if key not in {(name, shape.size) for name, shape in lenient.failures}
    }
    return Result(
        [_figure(key, values, rates[CORE, key[1]]) for key, values in rates.items()],
        [target for goal in goals if (target := _target(goal, rates))],
        {
            "emitters": shapes[0].emitters,
            "readers": shapes[0].readers,
            "seconds_a_round": f"about {seconds:g}",
        },
        [*notes, *absences(options, *(shape.size for shape in shapes))],
        lenient.told(),
    )


def _core(shape: Shape, seconds: float) -> Callable[[], Delivered]:
    return lambda: deliver_by_core(shape, seconds)


def _peer(
    lenient: Lenient, peer: Peer, shape: Shape, seconds: float
) -> Callable[[], Delivered | None]:
    return lambda: lenient.run(peer, shape, count_for(peer, shape, seconds))


def _figure(key: Key, values: Sequence[float], possible: Sequence[float]) -> Figure:
    name, size = key
    return Figure(name, f"delivered, {size:,} B", "records/s", values, possible)


def _target(goal: Goal, rates: dict[Key, list[float]]) -> Target | None:
    theirs = rates.get((goal.peer, goal.size))
    if not theirs:
        return None
    value = ratio(rates[RINGBUS.name, goal.size], theirs)
    claim = f"{RINGBUS.name} over {goal.peer}, {goal.size:,} B"
    return Target(claim, value, goal.times, "times", at_least=True)
