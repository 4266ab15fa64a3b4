"""All agents at a glance, kept up to date while somebody looks.

One thread follows every agent for all open dashboards of the process, so that the cost does not
grow with the number of browsers. It starts with the first of them and ends with the last.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ringbus.agents import agents as list_agents
from ringbus.agents import database_of
from ringbus.errors import RingbusError
from ringbus.events import Envelope
from ringbus.follow import Follow
from ringbus.web.digest import Digest, Summary
from ringbus.web.rings import history_lag

_log = logging.getLogger(__name__)

TICK_SECONDS = 0.25
LIST_SECONDS = 2.0
EVENTS_BEHIND = 500
_READS_A_TICK = 20


class Overview:
    """The summaries of all agents. Safe from any thread."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._changed = threading.Condition()
        self._watchers = 0
        self._generation = 0
        self._version = 0
        self._summaries: dict[str, Summary] = {}

    @contextmanager
    def watch(self) -> Iterator[Watch]:
        """Keeps the summaries current while inside."""
        with self._changed:
            self._watchers += 1
            if self._watchers == 1:
                self._start()
        try:
            yield Watch(self)
        finally:
            with self._changed:
                self._watchers -= 1

    def changes(self, seen: int | None, timeout: float) -> tuple[int, dict[str, Summary] | None]:
        """The version now, and all summaries if it is another than `seen`; waits for that."""
        with self._changed:
            # `seen` is None at first, which waits until every agent was read once.
            self._changed.wait_for(lambda: self._version not in (0, seen), timeout)
            if self._version in (0, seen):
                return self._version, None
            return self._version, dict(self._summaries)

    def _start(self) -> None:
        self._generation += 1
        self._version = 0
        self._summaries = {}
        thread = threading.Thread(
            target=self._run, args=(self._generation,), name="ringbus-overview", daemon=True
        )
        thread.start()

    def _run(self, generation: int) -> None:
        followed = _Agents(self._state)
        try:
            while self._is_watched(generation):
                self._publish(generation, followed.read())
                time.sleep(TICK_SECONDS)
        finally:
            followed.close()

    def _is_watched(self, generation: int) -> bool:
        with self._changed:
            return self._watchers > 0 and self._generation == generation

    def _publish(self, generation: int, summaries: dict[str, Summary]) -> None:
        with self._changed:
            if generation != self._generation:
                return
            if self._version == 0 or summaries != self._summaries:
                self._summaries = summaries
                self._version += 1
                self._changed.notify_all()


class Watch:
    """One dashboard's place in the overview: what it has been told."""

    def __init__(self, overview: Overview) -> None:
        self._overview = overview
        self._version: int | None = None
        self._told: dict[str, Summary] | None = None

    def read(self, timeout: float) -> Changes | None:
        """What is new; None if nothing is within `timeout` seconds."""
        self._version, now = self._overview.changes(self._version, timeout)
        if now is None:
            return None
        told, self._told = self._told, now
        if told is None:
            return Changes(is_first=True, current=list(now.values()), gone=[])
        return Changes(
            is_first=False,
            current=[one for name, one in now.items() if told.get(name) != one],
            gone=[name for name in told if name not in now],
        )


class Changes:
    """Agents whose state is new, and the names of those that are no more."""

    __slots__ = ("current", "gone", "is_first")

    def __init__(self, *, is_first: bool, current: list[Summary], gone: list[str]) -> None:
        self.is_first = is_first
        self.current = current
        self.gone = gone


class _Agents:
    """A follow and a digest for each agent. Used by one thread."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._known: dict[str, tuple[Follow, Digest]] = {}
        self._lags: dict[str, int | None] = {}
        self._listed_at: float | None = None

    def read(self) -> dict[str, Summary]:
        self._list()
        for follow, digest in self._known.values():
            _drain(follow, digest)
        return {
            name: digest.summary(self._lags.get(name))
            for name, (_, digest) in sorted(self._known.items())
        }

    def close(self) -> None:
        for follow, _ in self._known.values():
            follow.close()
        self._known.clear()

    def _list(self) -> None:
        now = time.monotonic()
        if self._listed_at is not None and now - self._listed_at < LIST_SECONDS:
            return
        self._listed_at = now
        names = set(list_agents(self._state))
        for name in self._known.keys() - names:
            self._known.pop(name)[0].close()
        for name in names - self._known.keys():
            follow = self._open(name)
            if follow is not None:
                self._known[name] = follow, Digest(name)
        self._lags = {
            name: history_lag(name, database_of(name, self._state)) for name in self._known
        }

    def _open(self, name: str) -> Follow | None:
        # One agent that cannot be read must not take the others off the page.
        try:
            return Follow(name, database=database_of(name, self._state), last=EVENTS_BEHIND)
        except (RingbusError, OSError) as error:
            _log.warning("cannot follow agent %s: %s", name, error)
            return None


def _drain(follow: Follow, digest: Digest) -> None:
    # Bounded, so that one busy agent does not keep the others from being read.
    for _ in range(_READS_A_TICK):
        try:
            items = follow.read(timeout=0)
        except RingbusError as error:
            _log.warning("cannot follow agent %s: %s", digest.agent, error)
            return
        if not items:
            return
        for item in items:
            if isinstance(item, Envelope):
                digest.feed(item)
