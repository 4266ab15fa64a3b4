"""What the event streams and history pages consist of, as bytes.

A feed is a generator that takes its slot, opens what it reads, and lets go of both when it ends.
All of that happens inside, because a server may drop a response that it never began to read.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import NamedTuple, TypeAlias

import msgspec

from ringbus import sse
from ringbus._native import event_text
from ringbus.choice import ALL, Choice
from ringbus.errors import RingbusError
from ringbus.events import Envelope, Gap, Position, format_position
from ringbus.follow import Follow
from ringbus.history import History
from ringbus.recent import bytes_of, in_parts, open_history
from ringbus.ring import Ring
from ringbus.web.clients import Client
from ringbus.web.rings import open_ring
from ringbus.web.sources import AgentSource, OverviewSource, SharedSource
from ringbus.web.state import WebState
from ringbus.web.streams import Source, busy, busy_frame, opening

_log = logging.getLogger(__name__)

Feed: TypeAlias = Iterator[bytes]

PAGE_BYTES = 16 << 20  # about, for one page of history
SEARCHED_ROWS = 1_000_000  # for one page: about half a second


class Start(NamedTuple):
    """Where a client begins with an agent: after a position, with the newest, or with what comes.

    With `kinds` it gets events of these alone, and `last` counts those.
    """

    after: Position | None = None
    last: int | None = None
    live: bool = False
    kinds: frozenset[str] = frozenset()


def agent_feed(web: WebState, agent: str, start: Start, client: Client) -> Feed:
    """One agent's events: history, then live, exact."""
    with web.streams.slot() as is_admitted:
        if not is_admitted:
            yield web.streams.full()
            return
        try:
            with ExitStack() as opened:
                source = _open_agent(web, opened, agent, start)
                # Opened before the first byte: a client that got it misses nothing from then on.
                yield opening() + (source.start() if start.live else b"")
                yield from web.streams.pump(source, client)
        except RingbusError as error:
            _log.warning("the stream of agent %s ended: %s", agent, error)
            yield busy(str(error))


def dashboard_feed(web: WebState, client: Client) -> Feed:
    """The state of all agents, then each that changes."""
    with web.streams.slot() as is_admitted:
        if not is_admitted:
            yield web.streams.full()
            return
        yield opening()
        with web.overview.watch() as watch:
            yield from web.streams.pump(OverviewSource(watch), client)


def shared_feed(
    web: WebState, wanted: Mapping[str, tuple[str, Start] | None], client: Client
) -> Feed:
    """Several agents' events on one connection, by their tags; None is all agents at a glance."""
    with web.streams.slot() as is_admitted, ExitStack() as opened:
        if not is_admitted:
            yield web.streams.full()
            return
        yield opening()
        sources: dict[str, Source] = {}
        for tag, one in wanted.items():
            try:
                sources[tag] = source = _open(web, opened, tag, one)
                if one is not None and one[1].live and isinstance(source, AgentSource):
                    yield source.start()
            except RingbusError as error:
                _log.warning("a stream did not begin: %s", error)
                yield busy_frame(str(error), sse.tagged(tag, None))
        yield from web.streams.pump(SharedSource(sources), client)


def _open(web: WebState, opened: ExitStack, tag: str, wanted: tuple[str, Start] | None) -> Source:
    if wanted is None:
        return OverviewSource(opened.enter_context(web.overview.watch()), tag)
    return _open_agent(web, opened, *wanted, tag=tag)


def _open_agent(
    web: WebState, opened: ExitStack, agent: str, start: Start, tag: str | None = None
) -> AgentSource:
    follow = opened.enter_context(_follow(web, agent, start))
    bell = opened.enter_context(web.bells.of(agent))
    return AgentSource(follow, start.kinds, tag, bell=bell, on_gaps=web.streams.count_gaps)


def _follow(web: WebState, agent: str, start: Start) -> Follow:
    return web.follow(
        agent,
        after=start.after,
        last=start.last,
        live=start.live,
        choice=Choice(kinds=start.kinds),
    )


class Page(NamedTuple):
    """What is asked for of a history: the newest before a position, or the oldest after one."""

    limit: int
    before: Position | None = None
    after: Position | None = None
    choice: Choice = ALL

    @property
    def is_onward(self) -> bool:
        return self.after is not None and self.before is None


