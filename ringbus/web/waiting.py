"""How an idle stream sleeps: until something wakes it, and not a moment less.

A stream waits for its `Waker`. A `Bell` is one thread for each agent that is looked at: it waits
for the ring and wakes the streams that wait for it. So a thousand idle browsers cost as much as
one, but for their heartbeats.

No wake-up is lost: a stream first arms the bell, then looks once more, then sleeps. The bell moves
its cursor first, and takes the list of those who wait afterwards.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from weakref import WeakSet

from ringbus.errors import Lapped, RingbusError, RingClosed, RingNotFound, RingUnlinked
from ringbus.ring import Ring
from ringbus.ring.subscriber import Subscriber


class Waker:
    """What one thread sleeps in, and any other, or a signal handler, wakes it by."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def wake(self) -> None:
        """Ends the sleep, or the next one if there is none now."""
        try:
            self._lock.release()
        except RuntimeError:
            return  # it is awake

    def wait(self, seconds: float) -> None:
        """Sleeps until woken, or so long."""
        self._lock.acquire(timeout=max(0.0, seconds))


def wake(wakers: Iterable[Waker]) -> None:
    """All of them. Safe in a signal handler."""
    for waker in tuple(wakers):
        waker.wake()


_WAIT_SECONDS = 2.0  # then it is seen that a ring was removed by hand
_REST_SECONDS = 60.0
_SHORTEST_POLL, _LONGEST_POLL = 0.05, 0.5
_FEW = 64  # records that are sooner passed over one by one than by a new subscriber


class Bell:
    """Wakes the streams of one agent when there may be something for them."""

    def __init__(self, agent: str) -> None:
        self._agent = agent
        self._lock = threading.Lock()
        self._armed: WeakSet[Waker] = WeakSet()  # a stream that ended is not to be held
        self._poll = _SHORTEST_POLL
        self._own = Waker()
        self._closed = False
        self._subscriber: Subscriber | None = None
        name = f"ringbus-bell-{agent}"
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def arm(self, waker: Waker) -> None:
        """It is woken once, for what comes from now on."""
        with self._lock:
            is_first = not self._armed
            self._armed.add(waker)
        if is_first:
            self._own.wake()

    def close(self) -> None:
        """Ends the thread soon."""
        self._closed = True
        self._own.wake()
        subscriber = self._subscriber
        if subscriber is not None:
            subscriber.close()  # wakes it

    def _run(self) -> None:
        try:
            while not self._closed:
                if not self._armed:
                    # Nobody waits: a busy ring shall not wake us for each of its records.
                    self._own.wait(_REST_SECONDS)
                elif self._comes_something():
                    with self._lock:
                        woken, self._armed = self._armed, WeakSet()
                    wake(woken)
        finally:
            self._drop()

    def _comes_something(self) -> bool:
        """Waits a while for that."""
        try:
            if self._subscriber is None:
                return self._comes_ring()
            if not self._subscriber.wait(_WAIT_SECONDS):
                return False
            self._catch_up(self._subscriber)
        except (RingUnlinked, RingClosed):
            self._drop()
        except (RingbusError, OSError):  # the streams meet it, too, and tell
            self._drop()
            self._own.wait(_LONGEST_POLL)
        return True

    def _catch_up(self, subscriber: Subscriber) -> None:
        try:
            if len(subscriber.read(_FEW, 0)) < _FEW:
                return
        except Lapped:
            pass
        subscriber.close()
        self._open()

    def _comes_ring(self) -> bool:
        try:
            self._open()
        except RingNotFound:
            self._own.wait(self._poll)
            self._poll = min(2 * self._poll, _LONGEST_POLL)
            return False
        self._poll = _SHORTEST_POLL
        return True

    def _open(self) -> None:
        with Ring.open(self._agent, observer=True) as ring:
            self._subscriber = ring.subscribe()
        if self._closed:
            raise RingClosed(f"nobody waits for {self._agent!r} any more")

    def _drop(self) -> None:
        if self._subscriber is not None:
            self._subscriber.close()
            self._subscriber = None


MOST_BELLS = 2_000  # each is a thread; one client may ask for agents that there are not


class Bells:
    """The bells of all agents that somebody looks at. Safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, tuple[Bell, int]] = {}

    @contextmanager
    def of(self, agent: str) -> Iterator[Bell]:
        """The agent's bell, which is there while somebody is inside."""
        with self._lock:
            if agent not in self._known and len(self._known) >= MOST_BELLS:
                raise RingbusError(f"this server follows {MOST_BELLS} agents already")
            bell, users = self._known.get(agent) or (Bell(agent), 0)
            self._known[agent] = bell, users + 1
        try:
            yield bell
        finally:
            with self._lock:
                users = self._known[agent][1] - 1
                if users:
                    self._known[agent] = bell, users
                else:
                    del self._known[agent]
            if not users:
                bell.close()
