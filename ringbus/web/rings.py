"""What the pages tell of rings themselves: ends and lags. Reads only."""

from __future__ import annotations

from pathlib import Path

from ringbus.errors import HistoryError, IncompatibleRing, RingNotFound, RingUnlinked
from ringbus.history import History
from ringbus.ring import HISTORY_GATE, Ring
from ringbus.ring.stats import RingStats


def open_ring(agent: str) -> Ring | None:
    """The agent's ring; None if there is none on this machine that can be read."""
    try:
        return Ring.open(agent, observer=True)
    except (RingNotFound, RingUnlinked, IncompatibleRing, PermissionError):
        return None


def ring_stats(agent: str) -> RingStats | None:
    """The figures of the agent's ring; None if there is none."""
    ring = open_ring(agent)
    if ring is None:
        return None
    with ring:
        return ring.stats()


def history_lag(agent: str, database: Path) -> int | None:
    """How many of the agent's events are not stored yet; None if they are not being stored."""
    stats = ring_stats(agent)
    if stats is None:
        return 0
    for gate in stats.gates:
        if gate.name == HISTORY_GATE:
            return gate.lag
    # An automatic persister leaves when all is stored.
    return 0 if _stored(agent, database, stats.epoch) >= stats.tail else None


def _stored(agent: str, database: Path, epoch: str) -> int:
    try:
        with History.open(database, agent) as history:
            return history.next_seq(epoch) or 0
    except HistoryError:
        return 0
