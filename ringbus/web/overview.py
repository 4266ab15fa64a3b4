"""All agents at a glance, kept up to date while somebody looks.

One thread follows every agent for all open dashboards of the process, so that the cost does not
grow with the number of browsers. It starts with the first of them and ends with the last.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from weakref import WeakSet

from msgspec import structs

from ringbus.agents import agents as list_agents
from ringbus.errors import RingbusError
from ringbus.web.digest import Summary
from ringbus.web.followed import Followed
from ringbus.web.waiting import Waker, wake

_log = logging.getLogger(__name__)

TICK_SECONDS = 0.25
LIST_SECONDS = 2.0
FIGURES_SECONDS = 1.0


class Overview:
    """The summaries of all agents. Safe from any thread."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._changed = threading.Lock()
        self._armed: WeakSet[Waker] = WeakSet()
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

    def arm(self, waker: Waker) -> None:
        """It is woken once, at the next change."""
        with self._changed:
            self._armed.add(waker)

    def changes(self, seen: int | None) -> tuple[int, dict[str, Summary] | None]:
        """The version now, and all summaries if it is another than `seen`."""
        with self._changed:
            # 0 until every agent was read once.
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
                wake(self._armed)
                self._armed.clear()


class Watch:
    """One dashboard's place in the overview: what it has been told."""

    def __init__(self, overview: Overview) -> None:
        self._overview = overview
        self._version: int | None = None
        self._told: dict[str, Summary] | None = None

    def arm(self, waker: Waker) -> None:
        """It is woken once, when there is something new."""
        self._overview.arm(waker)

    def read(self) -> Changes | None:
        """What is new; None if nothing is."""
        self._version, now = self._overview.changes(self._version)
        if now is None:
            return None
        told, self._told = self._told, now
        if told is None:
            return Changes(is_first=True, current=list(now.values()), gone=[])
        return Changes(
            is_first=False,
            current=[
                _news(told[name], one) if name in told else one
                for name, one in now.items()
                if told.get(name) != one
            ],
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
    """All agents, followed. Used by one thread."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._followed: dict[str, Followed] = {}
        self._told: dict[str, tuple[float, Summary]] = {}
        self._listed_at = -math.inf

    def read(self) -> dict[str, Summary]:
        now = time.monotonic()
        if now - self._listed_at >= LIST_SECONDS:
            self._listed_at = now
            self._list()
        for followed in self._followed.values():
            followed.read()
        return {name: self._tell(name, now) for name in sorted(self._followed)}

    def close(self) -> None:
        for followed in self._followed.values():
            followed.close()
        self._followed.clear()

    def _tell(self, name: str, now: float) -> Summary:
        """What its state is, at once; its figures, now and then."""
        summary = self._followed[name].summary(time.time_ns())
        if name in self._told:
            told_at, told = self._told[name]
            if now - told_at < FIGURES_SECONDS and _essence(told) == _essence(summary):
                return told
        self._told[name] = now, summary
        return summary

    def _list(self) -> None:
        names = set(list_agents(self._state))
        for name in self._followed.keys() - names:
            self._followed.pop(name).close()
            self._told.pop(name, None)
        for name in names - self._followed.keys():
            # One agent that cannot be read must not take the others off the page.
            try:
                self._followed[name] = Followed(name, self._state)
            except (RingbusError, OSError) as error:
                _log.warning("cannot follow agent %s: %s", name, error)
        for name, followed in self._followed.items():
            try:
                followed.look()
            except (RingbusError, OSError) as error:
                _log.warning("cannot look at agent %s: %s", name, error)


def _essence(summary: Summary) -> tuple[object, ...]:
    one = summary
    return one.state, one.since_ns, one.doing, one.until_ns, one.gaps, one.lag is None


def _news(told: Summary, now: Summary) -> Summary:
    """The summary with those kept events alone that are new."""
    if told.position is None or now.position is None or not told.kept:
        return now
    if told.position.partition("-")[0] != now.position.partition("-")[0]:
        return now
    newest = told.kept[-1]
    return structs.replace(now, kept=tuple(seq for seq in now.kept if seq > newest))
