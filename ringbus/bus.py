"""The bus of one agent: emit events, subscribe, read history, follow.

    bus = ringbus.Bus("agent-7")
    bus.emit(ringbus.Note("hello"))
    for item in bus.follow():
        print(item)

Usable from several threads. In a forked child the first emit opens the ring anew.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal, Self, TypeAlias

from ringbus import settings
from ringbus._closing import Closing
from ringbus._native import lib
from ringbus.agents import named_database
from ringbus.errors import HistoryError, Lapped, RingClosed, RingForked, RingUnlinked
from ringbus.events import (
    Envelope,
    Event,
    Position,
    Source,
    Stream,
    check_event,
    encode,
    is_partial,
    line_event,
    stream_payload,
)
from ringbus.follow import Follow
from ringbus.persister.spawn import is_starting, last_words, spawn_persister
from ringbus.persister.writer_lock import WriterLock
from ringbus.recent import envelope_of, open_history, recent
from ringbus.ring import HISTORY_GATE, Ring
from ringbus.ring.options import Making
from ringbus.ring.stalls import Stall
from ringbus.ring.subscriber import Subscriber

log = logging.getLogger(__name__)

PERSISTER_PATIENCE = 5.0  # seconds that opening waits for a persister's gate
POLL = 0.01

Topic: TypeAlias = Literal["history", "stall"]
"""What a Bus warns of, each once."""


class Bus(Closing):
    """Opens or creates the agent's ring and, with `persister="auto"`, sees to it that it is stored.

    `size` and `policy` default to RINGBUS_SIZE and RINGBUS_POLICY (`block`). The history is the
    file named by RINGBUS_EVENTS_DB, else `<agent>.sqlite` in the folder `state`. If no persister
    serves the ring, one is started and waited for, at most five seconds; then one warning, and
    work goes on without history. `persister=None`: broadcast only. `mode` and `group`, too, are
    those of a ring that is made here; see `Ring.create()`.

    Another user's ring that may only be read is subscribed to, and followed as far as its history
    may be read; emitting raises `NotPermitted`.

    Raises `HistoryError` if another database serves this ring.
    """

    def __init__(
        self,
        agent: str,
        *,
        size: int | None = None,
        mode: int | None = None,
        group: str | int | None = None,
        policy: settings.Policy | None = None,
        persister: Literal["auto"] | None = "auto",
        state: str | Path | None = None,
    ) -> None:
        self.name = settings.check_agent_name(agent)
        self.state = settings.state_dir(state)
        self.database = settings.events_db_override() or settings.history_path(agent, self.state)
        self._making = Making(size=size, mode=mode, group=group)
        self._policy = policy or settings.policy()
        self._automatic = persister == "auto"
        self._warned: set[Topic] = set()
        self._ring = self._open_ring()

    def _open_ring(self) -> Ring:
        while True:
            ring = Ring.open_or_create(
                self.name, policy=self._policy, on_stall=self._stalled, **self._making
            )
            try:
                self._take_into_service(ring)
                return ring
            except RingUnlinked:
                ring.close()  # somebody removed it meanwhile: there is room for the next
            except BaseException:
                ring.close()
                raise

    def _take_into_service(self, ring: Ring) -> None:
        if ring.read_only:
            self.database = named_database(ring) or self.database
            return
        ring.change_flags(set=lib.RB_FLAG_AGENT)
        self._check_database(ring)
        if self._automatic:
            self._ensure_persister(ring)
            self._check_database(ring)  # another Bus may have been faster

    def _check_database(self, ring: Ring) -> None:
        named = named_database(ring)
        if named is None or named == self.database:
            return
        if not _is_same_file(named, self.database):
            raise HistoryError(
                f"ring {self.name!r} is stored in {named}, this Bus would use {self.database}; "
                f"set RINGBUS_STATE to {named.parent}, or remove the ring with "
                f"`ringbus rm {self.name}`"
            )

    # A persister is always there

    def _ensure_persister(self, ring: Ring) -> None:
        deadline = time.monotonic() + PERSISTER_PATIENCE
        while not self._is_persisted(ring):
            if time.monotonic() > deadline:
                self._warn_once(
                    "history",
                    f"no persister came up for agent {self.name!r} within "
                    f"{PERSISTER_PATIENCE:.0f} s: events are broadcast, not stored; "
                    f"{last_words(self.database)}",
                )
                return
            try:
                self._start_persister()
            except OSError as error:
                self._warn_once(
                    "history",
                    f"no persister can be started for agent {self.name!r}: {error}; "
                    "events are broadcast, not stored",
                )
                return
            time.sleep(POLL)

    def _is_persisted(self, ring: Ring) -> bool:
        is_staying = not ring.flags & lib.RB_FLAG_LEAVING
        return is_staying and ring.has_gate(HISTORY_GATE) and ring.database() is not None

    def _start_persister(self) -> None:
        """Unless one holds the writer lock already, or somebody started one a moment ago."""
        if not WriterLock(self.database).is_held() and not is_starting(self.database):
            spawn_persister(self.name, self.database)

    def _stalled(self, stall: Stall) -> None:
        if not stall.dead:
            self._warn_once(
                "stall",
                f"gate {stall.gate!r} of agent {self.name!r} was {stall.lag} records behind for "
                "too long and was pushed on: what it missed is noted as a gap",
            )
        elif stall.gate == HISTORY_GATE and self._automatic:
            # Beside the emit, which waits for that gate meanwhile.
            threading.Thread(target=self._replace_persister, daemon=True).start()

    def _replace_persister(self) -> None:
        with suppress(RingClosed, RingUnlinked):
            self._ensure_persister(self._ring)

    def _warn_once(self, topic: Topic, message: str) -> None:
        if topic not in self._warned:
            self._warned.add(topic)
            log.warning(message)

    # Emitting

    def emit(self, event: Event, transient: bool = False) -> int:
        """Publish an event and return its seq; `transient` ones are not kept in history.

        Waits only while the persister is a whole ring behind (policy `block`), five seconds at
        most. Raises `EventError`, `RecordTooLarge`, `RingUnlinked`, and `BackPressure` by policy.
        """
        kind, payload = encode(event)
        return self._emit(payload, kind, transient)

    def emit_line(
        self, line: bytes, *, source: Source = "stdout", keep_partial: bool = False
    ) -> int:
        """Publish a line that a program printed, without its newline: a stream event, or a note.

        Partial messages are transient unless `keep_partial`.
        """
        event = line_event(line, source)
        if not isinstance(event, Stream):
            return self.emit(event)
        kind, payload = stream_payload(event.data)  # line_event() has checked it
        return self._emit(payload, kind, not keep_partial and is_partial(event.data))

    def emit_json(self, data: bytes) -> int:
        """Publish one whole event given as JSON."""
        kind, payload = check_event(data)
        return self._emit(payload, kind, False)

    def emit_many(self, events: Iterable[Event]) -> tuple[int, int]:
        """Publish events; return the first and the last seq. Others' may come in between."""
        entries = []
        for event in events:
            kind, payload = encode(event)
            entries.append((payload, kind, False))
        try:
            return self._ring.emit_many(entries)
        except RingForked:
            return self._reopen().emit_many(entries)

    def _emit(self, payload: bytes, kind: int, transient: bool) -> int:
        try:
            return self._ring.emit(payload, kind, transient)
        except RingForked:
            return self._reopen().emit(payload, kind, transient)

    def _reopen(self) -> Ring:
        """In a forked child, whose parent goes on with the ring that it had."""
        self._ring = self._open_ring()
        return self._ring

    @property
    def max_line(self) -> int:
        """Bytes of the longest JSON line that fits one record; as a note a line needs more."""
        return self._ring.max_payload - len(b'{"kind":"stream","data":}')

    # Reading

    def subscribe(self) -> Live:
        """What is emitted after this call."""
        return Live(self._ring.epoch, self._ring.subscribe())

    def history(self, limit: int = 2000, before: Position | None = None) -> list[Envelope]:
        """The newest `limit` events (before a position), oldest first; no transient ones.

        Includes what so far is only in the ring: you read your own writes.
        """
        history = open_history(self.database, self.name, self._warn_history)
        if history is not None:
            try:
                with history:
                    return recent(history, self._ring, limit, before)
            except HistoryError as error:
                self._warn_history(str(error))
        return recent(None, self._ring, limit, before)

    def _warn_history(self, message: str) -> None:
        self._warn_once("history", f"{message}; live events go on, it is tried again")

    def follow(
        self, after: Position | None = None, *, last: int | None = None, live: bool = False
    ) -> Follow:
        """History, then live, exact: see `Follow`."""
        return Follow(self.name, database=self.database, after=after, last=last, live=live)

    @property
    def epoch(self) -> str:
        """The ring's incarnation, 16 hex digits."""
        return self._ring.epoch

    def wait_stored(self, timeout: float) -> bool:
        """Wait until everything emitted before this call is stored; False if `timeout` s pass."""
        tail, deadline = self._ring.tail, time.monotonic() + timeout
        while not self._is_stored(tail):
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL)
        return True

    def _is_stored(self, tail: int) -> bool:
        gates = [gate for gate in self._ring.gates() if gate.name == HISTORY_GATE]
        return any(gate.cursor >= tail for gate in gates)

    def close(self) -> None:
        """Ends it; again is fine."""
        self._ring.close()

    def __repr__(self) -> str:
        return f"<Bus {self.name!r} epoch={self.epoch}>"


def _is_same_file(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False  # one is not there, or not ours to look at


class Live(Closing):
    """Envelopes of what is emitted from now on; iterating waits for more.

    A reader that was overtaken goes on; `missed` counts what it lost.
    """

    def __init__(self, epoch: str, subscriber: Subscriber) -> None:
        self._epoch = epoch
        self._subscriber = subscriber

    @property
    def missed(self) -> int:
        """Records lost to this subscriber so far."""
        return self._subscriber.missed

    @property
    def lag(self) -> int:
        """Records between the cursor and the tail."""
        return self._subscriber.lag

    def __iter__(self) -> Iterator[Envelope]:
        return self

    def __next__(self) -> Envelope:
        while True:
            try:
                return envelope_of(self._epoch, next(self._subscriber))
            except Lapped:
                continue  # counted in `missed`

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Envelope:
        while True:
            try:
                return envelope_of(self._epoch, await anext(self._subscriber))
            except Lapped:
                continue

    def close(self) -> None:
        """Ends it; again is fine."""
        self._subscriber.close()
