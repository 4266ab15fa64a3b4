"""What the soak plays: who works on which ring, and what is done to them."""

from __future__ import annotations

import random
from dataclasses import dataclass

from tally import (
    BATCHES,
    CLOSES_DESCRIPTORS,
    EMITTER,
    FORKS,
    GATE,
    LEAVES_UNCLOSED,
    LENGTHS,
    NURSERY,
    PAUSES,
    PROBER,
    SUBSCRIBER,
)

BLOCK, DROP, FAIL = range(3)  # policies, as in ring.h
KIB = 1024


@dataclass(frozen=True)
class Post:
    """Work that one process after another does."""

    role: int
    manner: int = 0
    policy: int = DROP
    pause_us: int = 1
    width: int = 0
    is_python: bool = False
    weight: int = 4  # how often it is the victim


@dataclass(frozen=True)
class Scenario:
    name: str
    what: str
    size: int
    posts: tuple[Post, ...]
    has_gate: bool = False
    may_push: bool = False  # the gate may be pushed on
    is_removed: bool = False  # the ring is removed and made anew under its name
    is_apart: bool = False  # half of the workers live in another PID namespace
    is_starved: bool = False  # one core for all, nice 19 for some
    at_once: int = 6  # decisions that wait for their moment

    @property
    def block_size(self) -> int:
        """As rb_block_size() in layout.h."""
        return max(1024, self.size // 1024, min(self.size // 512, 4096))

    def lengths(self, rng: random.Random) -> list[int]:
        """Payload lengths to draw from: many small ones, the edges, a few that fill many blocks."""
        block, quarter = self.block_size, self.size // 4
        edges = [0, 1, 31, 32, 33, 63, 64, 65, block - 33, block - 32, block - 31, block, block + 1]
        large = [quarter, quarter - 1] + [rng.randrange(block, 4 * block) for _ in range(4)]
        small = [rng.randrange(300) for _ in range(LENGTHS - len(edges) - len(large))]
        lengths = edges + large + small
        rng.shuffle(lengths)
        return lengths


def emitters(policy: int) -> tuple[Post, ...]:
    """Five lanes: one that only emits, one that emits several at once, one that forks, ..."""
    return (
        Post(EMITTER, policy=policy),
        Post(EMITTER, BATCHES | PAUSES, policy, pause_us=3_000),
        Post(EMITTER, FORKS, policy),
        Post(EMITTER, CLOSES_DESCRIPTORS | LEAVES_UNCLOSED | PAUSES, policy, pause_us=800),
        Post(EMITTER, PAUSES, policy, pause_us=2_000, is_python=True, weight=1),
    )


READERS = (
    Post(SUBSCRIBER),
    Post(SUBSCRIBER, PAUSES, pause_us=3_000),
    Post(SUBSCRIBER, PAUSES, pause_us=2_000, is_python=True, weight=1),
    Post(PROBER),
)

SCENARIOS = (
    Scenario(
        "overwriting",
        "64 KiB, overwriting",
        64 * KIB,
        (*emitters(DROP), Post(NURSERY, width=2, pause_us=2_000), *READERS),
    ),
    Scenario(
        "crowd",
        "1 MiB, overwriting, brief emitters by the thousand",
        1024 * KIB,
        (*emitters(DROP), *(Post(NURSERY, width=16, pause_us=2_000),) * 2, *READERS),
    ),
    Scenario(
        "calm",
        "1 MiB, pauses, so that subscribers sleep and are woken",
        1024 * KIB,
        (
            *(Post(EMITTER, PAUSES, pause_us=30_000, weight=8),) * 2,
            Post(EMITTER, PAUSES | BATCHES, pause_us=50_000, weight=8),
            Post(NURSERY, width=1, pause_us=60_000),
            *(Post(SUBSCRIBER, weight=1),) * 3,
            Post(SUBSCRIBER, is_python=True, weight=1),
        ),
        at_once=1,
    ),
    Scenario(
        "gate",
        "64 KiB, a gate that is waited for and has successors",
        64 * KIB,
        (
            *emitters(BLOCK),
            Post(EMITTER, policy=FAIL, manner=PAUSES, pause_us=500),
            Post(NURSERY, policy=BLOCK, width=1, pause_us=2_000),
            Post(GATE),
            *READERS,
        ),
        has_gate=True,
    ),
    Scenario(
        "pushed",
        "64 KiB, a slow gate that is pushed on",
        64 * KIB,
        (
            *emitters(DROP),
            Post(NURSERY, width=2, pause_us=2_000),
            Post(GATE, PAUSES, pause_us=5_000),
            *READERS,
        ),
        has_gate=True,
        may_push=True,
    ),
    Scenario(
        "namespaces",
        "256 KiB, two PID namespaces, a gate with successors",
        256 * KIB,
        (
            *emitters(BLOCK),
            *emitters(BLOCK)[:4],
            *(Post(NURSERY, policy=BLOCK, width=4, pause_us=2_000),) * 2,
            *(Post(GATE),),
            *(Post(PROBER),) * 2,
            *READERS,
        ),
        has_gate=True,
        is_apart=True,
    ),
    Scenario(
        "starved",
        "64 KiB, overwriting, one core, nice 19 for some",
        64 * KIB,
        (*emitters(DROP), Post(NURSERY, width=2, pause_us=2_000), *READERS),
        is_starved=True,
    ),
    Scenario(
        "removed",
        "64 KiB, removed and made anew under load",
        64 * KIB,
        (*emitters(DROP), Post(NURSERY, width=2, pause_us=2_000), *READERS),
        is_removed=True,
    ),
)


def by_name(name: str) -> Scenario:
    return next(scenario for scenario in SCENARIOS if scenario.name == name)
