"""What is known of an agent's ring, of who stores it, and of its history: read when asked for."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ringbus.agents import database_of
from ringbus.errors import (
    HistoryError,
    IncompatibleRing,
    Lapped,
    RingNotFound,
    RingUnlinked,
)
from ringbus.history import History
from ringbus.persister.writer_lock import WriterLock
from ringbus.recent import is_there
from ringbus.ring import HISTORY_GATE, Ring
from ringbus.ring.stats import GateStats, RingStats

STALLED_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class HistoryFigures:
    """A history at one moment; `gaps` is number and missed records by reason."""

    bytes: int
    last_ts_ns: int | None
    next_seq: int  # in the ring's epoch
    gaps: dict[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Figures:
    """An agent at one moment.

    `unstored` counts events of the ring that the history does not have, None if that is unknown;
    `waiting_ns` is since when the oldest of them waits. `has_persister`: a process holds the writer
    lock, whether or not it can write. `problem` says what cannot be read, and why.
    """

    agent: str
    database: Path
    ring: RingStats | None
    gate: GateStats | None
    has_persister: bool
    history: HistoryFigures | None
    unstored: int | None
    waiting_ns: int
    problem: str | None

    @property
    def is_storing(self) -> bool:
        """Whether a living persister keeps emitters from lapping it."""
        return self.gate is not None and self.gate.alive

    def trouble(self) -> str | None:
        """What somebody should do something about; None as long as all is well."""
        if self.problem is not None or not self.unstored:
            return self.problem
        what = f"{self.unstored} events of agent {self.agent} are not stored"
        if not self.has_persister:
            return f"{what}: no persister runs. `ringbus up` starts one."
        if not self.is_storing:
            return f"{what}: its persister cannot write {self.database}. Its log says why."
        still = (time.time_ns() - self.waiting_ns) / 1e9
        if self.gate is not None and still > STALLED_SECONDS:
            return f"{what}, the oldest for {still:.0f} s: is process {self.gate.pid} stopped?"
        return None


def figures(agent: str, state: Path) -> Figures:
    """Opens ring and history, and closes them again. Never raises for what cannot be read."""
    database = database_of(agent, state)
    problems: list[str] = []
    ring = _open_ring(agent, problems)
    try:
        # First the ring: what is stored meanwhile makes the figure too small for a moment, at most.
        stats = None if ring is None else ring.stats()
        history = _history(agent, database, stats, problems)
        unstored = _unstored(stats, history)
        waiting_ns = 0
        if ring is not None and stats is not None and unstored:
            waiting_ns = _since(ring, stats.tail - unstored)
    finally:
        if ring is not None:
            ring.close()
    return Figures(
        agent=agent,
        database=database,
        ring=stats,
        gate=_history_gate(stats),
        has_persister=WriterLock(database).is_held(),
        history=history,
        unstored=unstored,
        waiting_ns=waiting_ns,
        problem="; ".join(problems) or None,
    )


def _open_ring(agent: str, problems: list[str]) -> Ring | None:
    try:
        return Ring.open(agent, observer=True)
    except (RingNotFound, RingUnlinked):
        return None
    except (IncompatibleRing, PermissionError) as error:
        problems.append(str(error))
        return None


def _history(
    agent: str, database: Path, stats: RingStats | None, problems: list[str]
) -> HistoryFigures | None:
    if not is_there(database):
        return None
    try:
        with History.open(database, agent) as history:
            return HistoryFigures(
                bytes=_file_bytes(database),
                last_ts_ns=history.last_ts_ns(),
                next_seq=0 if stats is None else history.next_seq(stats.epoch) or 0,
                gaps=history.gaps_by_reason(),
            )
    except HistoryError as error:
        problems.append(str(error))
        return None


def _file_bytes(database: Path) -> int:
    total = 0
    for path in (database, database.with_name(database.name + "-wal")):
        with suppress(FileNotFoundError):
            total += path.stat().st_size
    return total


def _history_gate(stats: RingStats | None) -> GateStats | None:
    gates = [] if stats is None else stats.gates
    return next((gate for gate in gates if gate.name == HISTORY_GATE), None)


def _unstored(stats: RingStats | None, history: HistoryFigures | None) -> int | None:
    if stats is None:
        return 0
    if history is not None:
        return max(0, stats.tail - history.next_seq)
    gate = _history_gate(stats)
    return None if gate is None else gate.lag


def _since(ring: Ring, seq: int) -> int:
    """When that record, or the oldest after it that is kept, was emitted; 0 if it is gone."""
    try:
        with ring.subscribe(seq) as subscriber:
            records = subscriber.read(1, 0)
    except (Lapped, RingUnlinked):
        return 0
    return records[0].ts_ns if records else 0
