"""What an agent does right now, from its events in their order. Pure.

The page of an agent derives the same in the browser, from the same rules.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from ringbus.errors import EventError
from ringbus.events import Envelope, Stream, TurnEnd, TurnStart

_LONGEST = 160


class Summary(Struct, frozen=True):
    """One agent at one moment. Times are ns since 1970.

    `state` is `waiting` (no event yet), `working`, `idle` or `failed`; `since_ns` is None while a
    turn runs whose start is out of sight; `lag` counts events not stored yet, None if
    nobody stores them.
    """

    agent: str
    state: str
    since_ns: int | None
    doing: str
    last_ns: int | None
    position: str | None
    lag: int | None


class Digest:
    """Reads an agent's events and keeps what `Summary` tells."""

    def __init__(self, agent: str) -> None:
        self.agent = agent
        self.state = "waiting"
        self.since_ns: int | None = None
        self.doing = ""
        self.last: Envelope | None = None
        self._open: dict[str, str] = {}

    def summary(self, lag: int | None) -> Summary:
        """What has been read so far."""
        last_ns, position = (self.last.ts_ns, self.last.position) if self.last else (None, None)
        return Summary(self.agent, self.state, self.since_ns, self.doing, last_ns, position, lag)

    def feed(self, envelope: Envelope) -> None:
        """Takes the next event. One that cannot be read counts as seen."""
        self.last = envelope
        try:
            self._take(envelope)
        except EventError:
            return

    def _take(self, envelope: Envelope) -> None:
        if envelope.transient:
            self._begin_working()
            return
        event = envelope.event
        if isinstance(event, TurnStart):
            self.state, self.since_ns, self.doing = "working", envelope.ts_ns, "starting"
            self._open.clear()
        elif isinstance(event, TurnEnd):
            self.state = "idle" if event.ok else "failed"
            self.since_ns = envelope.ts_ns
            self.doing = "" if event.ok else event.note or "the turn failed"
            self._open.clear()
        elif isinstance(event, Stream):
            self._begin_working()
            if self.state == "working":
                self._line(event.value)
        elif self.state == "waiting":
            self.state = "idle"

    def _begin_working(self) -> None:
        if self.state == "waiting":
            self.state = "working"

    def _line(self, line: Any) -> None:
        match line:
            case {"type": "assistant" | "user", "message": {"content": list(blocks)}}:
                self._blocks(blocks)
            case {"type": "system", "subtype": "api_retry"}:
                self.doing = "waiting to retry a request"
            case {"type": "system", "status": "compacting"}:
                self.doing = "compacting the conversation"
            case {"type": "result"}:
                self.doing = "finishing"

    def _blocks(self, blocks: list[Any]) -> None:
        for block in blocks:
            match block:
                case {"type": "tool_use", "id": str(id_), "name": str(name)}:
                    self._open[id_] = describe_call(name, block.get("input"))
                case {"type": "tool_result", "tool_use_id": str(id_)}:
                    self._open.pop(id_, None)
                case {"type": "text"}:
                    self.doing = "answering"
        if self._open:
            self.doing = list(self._open.values())[-1]
        elif self.doing != "answering":
            self.doing = "thinking"


_TELLING = ("command", "file_path", "notebook_path", "pattern", "description", "url", "query")


def describe_call(name: str, given: Any) -> str:
    """A tool call in one short line."""
    fields = given if isinstance(given, dict) else {}
    told = next((fields[key] for key in _TELLING if isinstance(fields.get(key), str)), "")
    first = told.strip().partition("\n")[0]
    sign = "$ " if name == "Bash" and first else ""
    return f"{name} {sign}{first}".strip()[:_LONGEST]
