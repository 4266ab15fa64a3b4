"""What an agent does right now, from its events in their order. Pure.

The page of an agent derives the same in the browser, from the same rules.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from msgspec import Struct

from ringbus.errors import EventError
from ringbus.events import Envelope, Gap, Stream, TurnEnd, TurnStart
from ringbus.web.facts import (
    Ask,
    Call,
    Cost,
    Doing,
    Fact,
    Folder,
    Limit,
    Result,
    Tokens,
    Trouble,
    first_line,
    nearer,
)
from ringbus.web.lines import facts
from ringbus.web.pace import Pace
from ringbus.web.spending import Spending

SILENT_NS = 5 * 60 * 10**9  # a turn is stale that prints nothing for so long
DESERTED_NS = 10 * 10**9  # or for so long with no emitter left
MOST_COUNTED = 100  # events that a page can tell to be unread
_MOST_OPEN = 256

#: What a partial message must hold to tell anything.
_TELLING_PARTIALS = (b"content_block_start", b"message_delta")


class Summary(Struct, frozen=True):
    """One agent at one moment. Times are ns since 1970.

    `state` is `idle` (no turn yet), `working`, `waiting` (for somebody), `limited`, `stale`,
    `failed` or `done`; `since_ns` is when that turn began, or ended for the last two, None while
    its start is out of sight; `took_ns` is how long the ended one took. `asked` is what the turn is
    about, `doing` what is done for it, or why it failed. A limit holds until `until_ns`.
    `lag` counts events not stored yet, None if nobody stores them; `stalled_ns` is since when not
    one was; `emitters` are attached. `gaps` were met in this turn or after it; `missed` is None
    where nobody knows. Tokens and cost are the turn's, None until told. `kept` are the newest
    seqs of this epoch that are kept in history, `rate` how many events came of late, see `Pace`.
    """

    agent: str
    state: str
    since_ns: int | None
    took_ns: int | None
    asked: str
    doing: str
    until_ns: int | None
    last_ns: int | None
    position: str | None
    lag: int | None
    stalled_ns: int | None
    emitters: int | None
    gaps: int
    missed: int | None
    tokens_in: int | None
    tokens_out: int | None
    cost_usd: float | None
    kept: tuple[int, ...]
    rate_to: int
    rate: tuple[int, ...]


class Storing(Struct, frozen=True):
    """What the ring says of an agent's emitters and of who stores what they emit."""

    lag: int | None = 0
    stalled_ns: int | None = None
    emitters: int | None = None


