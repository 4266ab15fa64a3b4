"""What the pages tell of rings themselves: ends and lags. Reads only."""

from __future__ import annotations

from pathlib import Path

from ringbus.errors import HistoryError, IncompatibleRing, RingNotFound, RingUnlinked
from ringbus.history import History
from ringbus.ring import Ring
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


def stored_seqs(agent: str, database: Path, epoch: str) -> int:
    """How far the agent's history goes in that epoch; 0 if it cannot be asked."""
    try:
        with History.open(database, agent) as history:
            return history.next_seq(epoch) or 0
    except HistoryError:
        return 0
