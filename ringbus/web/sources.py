"""What a stream reads for its client, as frames: one agent, all agents at a glance, or several.

A source gives the pieces to write; `sse` says what frames look like.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from ringbus import sse
from ringbus.errors import RingbusError
from ringbus.events import Envelope, Gap, Position, Reset
from ringbus.follow import Follow
from ringbus.web.overview import Changes, Watch
from ringbus.web.streams import Source, busy_frame
from ringbus.web.waiting import Bell, Waker

_log = logging.getLogger(__name__)

CURSOR_SECONDS = 1.0


class AgentSource:
    """The events of one agent that are of some kinds, none named: of all. Gaps always come.

    What the client does not want moves its place all the same: a `cursor` tells it now and then,
    so that a reconnect goes on there and not at the last event that was wanted.
    """

    def __init__(
        self,
        follow: Follow,
        kinds: frozenset[str],
        tag: str | None = None,
        *,
        bell: Bell,
        on_gaps: Callable[[int], None],
    ) -> None:
        self._bell = bell
        self._on_gaps = on_gaps
        self._follow = follow
        self._kinds = kinds
        self._tag = tag
        self._told: Position | None = None
        self._told_at = -math.inf

    def read(self) -> list[bytes]:
        items = self._follow.read(0)
        if gaps := sum(isinstance(item, Gap) for item in items):
            self._on_gaps(gaps)
        wanted = [item for item in items if self._is_wanted(item)]
        for item in reversed(wanted):
            if (place := _place(item)) is not None:
                self._told, self._told_at = place, time.monotonic()
                break
        return pieces(sse.frames(wanted, self._tag) + self._cursor())

    def arm(self, waker: Waker) -> float:
        self._bell.arm(waker)
        rest = self._follow.rest()
        if self._follow.position in (None, self._told):
            return rest
        return min(rest, self._told_at + CURSOR_SECONDS - time.monotonic())

    def start(self) -> bytes:
        """Where it stands before anything was read."""
        return b"".join(self._cursor())

    def _is_wanted(self, item: Envelope | Gap | Reset) -> bool:
        return not self._kinds or not isinstance(item, Envelope) or item.kind in self._kinds

    def _cursor(self) -> list[bytes]:
        position, now = self._follow.position, time.monotonic()
        if position in (None, self._told) or now - self._told_at < CURSOR_SECONDS:
            return []
        self._told, self._told_at = position, now
        return [sse.cursor(position, self._tag)]


class OverviewSource:
    """The state of all agents, then each that changes."""

    def __init__(self, watch: Watch, tag: str | None = None) -> None:
        self._watch = watch
        self._tag = tag

    def read(self) -> list[bytes]:
        changes = self._watch.read()
        return [] if changes is None else pieces(self._frames(changes))

    def arm(self, waker: Waker) -> float:
        self._watch.arm(waker)
        return math.inf

    def _frames(self, changes: Changes) -> Iterator[bytes]:
        id_ = sse.tagged(self._tag, None)
        if changes.is_first:
            snapshot = msgspec.json.encode({"now_ns": time.time_ns(), "agents": changes.current})
            yield sse.control("snapshot", snapshot, id=id_)
            return
        for summary in changes.current:
            yield sse.message(msgspec.json.encode(summary), id=id_)
        for name in changes.gone:
            yield sse.control("gone", msgspec.json.encode({"agent": name}), id=id_)


class SharedSource:
    """Several sources by their tags. One that fails says `busy` under its tag and is left out."""

    def __init__(self, sources: Mapping[str, Source]) -> None:
        self._sources = dict(sources)

    def read(self) -> list[bytes]:
        found: list[bytes] = []
        for tag, source in list(self._sources.items()):
            try:
                found += source.read()
            except RingbusError as error:
                _log.warning("a stream ended: %s", error)
                del self._sources[tag]
                found.append(busy_frame(str(error), sse.tagged(tag, None)))
        return found

    def arm(self, waker: Waker) -> float:
        return min((source.arm(waker) for source in self._sources.values()), default=math.inf)


def pieces(frames: Iterable[bytes]) -> list[bytes]:
    """The frames joined into pieces of about 256 KiB, each one write."""
    joined: list[bytes] = []
    waiting: list[bytes] = []
    size = 0
    for frame in frames:
        waiting.append(frame)
        size += len(frame)
        if size >= sse.PIECE_BYTES:
            joined.append(b"".join(waiting))
            waiting, size = [], 0
    return [*joined, b"".join(waiting)] if waiting else joined


def _place(item: Envelope | Gap | Reset) -> Position | None:
    """What a client's place is once it has the item; None: as it was."""
    if isinstance(item, Envelope):
        return item.epoch, item.seq
    if isinstance(item, Gap) and item.to is not None:
        return item.epoch, item.to
    return None