def history_page(web: WebState, agent: str, asked: Page) -> bytes:
    """A page of envelopes, oldest first, one to a line: a reader may cut at line ends.

    Ends before `before`, else with the newest event, stored or not yet; with `after` alone it
    begins there. `next_before` is where the page before it ends, null when this is the first
    that was asked for; `next_after` is where the page after one with `after` alone begins. A page
    of a search for text, or of very long lines, may hold fewer than asked for, and these tell where
    it goes on. `gaps` are those of this page, each `before` one of its events, null: behind all;
    pages that follow each other tell each once. What was chosen by kind or text has none. Raises
    `KeyError` for a position that is found nowhere.
    """
    with ExitStack() as stack:
        history = open_history(web.database(agent), agent, _log.warning)
        if history is not None:
            stack.enter_context(history)
        ring = open_ring(agent)
        if ring is not None:
            stack.enter_context(ring)
        for place in (asked.before, asked.after):
            if place is not None and not _is_known(place[0], history, ring):
                raise KeyError(format_position(*place))
        floor = None if history is None else _floor(history, asked)
        found: list[Envelope] = []
        is_cut = False
        # One more than asked for tells whether there is anything beyond.
        for part in in_parts(
            history,
            ring,
            asked.limit + 1,
            asked.before,
            after=asked.after if floor is None else floor,
            choice=asked.choice,
        ):
            found = found + part if asked.is_onward else part + found
            is_cut = bytes_of(found) >= PAGE_BYTES
            if is_cut:
                break
        is_more = is_cut or len(found) > asked.limit
        shown = found[: asked.limit] if asked.is_onward else found[-asked.limit :]
        gaps = _gaps(history, ring, asked, shown, is_more=is_more)
    ends = _ends(shown, asked, floor, is_more=is_more)
    lines = b"".join(event_text(list(shown), None, b",\n", PAGE_BYTES)).removesuffix(b",\n")
    return b'{"events":[\n%b\n],%b' % (lines, msgspec.json.encode({"gaps": gaps, **ends})[1:])


def _floor(history: History, asked: Page) -> Position | None:
    """How far back one page is searched, so that none takes long; None: to its beginning."""
    if asked.choice.text is None or asked.is_onward:
        return None
    if asked.after is not None and history.next_seq(asked.after[0]) is None:
        return None
    return history.back(asked.before, SEARCHED_ROWS, asked.after)


def _ends(
    shown: Sequence[Envelope], asked: Page, floor: Position | None, *, is_more: bool
) -> dict[str, str | None]:
    ends: dict[str, str | None] = {"next_before": None, "next_after": None}
    if is_more:
        end, at = ("next_after", shown[-1]) if asked.is_onward else ("next_before", shown[0])
        ends[end] = at.position
    elif floor is not None:
        ends["next_before"] = format_position(floor[0], floor[1] + 1)
    return ends


def _gaps(
    history: History | None,
    ring: Ring | None,
    asked: Page,
    shown: Sequence[Envelope],
    *,
    is_more: bool,
) -> list[dict[str, object]]:
    """The gaps between the ends of a page, each with the event that follows it."""
    if history is None or asked.choice != ALL:
        return []
    first, before = None, asked.before
    if asked.after is not None:
        first = asked.after[0], asked.after[1] + 1
    if is_more and asked.is_onward:
        before = shown[-1].epoch, shown[-1].seq + 1
    elif is_more:
        first = shown[0].epoch, shown[0].seq
    gaps = [*history.gaps(first, before), *_untold(history, ring, first, before)]
    if not gaps:
        return []
    order = {epoch: number for number, epoch in enumerate(history.epochs())}
    places = [(order.get(event.epoch, len(order)), event.seq) for event in shown]
    placed: list[dict[str, object]] = []
    for gap in gaps:
        at = bisect_left(places, (order.get(gap.epoch, len(order)), gap.from_))
        next_event = shown[at].position if at < len(shown) else None
        placed.append({**msgspec.to_builtins(gap), "before": next_event})
    return placed


def _untold(
    history: History, ring: Ring | None, first: Position | None, before: Position | None
) -> Iterator[Gap]:
    """What the ring lost and nobody has noted yet, if it begins between these two."""
    if ring is None:
        return
    begin, end = history.next_seq(ring.epoch) or 0, ring.floor
    is_from = first is None or first[0] != ring.epoch or first[1] <= begin
    is_before = before is None or (before[0] == ring.epoch and begin < before[1])
    if begin < end and is_from and is_before:
        yield Gap(ring.epoch, begin, end - 1, end - begin, "lapped")


def _is_known(epoch: str, history: History | None, ring: Ring | None) -> bool:
    if ring is not None and ring.epoch == epoch:
        return True
    return history is not None and history.next_seq(epoch) is not None
