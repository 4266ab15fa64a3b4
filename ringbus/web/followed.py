"""One agent of the overview: its events read once each, and what its ring says of it."""

from __future__ import annotations

import logging
import time
from contextlib import ExitStack
from pathlib import Path

from ringbus._native import Record
from ringbus.agents import database_of
from ringbus.choice import Choice
from ringbus.errors import RingbusError
from ringbus.events import Envelope, Gap, Position
from ringbus.follow import Follow
from ringbus.recent import open_history, recent
from ringbus.ring import HISTORY_GATE
from ringbus.ring.stats import RingStats
from ringbus.web.digest import Digest, Storing, Summary
from ringbus.web.rings import open_ring, ring_stats, stored_seqs

_log = logging.getLogger(__name__)

EVENTS_BEHIND = 500
PACED_RECORDS = 2_000  # whose times are asked of the ring at the beginning
MOST_BEHIND = 20_000  # further back events are passed over: they are more than anybody can read
_READS = 4
_TURNS = Choice(kinds=frozenset({"turn_start", "turn_end"}))


class Followed:
    """Follows the agent from its newest events on. Used by one thread."""

    def __init__(self, agent: str, state: Path) -> None:
        self._agent = agent
        self._database = database_of(agent, state)
        self._digest = Digest(agent)
        self._storing = Storing()
        self._stored: tuple[str, int] | None = None  # epoch and tail, when all was
        self._is_failing = False
        self._has_ring = self._is_due = True
        self._is_paced = False
        self._end = self._ring_end()
        self._follow = self._open()
        self._began = self._follow.position or ("", -1)

    def close(self) -> None:
        self._follow.close()

    def summary(self, now_ns: int) -> Summary:
        return self._digest.summary(now_ns, self._storing)

    def read(self) -> None:
        """Reads on, a bounded step: one busy agent must not keep the others from being read.

        Of an agent without a ring, whose history alone can be asked, once after each look.
        """
        if not self._has_ring and not self._is_due:
            return
        self._is_due = False
        try:
            if self._follow.lag > MOST_BEHIND:
                self._skip()
            for _ in range(_READS):
                items = self._follow.read(timeout=0)
                for item in items:
                    if isinstance(item, Envelope):
                        self._digest.feed(item)
                    elif isinstance(item, Gap):
                        self._digest.gap(item)
                if not items:
                    self._follow.rest()
                    self._read_pace()
                    break
            self._is_failing = False
        except RingbusError as error:
            if not self._is_failing:
                _log.warning("cannot follow agent %s: %s", self._agent, error)
            self._is_failing = True

    def look(self) -> None:
        """Asks the ring who emits, and how far what they emit is stored."""
        stats = ring_stats(self._agent)
        self._has_ring, self._is_due = stats is not None, True
        if stats is None:
            self._storing = Storing(emitters=0)
            return
        lag, stalled_ns = self._lag(stats)
        self._storing = Storing(lag, stalled_ns, len(stats.lanes))

    def _lag(self, stats: RingStats) -> tuple[int | None, int | None]:
        for gate in stats.gates:
            if gate.name == HISTORY_GATE:
                return gate.lag, gate.moved_ns if gate.lag else None
        # An automatic persister leaves when all is stored. What was is asked of the file once.
        now = stats.epoch, stats.tail
        if self._stored != now:
            stored = stored_seqs(self._agent, self._database, stats.epoch)
            self._stored = now if stored >= stats.tail else None
        return (0 if self._stored == now else None), None

    def _open(self) -> Follow:
        follow = Follow(self._agent, database=self._database, last=EVENTS_BEHIND)
        try:
            self._read_turns_before(follow)
        except (RingbusError, KeyError) as error:
            _log.warning("cannot tell the turn of agent %s: %s", self._agent, error)
        return follow

    def _read_turns_before(self, follow: Follow) -> None:
        """What began or ended last before the newest events: the turn that they are of."""
        if follow.position is None:
            return
        epoch, seq = follow.position
        with ExitStack() as opened:
            history = open_history(self._database, self._agent, _log.warning)
            if history is not None:
                opened.enter_context(history)
            ring = open_ring(self._agent)
            if ring is not None:
                opened.enter_context(ring)
            for turn in recent(history, ring, 2, (epoch, seq + 1), choice=_TURNS):
                self._digest.recall(turn)

    def _read_pace(self) -> None:
        """When the newest records came that the follow left out: partial messages, above all."""
        ring = None if self._is_paced else open_ring(self._agent)
        self._is_paced = True
        if ring is None:
            return
        with ring, ring.subscribe(max(ring.floor, ring.tail - PACED_RECORDS)) as subscriber:
            for record in subscriber.read(PACED_RECORDS, 0):
                if self._is_left_out(ring.epoch, record):
                    self._digest.pass_by(record.ts_ns)

    def _ring_end(self) -> Position:
        """Partial messages before it are of the past: the follow leaves them out."""
        ring = open_ring(self._agent)
        if ring is None:
            return "", 0
        with ring:
            return ring.epoch, ring.tail

    def _is_left_out(self, epoch: str, record: Record) -> bool:
        began, end = self._began, self._end
        is_before = epoch == began[0] and record.seq <= began[1]
        return is_before or (record.transient and epoch == end[0] and record.seq < end[1])

    def _skip(self) -> None:
        passed = self._follow.lag
        self._follow.close()
        self._digest.leave_out(max(0, passed - EVENTS_BEHIND), time.time_ns())
        self._follow = self._open()
