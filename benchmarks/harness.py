"""What every scenario is made of: rounds, figures, targets, and results that are checked.

Contenders are measured in turn, round after round, because the speed of a machine drifts: what
is compared was measured at the same time. Nothing is ever a mean: a figure keeps the value of
every round and shows their median and how far they lie apart.
"""

from __future__ import annotations

import gc
import os
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

K = TypeVar("K")
T = TypeVar("T")


class WrongResultError(Exception):
    """What was measured did not do its work: something is missing, wrong or twice."""


@dataclass(frozen=True)
class Options:
    """`quick` shows that a scenario works; its numbers are not worth keeping."""

    quick: bool = False
    peers: tuple[str, ...] = ()  # only these, beside ringbus; none: all

    def wants(self, name: str) -> bool:
        """Whether a contender is to take part."""
        return not self.peers or name in self.peers

    def pick(self, full: int, quick: int) -> int:
        return quick if self.quick else full

    def sizes(self, all_of_them: Sequence[int]) -> Sequence[int]:
        """The sizes of payloads to measure."""
        return [256] if self.quick else all_of_them


@dataclass(frozen=True)
class Figure:
    """One quantity of one contender, a value for each round."""

    contender: str
    quantity: str
    unit: str
    values: Sequence[float]
    possible: Sequence[float] = ()  # what the machine can do at most, in the same rounds

    @property
    def share(self) -> float | None:
        """How much of what is possible it is, in percent."""
        if not self.possible:
            return None
        is_rate = self.unit.endswith("/s")
        ratios = [
            value / limit if is_rate else limit / max(value, 1e-9)
            for value, limit in zip(self.values, self.possible, strict=True)
        ]
        return statistics.median(ratios) * 100

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def percentile(self, percent: float) -> float:
        return percentile(self.values, percent)


@dataclass(frozen=True)
class Target:
    """What a scenario is to show; `at_least` says which side of the limit is good."""

    claim: str
    value: float
    limit: float
    unit: str
    at_least: bool = False

    @property
    def is_met(self) -> bool:
        return self.value >= self.limit if self.at_least else self.value <= self.limit


@dataclass(frozen=True)
class Result:
    """What a scenario found. `parameters` says what was done, `notes` how to read it.

    `failures` tells who of the others delivered a wrong or short result; they have no figures.
    """

    figures: Sequence[Figure]
    targets: Sequence[Target] = ()
    parameters: Mapping[str, object] = field(default_factory=dict)
    notes: Sequence[str] = ()
    failures: Sequence[str] = ()


@dataclass(frozen=True)
class Scenario:
    """One thing to measure: `run` measures it, or raises `WrongResultError`."""

    title: str
    run: Callable[[Options], Result]
    cores: int = 1


def round_robin(
    contenders: Mapping[K, Callable[[], T]], rounds: int, *, warm_ups: int = 1
) -> dict[K, list[T]]:
    """Runs each contender once a round, each round in another order; what they returned."""
    names = list(contenders)
    results: dict[K, list[T]] = {name: [] for name in names}
    for number in range(-warm_ups, rounds):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            outcome = contenders[name]()
            if number >= 0:
                results[name].append(outcome)
    return results


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of how many times theirs ours is, round by round."""
    return statistics.median(
        one / max(other, 1e-9) for one, other in zip(ours, theirs, strict=True)
    )


def percentile(values: Sequence[float], percent: float) -> float:
    """By rank, so it is always a value that was measured."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def require(holds: bool, what: str) -> None:
    """Fails the run unless it did what it was to do."""
    if not holds:
        raise WrongResultError(what)


@contextmanager
def without_collector() -> Iterator[None]:
    """No garbage collection, which would hit one contender or another by chance."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def pin(core: int) -> None:
    """Keeps this process on one core, the n-th that it may use; with a single core, on that."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[core % len(cores)]})


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """`pin` for a while."""
    before = os.sched_getaffinity(0)
    pin(core)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