class Digest:
    """Reads an agent's events and keeps what `Summary` tells."""

    def __init__(self, agent: str) -> None:
        self.agent = agent
        self.state = "idle"
        self.since_ns: int | None = None
        self.doing = ""
        self.last: Envelope | None = None
        self._heard_ns: int | None = None
        self._took_ns: int | None = None
        self._asked = ""
        self._wait: Ask | Limit | None = None
        self._trouble = ""
        self._open: dict[str, str] = {}
        self._folder = ""
        self._spending = Spending()
        self._gaps = 0
        self._missed: int | None = 0
        self._kept: deque[int] = deque(maxlen=MOST_COUNTED)
        self._pace = Pace()

    def summary(self, now_ns: int, storing: Storing) -> Summary:
        """What has been read so far, as it looks now."""
        tokens_in, tokens_out = self._spending.tokens
        until_ns = self._wait.until_ns if isinstance(self._wait, Limit) else None
        rate_to, rate = self._pace.counts()
        return Summary(
            agent=self.agent,
            state=self._state(now_ns, storing),
            since_ns=self.since_ns,
            took_ns=self._took_ns,
            asked=self._asked,
            doing=first_line(self._words(now_ns)),
            until_ns=until_ns,
            last_ns=self._heard_ns,
            position=self.last.position if self.last else None,
            lag=storing.lag,
            stalled_ns=storing.stalled_ns,
            emitters=storing.emitters,
            gaps=self._gaps,
            missed=self._missed,
            tokens_in=tokens_in,
            tokens_out=tokens_out,
            cost_usd=self._spending.cost_usd,
            kept=tuple(self._kept),
            rate_to=rate_to,
            rate=rate,
        )

    def _state(self, now_ns: int, storing: Storing) -> str:
        if self.state != "working" or self._heard_ns is None:
            return self.state
        silent_ns = now_ns - self._heard_ns
        if storing.emitters == 0 and silent_ns > DESERTED_NS:
            return "stale"
        if isinstance(self._wait, Ask):
            return "waiting"
        if self._is_limited(now_ns):
            return "limited"
        return "stale" if silent_ns > SILENT_NS else "working"

    def _is_limited(self, now_ns: int) -> bool:
        wait = self._wait
        return isinstance(wait, Limit) and (wait.until_ns is None or wait.until_ns > now_ns)

    def _words(self, now_ns: int) -> str:
        if self.state == "working" and isinstance(self._wait, Ask):
            return self._wait.words
        if self.state == "working" and isinstance(self._wait, Limit) and self._is_limited(now_ns):
            return self._wait.why
        return self.doing

    def feed(self, envelope: Envelope) -> None:
        """Takes the next event. One that cannot be read counts as seen."""
        self._count(envelope)
        try:
            self._take(envelope)
        except EventError:
            return

    def recall(self, envelope: Envelope) -> None:
        """Takes the start or end of a turn whose other events before the next one are not read."""
        self._take(envelope)
        self.last, self._heard_ns = envelope, envelope.ts_ns
        self._spending = Spending(is_whole=False)

    def gap(self, gap: Gap) -> None:
        """Takes what is missing in place of events."""
        self._gaps += 1
        known = self._missed is not None and gap.missed is not None
        self._missed = (self._missed or 0) + (gap.missed or 0) if known else None

    def pass_by(self, at_ns: int) -> None:
        """An event of the past that is not read was heard, and counts for the rate: no more."""
        self._pace.recall(at_ns)
        self._heard_ns = max(at_ns, self._heard_ns or 0)

    def leave_out(self, events: int, at_ns: int) -> None:
        """So many were not read: they count for the rate, and what the turn spent is unknown."""
        self._pace.add(at_ns, events)
        self._kept.clear()
        self._spending = Spending(is_whole=False)
        self._open.clear()

    def _count(self, envelope: Envelope) -> None:
        if self.last is not None and self.last.epoch != envelope.epoch:
            self._kept.clear()
        self.last = envelope
        self._heard_ns = envelope.ts_ns
        self._pace.add(envelope.ts_ns)
        if not envelope.transient:
            self._kept.append(envelope.seq)

    def _take(self, envelope: Envelope) -> None:
        if envelope.transient:
            self._begin_working()
            if any(mark in envelope.payload for mark in _TELLING_PARTIALS):
                self._line(envelope)
            return
        event = envelope.event
        if isinstance(event, TurnStart):
            self._start(envelope.ts_ns, event)
        elif isinstance(event, TurnEnd):
            self._end(envelope.ts_ns, event)
        elif isinstance(event, Stream):
            self._begin_working()
            self._line(envelope)

    def _start(self, ts_ns: int, event: TurnStart) -> None:
        self.state, self.since_ns, self.doing = "working", ts_ns, "starting"
        self._asked = first_line(event.body)
        self._took_ns, self._wait, self._trouble = None, None, ""
        self._open.clear()
        self._spending = Spending()
        self._gaps, self._missed = 0, 0

    def _end(self, ts_ns: int, event: TurnEnd) -> None:
        if self.state == "working" and self.since_ns is not None:
            self._took_ns = ts_ns - self.since_ns
        self.state = "done" if event.ok else "failed"
        self.since_ns = ts_ns
        why = [first_line(words) for words in (event.note, self._trouble) if words]
        self.doing = "" if event.ok else ": ".join(why) or "the turn failed"
        self._open.clear()

    def _begin_working(self) -> None:
        if self.state == "idle":
            self.state = "working"

    def _line(self, envelope: Envelope) -> None:
        event = envelope.event
        if not isinstance(event, Stream):
            return
        line: Any = event.value
        is_inner = isinstance(line, dict) and line.get("parent_tool_use_id") is not None
        for fact in facts(line, envelope.ts_ns):
            self._learn(fact, is_inner=is_inner)

    def _learn(self, fact: Fact, *, is_inner: bool) -> None:
        if isinstance(fact, Folder):
            self._folder = fact.path
        elif self.state != "working":
            return
        elif isinstance(fact, Ask):
            self._wait = Ask(nearer(fact.words, self._folder))
        elif isinstance(fact, Limit):
            self._wait = fact
        elif isinstance(fact, Trouble):
            if not (fact.is_kind and self._trouble):
                self._trouble = fact.words
        elif isinstance(fact, Tokens | Cost):
            self._spending.take(fact)
        else:
            if not is_inner:
                self._wait = None
            self._go_on(fact)

    def _go_on(self, fact: Call | Result | Doing) -> None:
        if isinstance(fact, Call):
            self._open[fact.id] = nearer(fact.words, self._folder)
            if len(self._open) > _MOST_OPEN:
                del self._open[next(iter(self._open))]
        elif isinstance(fact, Result):
            self._open.pop(fact.id, None)
        if self._open:
            self.doing = next(reversed(self._open.values()))
        else:
            self.doing = fact.words if isinstance(fact, Doing) else "thinking"
