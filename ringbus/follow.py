"""Follow: history that goes over to the live ring, with no hole and no duplicate.

The state is one position: the next record wanted. Each step takes what comes there from wherever it
is kept: the ring if it still holds it, else the history. Nothing is queued, emitters know nothing
of it, and a duplicate is impossible because the position only grows. Where neither holds a record
any more there is an explicit `Gap`.

The ring is asked for its floor before the history is asked how far it goes: a record that has left
the ring was stored before, as long as the persister's gate stands.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Self, TypeAlias

from ringbus._closing import Closing
from ringbus._native import Record
from ringbus.choice import ALL, Choice
from ringbus.errors import HistoryError, Lapped, RingClosed, RingNotFound, RingUnlinked
from ringbus.events import Envelope, Gap, Position, Reset, format_position
from ringbus.history import History
from ringbus.history.schema import MAX_ID
from ringbus.persister.writer_lock import WriterLock
from ringbus.recent import end_of, envelope_of, is_known, is_there, open_history, start_of
from ringbus.ring import HISTORY_GATE, Ring
from ringbus.ring.subscriber import Subscriber

log = logging.getLogger(__name__)

Item: TypeAlias = Envelope | Gap | Reset

BATCH = 500  # records or rows at once
SLICE = 0.5  # seconds of one sleep
POLL = 0.05  # seconds between looks where nothing can wake us
REOPEN = 5.0  # seconds until a history that could not be opened is tried again
PATIENCE = 5.0  # seconds for a persister to store the rest of a removed ring
SLACK = 16  # part of the ring that a follower leaves when nothing keeps it from being lapped


class Follow(Closing):
    """Everything of an agent from a point on: `Envelope`s, `Gap`s in place, `Reset` at most once.

    Starts after the position `after`; else with the newest `last` events (all that `choice` is
    for); else, if `live`, with what comes next; else at the beginning. Ring and history may appear
    later. Transient records come as they happen, and those after `after` if the ring has them.

    Used by one thread at a time; `close()` may come from another.
    """

    def __init__(
        self,
        agent: str,
        *,
        database: Path,
        after: Position | None = None,
        last: int | None = None,
        live: bool = False,
        choice: Choice = ALL,
    ) -> None:
        if last is not None and last < 1:
            raise ValueError(f"last must be 1 or more, not {last}")
        self.agent = agent
        self._database = database
        self._last = last
        self._choice = choice
        # Held while ring and history are used, not while asleep. Re-entrant: a signal handler may
        # close what it interrupts.
        self._lock = threading.RLock()
        self._is_stepping = False
        self._closed = False
        self._warned = False
        self._history: History | None = None
        self._reopen_at = 0.0
        self._ring: Ring | None = None
        self._subscriber: Subscriber | None = None
        self._pause = POLL  # grows while nothing can wake us and nothing comes
        self._ends_at: float | None = None  # it was removed: until when emitters may not know yet
        self._finished: str | None = None  # epoch of a removed ring that was read to its end
        self._leaving: tuple[str, float] | None = None  # an epoch, until when more of it may come
        self._next: Position | None = None  # None: the beginning
        self._passed: str | None = ""  # newest epoch of history that is not ahead; None: unknown
        self._ahead: deque[Item] = deque()  # for iteration
        self._open()
        #: Transient records before this position are left out: they are of the past.
        self._transients_from = None if after else end_of(None, self._ring)
        try:
            self._start(after, live)
        except HistoryError as error:
            self._lose_history(error)
            self._ahead.clear()
            self._start(after, live)

    def read(self, timeout: float | None = None) -> list[Item]:
        """What comes next, at least one item and at most some hundreds; [] on time-out.

        Sleeps up to `timeout` seconds (None: for ever). Raises `RingClosed` after `close()`.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            with self._lock:
                items = self._guarded_step()
            if items:
                self._pause = POLL
                return items
            left = SLICE if deadline is None else deadline - time.monotonic()
            if left <= 0:
                return []
            self._sleep(min(left, SLICE))

    def _guarded_step(self) -> list[Item]:
        """With the lock held; gives everything back if it was closed from inside."""
        self._is_stepping = True
        try:
            if self._closed:
                raise RingClosed(f"this follow of {self.agent!r} is closed")
            return self._step() or self._without_removed_ring()
        finally:
            self._is_stepping = False
            if self._closed:
                self._drop_ring()
                self._drop_history()

    @property
    def lag(self) -> int:
        """Records of the ring between what was delivered and its tail."""
        if self._ring is None:
            return 0
        epoch, seq = self._next or ("", 0)
        return max(0, self._ring.tail - (seq if epoch == self._ring.epoch else 0))

    @property
    def position(self) -> Position | None:
        """The position after which `read()` goes on; None at the beginning of an epoch."""
        return (self._next[0], self._next[1] - 1) if self._next and self._next[1] else None

    def close(self) -> None:
        """Ends it, also a `read()` in another thread; again is fine."""
        self._closed = True
        subscriber = self._subscriber
        if subscriber is not None:
            subscriber.close()  # wakes a reader that is asleep in it
        with self._lock:
            if not self._is_stepping:  # else a signal handler interrupts a step, which does it
                self._drop_ring()
                self._drop_history()

    # Where to start

    def _start(self, after: Position | None, live: bool) -> None:
        self._next = self._first(after, live)
        if self._next is not None:
            self._passed = None if is_there(self._database) else ""
            if self._history is not None:
                self._passed = self._history.newest_epoch() or ""

    def _first(self, after: Position | None, live: bool) -> Position | None:
        if after is not None:
            if is_known(self._history, self._ring, after):
                return after[0], after[1] + 1
            self._ahead.append(Reset(format_position(*after)))
        if live and after is None:
            return end_of(self._history, self._ring)
        last = self._last
        return start_of(self._history, self._ring, last, self._choice) if last else None

    # One step: from the ring, else from history

    def _step(self) -> list[Item]:
        if self._ahead:
            items = list(self._ahead)
            self._ahead.clear()
            return items
        self._open()
        try:
            return self._from_ring() or self._from_history()
        except RingUnlinked:
            self._drop_ring()  # what was not read of it is only in history now
        except HistoryError as error:
            self._lose_history(error)
        return []

    def _from_ring(self) -> list[Item]:
        while self._ring is not None and self._next is not None:
            epoch = self._ring.epoch
            if epoch != self._next[0]:
                return []
            records = self._read_ring(self._ring, self._next[1])
            if not records:
                return []
            self._next = (epoch, records[-1].seq + 1)
            items: list[Item] = [
                envelope_of(epoch, record)
                for record in records
                if not record.transient or self._is_recent(epoch, record.seq)
            ]
            if items:
                return items
        return []

    def _read_ring(self, ring: Ring, seq: int) -> list[Record]:
        """What the ring holds from `seq` on; without a subscriber afterwards if it holds less."""
        try:
            if self._subscriber is None:
                self._subscriber = ring.subscribe(seq)
                if self._subscriber.missed:
                    self._drop_subscriber()
                    return []
            records = self._subscriber.read(BATCH, 0)
        except Lapped:
            self._drop_subscriber()
            return []
        except RingUnlinked:
            if self._subscriber is None:
                raise
            records = []  # all of it was read
            self._ends_at = self._ends_at or time.monotonic() + POLL
        if records:
            self._ends_at = None
        elif self._ends_at is not None and time.monotonic() >= self._ends_at:
            self._finished = ring.epoch
            self._drop_ring()
        return records

    def _is_recent(self, epoch: str, seq: int) -> bool:
        begin = self._transients_from
        return begin is None or epoch != begin[0] or seq >= begin[1]

    def _from_history(self) -> list[Item]:
        if self._subscriber is not None:
            return []  # at the tail of the ring
        floor = self._ring.floor if self._ring is not None else 0
        if self._history is None and self._is_below(floor):
            # Though it is not time yet: no gap before it was asked.
            self._history = open_history(self._database, self.agent, self._warn)
        if self._history is None:
            return self._enter_ring(floor)
        try:
            page = self._history.read(self._next, BATCH)
        except KeyError:
            return self._enter_ring(floor)  # the persister has not begun this epoch
        if page.next is not None:
            self._next, self._passed = page.next, page.next[0]
        return list(page.items) or self._enter_ring(floor)

    def _is_below(self, floor: int) -> bool:
        """Whether the ring does not hold what comes next."""
        if self._ring is None or self._next is None:
            return floor > 0
        return self._next[0] != self._ring.epoch or self._next[1] < floor

    def _enter_ring(self, floor: int) -> list[Item]:
        """History holds no more: go on in the ring, with a gap if it begins further on."""
        if self._ring is None:
            return []
        if self._next is None:
            self._next = (self._ring.epoch, 0)
        elif self._next[0] != self._ring.epoch:
            return self._go_over(self._ring, *self._next)
        epoch, seq = self._next
        if floor <= seq:
            return self._from_ring()
        # Where no gate keeps emitters off, who reads at the very floor is lapped at once.
        is_kept = self._ring.has_gate(HISTORY_GATE)
        to = floor if is_kept else floor + (self._ring.tail - floor) // SLACK
        self._next = (epoch, to)
        return [Gap(epoch, seq, to - 1, to - seq, "lapped")]

    def _go_over(self, ring: Ring, epoch: str, seq: int) -> list[Item]:
        """From an epoch that is not the ring's to the next one."""
        said: list[Item] | None = []
        if ring.is_linked():
            said = self._leave(epoch, seq)
            if said is None:
                return []
            self._next = (self._unread() or ring.epoch, 0)
        else:  # since it was opened history went on with later ones: there is no way back to it
            self._drop_ring()
            self._open()
        return said or self._from_ring() or self._from_history()

    def _unread(self) -> str | None:
        """The epoch in history that follows those we have passed, if it is known which these are.

        We may come from one that history does not know: nobody stored it, or its file was lost.
        """
        if self._history is None or self._passed is None:
            return None
        epochs = self._history.epochs()
        following = epochs.index(self._passed) + 1 if self._passed in epochs else 0
        return epochs[following] if following < len(epochs) else None

    def _leave(self, epoch: str, seq: int) -> list[Item] | None:
        """What to say when an epoch before the ring's is left; None: more of it may come."""
        is_finished = self._finished == epoch or seq >= MAX_ID  # or its gap was told
        if self._history is not None and self._history.next_seq(epoch) is not None:
            # Asked first: only who holds the lock can still add to that epoch, or end it.
            if WriterLock(self._database).is_held() and not self._has_waited_for(epoch):
                return None
            if self._history.is_clean(epoch):
                if seq < (self._history.next_seq(epoch) or 0):
                    return None  # stored since we read
                is_finished = True
        return [] if is_finished else [Gap(epoch, seq, None, None, "ring-lost")]

    def _has_waited_for(self, epoch: str) -> bool:
        """Whether a persister had its time to store the rest: it may be stopped, or unable."""
        now = time.monotonic()
        if self._leaving is None or self._leaving[0] != epoch:
            self._leaving = (epoch, now + PATIENCE)
        return now >= self._leaving[1]

    # Sources come and go

    def _open(self) -> None:
        if self._ring is None:
            with suppress(RingNotFound, RingUnlinked):
                self._ring = Ring.open(self.agent)
        is_needed = self._history is None and self._subscriber is None
        if is_needed and time.monotonic() >= self._reopen_at:
            self._history = open_history(self._database, self.agent, self._warn)

    def rest(self) -> float:
        """For how many seconds only its ring can bring news; gives back what is not needed then."""
        if self._ends_at is not None:
            return POLL
        if self._subscriber is not None:
            with self._lock:
                self._drop_history()
            return math.inf
        self._pause = min(2 * self._pause, REOPEN if self._ring is None else SLICE)
        return self._pause

    def _sleep(self, seconds: float) -> None:
        subscriber = self._subscriber
        if subscriber is None or self._ends_at is not None:
            time.sleep(min(seconds, self.rest()))
        else:
            with suppress(RingClosed, RingUnlinked):  # the next step says so
                subscriber.wait(seconds)

    def _without_removed_ring(self) -> list[Item]:
        """Nothing came: a ring that was not begun and has no name any more brings nothing."""
        if self._ring is not None and self._subscriber is None and not self._ring.is_linked():
            self._drop_ring()
        return []

    def _drop_subscriber(self) -> None:
        if self._subscriber is not None:
            self._subscriber.close()
            self._subscriber = None

    def _drop_ring(self) -> None:
        """Another may come under the name."""
        self._drop_subscriber()
        self._ends_at = None
        if self._ring is not None:
            self._ring.close()
            self._ring = None

    def _drop_history(self) -> None:
        if self._history is not None:
            self._history.close()
            self._history = None

    def _lose_history(self, error: HistoryError) -> None:
        self._drop_history()
        self._warn(str(error))

    def _warn(self, message: str) -> None:
        self._reopen_at = time.monotonic() + REOPEN
        if not self._warned:
            self._warned = True
            log.warning("%s; live events go on, it is tried again", message)

    # Iteration

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Item:
        if not self._ahead:
            self._ahead.extend(self.read())
        return self._ahead.popleft()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Item:
        while not self._ahead:
            self._ahead.extend(await asyncio.to_thread(self.read, SLICE))
        return self._ahead.popleft()
