"""The persister of one agent: from the ring, through a gate, into history.

    take the writer lock -> open the history -> gate at the first record not stored
    repeat: read a batch -> store it in one transaction -> move the gate

The gate moves after the commit, so a record leaves the ring only when it is on disk; history's key
is the record's place, so a batch that is stored twice is there once. Killed anywhere, a successor
goes on after the last committed record.

A persister that cannot store gives up its gate, so that emitters run on, and remembers its place:
when it can store again it goes on from there, with a gap for what the ring no longer holds.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import Enum
from pathlib import Path

from ringbus import settings
from ringbus._native import lib
from ringbus.errors import (
    GateTaken,
    HistoryError,
    RingbusError,
    RingNotFound,
    RingUnlinked,
)
from ringbus.events import Gap
from ringbus.history import History
from ringbus.history.aside import is_damaged, put_aside
from ringbus.persister.checkpoints import Log
from ringbus.persister.rivals import who_has_open, who_is
from ringbus.persister.writer_lock import WriterLock
from ringbus.ring import HISTORY_GATE, Database, Ring
from ringbus.ring.batch import Batch
from ringbus.ring.subscriber import Subscriber

log = logging.getLogger(__name__)

SUCCESSOR_GATE = "history-successor"
SLICE = 0.5  # seconds without events until a ring is calm
CALM_SLICE = 60.0  # seconds of one sleep at a calm ring
CALM = 0.01  # seconds between small batches: one commit for what came meanwhile
CALM_PART = 8  # a batch that was more than this part of the ring is not a small one
SETTLE = 0.05  # seconds in which emitters have seen that their ring was removed
RETRY = 0.5  # seconds until a history that cannot be used is tried again
POLL = 0.02  # seconds between looks at a lock that cannot be waited for
PATIENCE = 0.5  # seconds in which a holder of the lock has said whether it is automatic
LINGER = 60.0  # seconds that an automatic persister stays when nobody is attached
SWEEP_EVERY = 60.0
SWEEP_ROWS = 5000


class Outcome(Enum):
    """Why a persister ended."""

    STOPPED = "stopped"
    TAKEN = "another persister serves this agent"
    HANDED_OVER = "a successor took over"
    LEFT = "nobody was attached any more"
    RING_GONE = "the ring was removed"


class AgentPersister:
    """Stores one agent's ring; `run()` in a thread of its own, `stop()` from another.

    `automatic`: started by a Bus; it gives way to a successor, and leaves when nobody has been
    attached for `linger` seconds and everything is stored. `wait`: wait for the writer lock
    instead of ending with `Outcome.TAKEN`. `lost`: epochs of earlier rings that were removed while
    nothing could be stored; the history gets their gaps as soon as something can, and the list is
    empty then.
    """

    def __init__(
        self,
        agent: str,
        database: Path,
        *,
        automatic: bool = False,
        wait: bool = False,
        linger: float = LINGER,
        lost: Sequence[str] = (),
    ) -> None:
        self.agent = agent
        self.lost = list(lost)
        self.database = database
        self._automatic = automatic
        self._wait = wait
        self._linger = linger
        self._calm_slice = min(CALM_SLICE, linger) if automatic else CALM_SLICE
        self._stop = threading.Event()
        self._lock = WriterLock(database)
        self._needed = time.monotonic()  # when somebody was last attached
        self._swept = float("-inf")
        self._unable = False
        self._is_anew = False  # begun after a damaged file was put aside, and nothing stored yet
        self.rival = ""  # who serves the agent instead, in words for people
        self._ring: Ring | None = None
        self._place: Subscriber | None = None  # holds our place until our own gate stands

    def stop(self) -> None:
        """Makes `run()` store what is there now and return, within seconds; again is fine."""
        self._stop.set()
        self._wake()

    def look(self) -> None:
        """Makes `run()` see at once that its ring was removed, if it was."""
        with suppress(RingbusError):  # closed: it has ended
            if self._ring is not None and not self._ring.is_linked():
                self._wake()

    def _wake(self) -> None:
        with suppress(RingbusError):
            if self._ring is not None:
                self._ring.change_flags()

    def run(self) -> Outcome:
        """Blocks until `stop()`, or until there is nothing left to do.

        Raises what a ring that cannot be used raises.
        """
        try:
            with Ring.open(self.agent, observer=True) as ring:
                ring.change_flags(set=lib.RB_FLAG_AGENT)
                self._ring = ring
                try:
                    outcome = self._run(ring)
                finally:
                    self._give_up_place()
                    self._lock.release()
                if outcome is Outcome.RING_GONE and self._unable:
                    self.lost.append(ring.epoch)
                return outcome
        except RingNotFound:
            return Outcome.RING_GONE

    def _run(self, ring: Ring) -> Outcome:
        try:
            return self._serve_until_done(ring)
        except RingUnlinked:
            return Outcome.RING_GONE

    def _serve_until_done(self, ring: Ring) -> Outcome:
        outcome: Outcome | None = None
        while outcome is None:
            try:
                outcome = self._become_writer(ring) or self._serve(ring)
            except GateTaken:
                outcome = self._pause(ring) if self._wait else Outcome.TAKEN
                self._find_rival(lambda: _who_stores(ring), is_waiting=outcome is None)
            except (HistoryError, OSError) as error:
                if self._put_aside(error):
                    continue
                self._note_unable(error)
                self._give_up_gates(ring)
                outcome = self._pause(ring)
        return outcome

    def _put_aside(self, error: Exception) -> bool:
        """Whether the file was damaged and a fresh one can be begun at once."""
        if not (self._lock.is_mine and is_damaged(self.database, error)):
            return False
        try:
            aside = put_aside(self.database)
        except OSError as reason:
            log.warning("%s: %s cannot be put aside: %s", self.agent, self.database, reason)
            return False
        log.warning("%s: %s; put aside as %s, a fresh one is begun", self.agent, error, aside)
        is_first = not self._is_anew
        self._is_anew = self._unable = True
        return is_first  # on a disk that damages every file, not round and round

    def _note_unable(self, error: Exception) -> None:
        if not self._unable:
            self._unable = True
            log.warning(
                "%s: cannot store: %s; emitters run on, it is tried again", self.agent, error
            )

    def _give_up_gates(self, ring: Ring) -> None:
        """So that emitters run on: our place, and the gate that a predecessor left for us."""
        self._give_up_place()
        if self._lock.is_mine and any(gate.name == HISTORY_GATE for gate in ring.gates()):
            with suppress(GateTaken):  # somebody stores this ring elsewhere
                ring.subscribe(gate=HISTORY_GATE).close()

    def _pause(self, ring: Ring) -> Outcome | None:
        if self._stop.wait(RETRY):
            return Outcome.STOPPED
        if not ring.is_linked():
            return Outcome.RING_GONE
        return self._must_leave(ring, busy=False)

    # The writer lock

    def _become_writer(self, ring: Ring) -> Outcome | None:
        if self._lock.is_mine:
            return None
        self.database.parent.mkdir(parents=True, exist_ok=True)
        patience = 0.0 if self._automatic else PATIENCE
        deadline = time.monotonic() + patience
        while not self._lock.acquire():
            is_patient = time.monotonic() < deadline
            outcome = self._ask_holder(ring, is_patient=is_patient)
            if not is_patient:
                is_waiting = outcome is None and not self._automatic
                self._find_rival(lambda: who_has_open(self._lock.path), is_waiting=is_waiting)
            if outcome is not None:
                return outcome
        self.rival = ""
        self._say_who_serves(ring)
        return None

    def _find_rival(self, find: Callable[[], str], *, is_waiting: bool) -> None:
        """Once: looking costs a walk over all processes. Who ends and does not wait tells it."""
        if not self.rival:
            self.rival = find()
            if is_waiting:
                log.warning("%s: waits for the place of %s", self.agent, self.rival)

    def _ask_holder(self, ring: Ring, *, is_patient: bool) -> Outcome | None:
        """An automatic persister gives way when asked; any other keeps the lock until it ends."""
        flags = ring.flags
        if flags & lib.RB_FLAG_AUTOMATIC and not self._automatic:
            if is_patient:
                self._hold_place(ring)
            else:
                self._give_up_place()  # it is stopped: emitters shall not wait for us as well
            ring.change_flags(set=lib.RB_FLAG_HANDOVER)
        elif not (self._wait or is_patient or flags & lib.RB_FLAG_LEAVING):
            return Outcome.TAKEN
        if self._stop.wait(POLL):
            return Outcome.STOPPED
        return None if ring.is_linked() else Outcome.RING_GONE

    def _hold_place(self, ring: Ring) -> None:
        """A gate of our own from the oldest record on: nothing slips by between two holders."""
        if self._place is None:
            with suppress(GateTaken):  # another successor waits, too; its gate serves as well
                self._place = ring.subscribe("oldest", gate=SUCCESSOR_GATE)

    def _give_up_place(self) -> None:
        if self._place is not None:
            self._place.close()
            self._place = None

    def _say_who_serves(self, ring: Ring) -> None:
        marks = lib.RB_FLAG_LEAVING | lib.RB_FLAG_HANDOVER | lib.RB_FLAG_AUTOMATIC
        ring.change_flags(clear=marks)
        if self._automatic:
            ring.change_flags(set=lib.RB_FLAG_AUTOMATIC)

    # Serving

    def _serve(self, ring: Ring) -> Outcome:
        with History.open(self.database, self.agent, write=True) as history:
            gate = self._open_gate(ring, history)
            keep = True
            try:
                self._give_up_place()
                outcome = self._store_all(ring, history, gate)
                keep = outcome not in (Outcome.LEFT, Outcome.RING_GONE)
                return outcome
            except (HistoryError, OSError):
                keep = False  # emitters run on; the place is in the history
                raise
            finally:
                gate.close(keep=keep)

    def _open_gate(self, ring: Ring, history: History) -> Subscriber:
        if ring.has_gate(HISTORY_GATE):  # asked first: this history shall not begin the ring then
            raise GateTaken(f"another persister stores ring {ring.name!r}")
        # Begun before the gate stands: a locked database must not hold up emitters.
        for epoch in self.lost:
            history.begin_epoch(epoch)  # the next one to begin tells that it was lost
        first = history.begin_epoch(ring.epoch)
        self.lost.clear()
        gate = ring.subscribe(first, gate=HISTORY_GATE)
        device, inode = history.identity
        ring.set_database(Database(str(self.database), device, inode))
        return gate

    def _store_all(self, ring: Ring, history: History, gate: Subscriber) -> Outcome:
        self._note_missed_before(ring, history, gate)
        batch, wal = Batch(), Log(history)
        patience = SLICE
        end: int | None = None  # where to stop
        while True:
            if end is None and self._stop.is_set():
                end = ring.tail
            try:
                gate.fill(batch, patience if end is None else 0.0)
            except RingUnlinked:
                self._store_rest(ring, history, gate, batch)
                return Outcome.RING_GONE
            self._store(ring, history, gate, batch)
            self._note_able()  # not before: on a disk with little room a small commit is no proof
            if end is not None and gate.cursor >= end:
                return Outcome.STOPPED
            outcome = self._must_leave(ring, busy=bool(batch))
            if outcome is not None:
                return outcome
            is_sweeping = self._sweep(history)
            is_calm = not batch and not is_sweeping
            if is_calm:
                history.rest()
            wal.look(is_calm=is_calm)
            patience = CALM if is_sweeping else self._calm_slice if is_calm else SLICE
            if batch and not batch.is_full and batch.size < ring.size // CALM_PART:
                self._stop.wait(CALM)

    def _note_missed_before(self, ring: Ring, history: History, gate: Subscriber) -> None:
        """What the ring lost before the gate stood."""
        if gate.missed:
            reason = "store-unavailable" if self._unable else "lapped"
            first, end = gate.cursor - gate.missed, gate.cursor
            history.append(
                ring.epoch, [], end, [Gap(ring.epoch, first, end - 1, gate.missed, reason)]
            )
            gate.advance(end)

    def _note_able(self) -> None:
        if self._unable:
            self._unable = self._is_anew = False
            log.warning("%s: storing again", self.agent)

    def _store(self, ring: Ring, history: History, gate: Subscriber, batch: Batch) -> None:
        if batch:
            end, missed = batch.next_seq, batch.missed
            gaps = [Gap(ring.epoch, end, end + missed - 1, missed, "lapped")] if missed else []
            history.append_batch(ring.epoch, batch, gaps)
            gate.advance(end + missed)

    def _store_rest(self, ring: Ring, history: History, gate: Subscriber, batch: Batch) -> None:
        """The ring was removed: what comes yet was begun before its emitter could see that."""
        ring.change_flags(set=lib.RB_FLAG_UNLINKED)  # a file removed by hand has no mark
        with suppress(RingUnlinked):  # raised when all of it was read
            while True:
                time.sleep(SETTLE)
                gate.fill(batch)
                self._store(ring, history, gate, batch)
        history.end_epoch(ring.epoch)

    def _sweep(self, history: History) -> bool:
        """One slice, if it is time; whether there may be more to delete."""
        if time.monotonic() - self._swept < SWEEP_EVERY:
            return False
        deleted = history.sweep(settings.retention(), time.time_ns(), SWEEP_ROWS)
        if deleted == SWEEP_ROWS:
            return True
        self._swept = time.monotonic()
        return False

    # Leaving

    def _must_leave(self, ring: Ring, *, busy: bool) -> Outcome | None:
        """An automatic persister gives way to a successor, and goes when nobody needs it."""
        if not self._automatic:
            return None
        if ring.flags & lib.RB_FLAG_HANDOVER:
            return Outcome.HANDED_OVER
        if busy or ring.is_attached():
            self._needed = time.monotonic()
        elif time.monotonic() - self._needed > self._linger:
            # First the mark, then one more look: whoever attaches looks for the mark afterwards.
            ring.change_flags(set=lib.RB_FLAG_LEAVING)
            if not ring.is_attached() and not self._is_behind(ring):
                return Outcome.LEFT
            ring.change_flags(clear=lib.RB_FLAG_LEAVING)
        return None

    def _is_behind(self, ring: Ring) -> bool:
        if self._unable:  # it has no gate that could tell
            return ring.tail > 0
        return any(gate.lag > 0 for gate in ring.gates() if gate.name == HISTORY_GATE)


def _who_stores(ring: Ring) -> str:
    """The process whose gate stands in the way, and where it stores the ring."""
    pids = [gate.pid for gate in ring.gates() if gate.name == HISTORY_GATE]
    database = ring.database()
    place = f"; it stores the ring in {database.path}" if database is not None else ""
    return (who_is(pids[0]) if pids else "a process that is just leaving") + place
