"""Options of `Ring.create()`, `Ring.open()` and `Ring.open_or_create()`, and the checks of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypedDict

from ringbus import _access, settings
from ringbus._access import Access
from ringbus._native import lib
from ringbus.ring.stalls import Stall, warn_pushed

POLICIES: dict[str, int] = {
    "block": lib.RB_POLICY_BLOCK,
    "drop": lib.RB_POLICY_DROP,
    "fail": lib.RB_POLICY_FAIL,
}
LONGEST_LIMIT = 1e9  # seconds; more than anybody waits, and it fits in 64 bits of ns
DEFAULT_LIMITS: dict[str, float] = {"block": 5.0, "drop": 0.0, "fail": 0.0}


class Emitting(TypedDict, total=False):
    """How a handle emits; `Ring` says what they mean."""

    policy: settings.Policy
    limit: float | None
    on_stall: Callable[[Stall], None]


class Making(TypedDict, total=False):
    """How a new ring is made; `Ring.create()` says what they mean."""

    size: int | None
    mode: int | None
    group: str | int | None


@dataclass(frozen=True)
class Manner:
    """How a handle emits, checked."""

    policy: int
    limit_ns: int
    on_stall: Callable[[Stall], None]


def manner_of(
    *,
    policy: settings.Policy = "drop",
    limit: float | None = None,
    on_stall: Callable[[Stall], None] = warn_pushed,
) -> Manner:
    if policy not in POLICIES:
        raise ValueError(f"policy {policy!r} is none of {', '.join(POLICIES)}")
    limit = DEFAULT_LIMITS[policy] if limit is None else limit
    if not 0 <= limit <= LONGEST_LIMIT:
        raise ValueError(f"limit is 0 to {LONGEST_LIMIT:.0f} seconds, not {limit!r}")
    return Manner(POLICIES[policy], int(limit * 1e9), on_stall)


def size_and_access(
    *, size: int | None = None, mode: int | None = None, group: str | int | None = None
) -> tuple[int, Access]:
    """What is not given is taken from the environment."""
    size = settings.ring_size() if size is None else size
    if not settings.MIN_RING_SIZE <= size <= settings.MAX_RING_SIZE or size & (size - 1):
        raise ValueError(
            f"size {size} is not a power of two from {settings.MIN_RING_SIZE} to "
            f"{settings.MAX_RING_SIZE}"
        )
    return size, _access.access(
        settings.ring_mode() if mode is None else mode,
        settings.ring_group() if group is None else group,
    )
