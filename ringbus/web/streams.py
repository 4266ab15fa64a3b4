"""Event streams: how they are admitted, paced, kept alive and ended.

A stream is a generator in a server thread. It sleeps until there is something to send, its browser
has gone or the server stops, and writes whatever came in one piece. A browser that reads nothing
is cut off after a while; it resumes where it was.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Protocol, Self
from weakref import WeakSet

import msgspec

from ringbus import sse
from ringbus.web.clients import Client
from ringbus.web.waiting import Waker, wake

DEFAULT_MAX_STREAMS = 1_200

HEARTBEAT_SECONDS = 15.0
LIFE_SECONDS = 3_600.0

RETRY_MS = 1_000
BUSY_RETRY_MS = 15_000

_SMALL_WRITE_BYTES = 64 << 10
# After a write, what comes right behind is let gather, so that it goes out in one write: longer
# the more streams are busy, since waking a thread costs more than the events it wakes for.
_SHORTEST_GATHER, _LONGEST_GATHER = 0.01, 0.25
_WRITES_A_SECOND = 1_000


class Source(Protocol):
    """Something that a stream sends."""

    def read(self) -> list[bytes]:
        """What is new, each piece one write; never waits."""

    def arm(self, waker: Waker) -> float:
        """Has the waker woken once there may be more; when to look anyway, in seconds."""


# For servers that serve one process and know nothing of the applications in it.
_ALL: WeakSet[Streams] = WeakSet()


def stop_all() -> None:
    """Every stream of this process ends soon, of whatever application. Safe in a signal handler."""
    for streams in tuple(_ALL):
        streams.stop()


def admit_at_most(limit: int) -> None:
    """Every application of this process lets in no more streams than that."""
    for streams in tuple(_ALL):
        streams.limit = min(streams.limit, limit)


class Streams:
    """The streams open in this process: how many there may be, and the word to end them all."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.opened = 0
        self.refused = 0
        self.sent_bytes = 0
        self.gaps = 0
        # Read by every stream when it wakes. A plain attribute, since a signal handler sets it
        # and may not wait for a lock.
        self.stopping = False
        self._sleepers: set[Waker] = set()
        self._open = 0
        self._busy = 0
        self._lock = threading.Lock()
        _ALL.add(self)

    @property
    def open(self) -> int:
        """Streams open now."""
        return self._open

    def stop(self) -> None:
        """Every stream ends at once. Safe in a signal handler."""
        self.stopping = True
        wake(self._sleepers.copy())

    @contextmanager
    def slot(self) -> Iterator[bool]:
        """True while the stream may run, false if there are too many."""
        with self._lock:
            is_admitted = self._open < self.limit
            self._open += is_admitted
            self.opened += is_admitted
            self.refused += not is_admitted
        try:
            yield is_admitted
        finally:
            with self._lock:
                self._open -= is_admitted

    def full(self) -> bytes:
        """What is sent instead of a stream when all places are taken."""
        return busy(f"all {self.limit} event streams of this server are taken")

    def pump(self, source: Source, client: Client) -> Generator[bytes, None, None]:
        """What the source gives, until someone ends it.

        Heartbeats come between when nothing else does.
        """
        waker = Waker()
        with _Activity(self) as activity, client.watched(waker), self._stoppable(waker):
            yield from self._pump(source, client, waker, activity)

    @contextmanager
    def _stoppable(self, waker: Waker) -> Iterator[None]:
        self._sleepers.add(waker)
        try:
            yield
        finally:
            self._sleepers.discard(waker)

    def _pump(
        self, source: Source, client: Client, waker: Waker, activity: _Activity
    ) -> Iterator[bytes]:
        life = LIFE_SECONDS * random.uniform(0.8, 1.2)  # noqa: S311  spreads reconnects, no secret
        now = time.monotonic()
        ends_at, beats_at = now + life, now + HEARTBEAT_SECONDS
        rest: float | None = None  # how long to sleep; None: not armed
        while not self.stopping and not client.is_gone() and now < ends_at:
            pieces = source.read()
            if pieces or now >= beats_at:
                activity.set(bool(pieces))
                yield from self._counted(pieces or [sse.HEARTBEAT])
                beats_at, rest = time.monotonic() + HEARTBEAT_SECONDS, None
            elif rest is None:
                # Then once more: it may have come between the look and this.
                rest = min(source.arm(waker), client.rest)
            else:
                activity.set(False)
                waker.wait(min(rest, beats_at - now, ends_at - now))
                rest = None
            now = time.monotonic()

    def _counted(self, pieces: list[bytes]) -> Iterator[bytes]:
        size = sum(map(len, pieces))
        with self._lock:
            self.sent_bytes += size
        yield from pieces
        if size < _SMALL_WRITE_BYTES:
            time.sleep(self._gather_seconds())

    def _gather_seconds(self) -> float:
        return min(max(_SHORTEST_GATHER, self._busy / _WRITES_A_SECOND), _LONGEST_GATHER)

    def count_gaps(self, number: int) -> None:
        """So many gaps go out to a client."""
        with self._lock:
            self.gaps += number

    def count_busy(self, change: int) -> None:
        """A stream has begun, or ceased, to have something to send all the time."""
        with self._lock:
            self._busy += change


class _Activity:
    """Whether one stream is busy, while inside."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._is_busy = False

    def set(self, is_busy: bool) -> None:
        if is_busy != self._is_busy:
            self._is_busy = is_busy
            self._streams.count_busy(1 if is_busy else -1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.set(False)


def busy(reason: str) -> bytes:
    """The last frame of a stream that cannot go on: a browser comes back later by itself.

    Any status but 200 would make it give up for good.
    """
    return sse.HEARTBEAT + busy_frame(reason)


def busy_frame(reason: str, id: str | None = None) -> bytes:  # noqa: A002  what the field is called
    """The frame alone; `id` where several streams share the connection."""
    data = msgspec.json.encode({"reason": reason})
    return sse.control("busy", data, id=id, retry_ms=spread(BUSY_RETRY_MS))


def opening() -> bytes:
    """The first bytes of a stream."""
    return sse.opening(spread(RETRY_MS))


def spread(milliseconds: int) -> int:
    """About so long: who was cut off together does not come back together."""
    return int(milliseconds * random.uniform(0.5, 1.5))  # noqa: S311  no secret
