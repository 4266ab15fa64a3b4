"""What the event streams and history pages consist of, as bytes.

A feed is a generator that takes its slot, opens what it reads, and lets go of both when it ends.
All of that happens inside, because a server may drop a response that it never began to read.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import TypeAlias

import msgspec

from ringbus import sse
from ringbus.errors import RingbusError
from ringbus.events import Envelope, Gap, Position, Reset
from ringbus.history import History
from ringbus.recent import open_history, recent
from ringbus.ring import Ring
from ringbus.web.overview import Changes, Watch
from ringbus.web.rings import open_ring
from ringbus.web.state import WebState
from ringbus.web.streams import RETRY_MS, busy

_log = logging.getLogger(__name__)

Feed: TypeAlias = Iterator[bytes]

_PIECE_BYTES = 256 << 10


def agent_feed(
    web: WebState,
    agent: str,
    *,
    after: Position | None,
    last: int | None,
    live: bool,
    is_gone: Callable[[], bool],
) -> Feed:
    """One agent's events: history, then live, exact."""
    with web.streams.slot() as is_admitted:
        if not is_admitted:
            yield web.streams.full()
            return
        try:
            with web.follow(agent, after=after, last=last, live=live) as follow:
                # Opened before the first byte: a client that got it misses nothing from then on.
                yield sse.opening(RETRY_MS)
                yield from web.streams.pump(lambda timeout: pieces(follow.read(timeout)), is_gone)
        except RingbusError as error:
            _log.warning("the stream of agent %s ended: %s", agent, error)
            yield busy(str(error))


def dashboard_feed(web: WebState, is_gone: Callable[[], bool]) -> Feed:
    """The state of all agents, then each that changes."""
    with web.streams.slot() as is_admitted:
        if not is_admitted:
            yield web.streams.full()
            return
        yield sse.opening(RETRY_MS)
        with web.overview.watch() as watch:
            yield from web.streams.pump(lambda timeout: _changes(watch, timeout), is_gone)


def pieces(items: Sequence[Envelope | Gap | Reset]) -> list[bytes]:
    """The frames of `items`, joined into pieces of about 256 KiB, each one write."""
    joined: list[bytes] = []
    frames: list[bytes] = []
    size = 0
    for item in items:
        frames.append(sse.frame(item))
        size += len(frames[-1])
        if size >= _PIECE_BYTES:
            joined.append(b"".join(frames))
            frames, size = [], 0
    return [*joined, b"".join(frames)] if frames else joined


def _changes(watch: Watch, timeout: float) -> list[bytes]:
    changes = watch.read(timeout)
    return [] if changes is None else [b"".join(_change_frames(changes))]


def _change_frames(changes: Changes) -> Iterator[bytes]:
    if changes.is_first:
        yield sse.control("snapshot", msgspec.json.encode({"agents": changes.current}))
        return
    for summary in changes.current:
        yield b"data: %b\n\n" % msgspec.json.encode(summary)
    for name in changes.gone:
        yield sse.control("gone", msgspec.json.encode({"agent": name}))


def history_page(web: WebState, agent: str, *, limit: int, before: Position | None) -> bytes:
    """A page of envelopes, oldest first, one to a line: a reader may cut at line ends.

    Ends before `before`, else with the newest event, stored or not yet. `next_before` is where
    the page before it ends, null when this is the first. Raises `KeyError` for a `before` that is
    found nowhere.
    """
    with ExitStack() as stack:
        history = open_history(web.database(agent), agent, _log.warning)
        if history is not None:
            stack.enter_context(history)
        ring = open_ring(agent)
        if ring is not None:
            stack.enter_context(ring)
        if before is not None and not _is_known(before[0], history, ring):
            raise KeyError(before)
        # One more than asked for tells whether there is anything before.
        found = recent(history, ring, limit + 1, before)
    shown = found[-limit:]
    next_before = shown[0].position if len(found) > limit else None
    lines = b",\n".join(envelope.json() for envelope in shown)
    return b'{"events":[\n%b\n],"next_before":%b}' % (lines, msgspec.json.encode(next_before))


def _is_known(epoch: str, history: History | None, ring: Ring | None) -> bool:
    if ring is not None and ring.epoch == epoch:
        return True
    return history is not None and history.next_seq(epoch) is not None
