"""Events: the four kinds, the lines they are made of, and the places they stand at.

The kinds and their payloads are in `payload.py`, the rule that says what is JSON in `grammar.py`;
this module is the face of both. People and programs see an event with its place put in front of
its JSON:

    {"epoch":"9f3c2b1a00d1e2f3","seq":41,"ts_ns":1763790000123456789,"kind":"note","text":"hi"}
"""

from __future__ import annotations

import re
from typing import TypeAlias

import msgspec
from msgspec import Struct, field

from ringbus._native import event_text
from ringbus.errors import EventError
from ringbus.events import grammar
from ringbus.events.grammar import is_json
from ringbus.events.payload import (
    KINDS,
    Event,
    Note,
    Source,
    Stream,
    TurnEnd,
    TurnStart,
    bytes_note,
    check_event,
    decode,
    encode,
    record_payload,
    stream_payload,
)

__all__ = [
    "KINDS",
    "Envelope",
    "Event",
    "Gap",
    "Note",
    "Position",
    "Reset",
    "Source",
    "Stream",
    "TurnEnd",
    "TurnStart",
    "check_event",
    "decode",
    "encode",
    "format_position",
    "is_json",
    "is_partial",
    "line_event",
    "parse_position",
    "record_payload",
    "stream_payload",
]

Position: TypeAlias = tuple[str, int]
"""Epoch, 16 lower-case hex digits, and seq."""


# --- lines --------------------------------------------------------------------------------


def line_event(line: bytes, source: Source = "stdout") -> Stream | Note:
    """The event for one line a program printed, given without its newline.

    From stdout JSON becomes a stream event, white space around it dropped; any other line,
    and every line of another source, becomes a note of exactly that text.
    """
    data = line.strip(grammar.WHITE_SPACE)
    reason = None
    if source == "stdout":
        reason = grammar.fault(data) if data else "blank line"
        if reason is None:
            return Stream(data)
    if not data:
        return Note("", source, reason)
    try:
        return Note(line.decode(), source, reason)
    except UnicodeDecodeError:
        return bytes_note(line, source, grammar.NOT_UTF8)


class _Type(Struct):
    type: str | None = None
    subtype: str | None = None


_decode_type = msgspec.json.Decoder(_Type).decode


def is_partial(data: bytes) -> bool:
    """Whether a JSON line is a partial message: broadcast it, but do not keep it.

    Those are lines that say so themselves, in `type` and `subtype` of their outermost object.
    """
    if b"stream_event" not in data and b"thinking_tokens" not in data:
        return False
    try:
        look = _decode_type(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        look = _look_for_type(data)
    return look.type == "stream_event" or (
        look.type == "system" and look.subtype == "thinking_tokens"
    )


def _look_for_type(data: bytes) -> _Type:
    try:
        fields = dict(grammar.members(data))
    except grammar.NotJson:
        return _Type()
    return _Type(*(grammar.value(fields.get(name, b"null")) for name in ("type", "subtype")))


# --- events in their place ----------------------------------------------------------------


class Envelope:
    """An event with its place: epoch (16 hex digits), seq, and wall clock in ns since 1970.

    Built from the payload, which is decoded when `event` is first asked for, or from `event=`.
    """

    __slots__ = ("_event", "epoch", "payload", "seq", "transient", "ts_ns")

    def __init__(
        self,
        epoch: str,
        seq: int,
        ts_ns: int,
        payload: bytes | None = None,
        transient: bool = False,
        *,
        event: Event | None = None,
    ) -> None:
        if event is not None and payload is None:
            payload = encode(event)[1]
        elif event is not None or payload is None:
            raise TypeError("an Envelope takes either a payload or an event")
        self.epoch = epoch
        self.seq = seq
        self.ts_ns = ts_ns
        self.payload = payload
        self.transient = transient
        self._event = event

    @property
    def event(self) -> Event:
        """The event. Raises `EventError` if the payload is not one."""
        if self._event is None:
            self._event = decode(self.payload)
        return self._event

    @property
    def kind(self) -> str:
        """One of `KINDS`. Raises `EventError` if the payload does not say."""
        said = _KIND.match(self.payload)
        return said[1].decode() if said else str(type(self.event).__struct_config__.tag)

    @property
    def position(self) -> str:
        """`<epoch>-<seq>`."""
        return format_position(self.epoch, self.seq)

    def json(self) -> bytes:
        """The event's JSON object with its place put in front, on one line."""
        (line,) = event_text([self], None, b"", 0)
        return line

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Envelope):
            return NotImplemented
        return self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash((self.epoch, self.seq))

    def __repr__(self) -> str:
        try:
            content = repr(self.event)
        except EventError:
            content = f"payload={self.payload!r}"
        transient = ", transient=True" if self.transient else ""
        return f"Envelope({self.position}, ts_ns={self.ts_ns}, {content}{transient})"

    def _identity(self) -> tuple[str, int, int, bytes, bool]:
        return self.epoch, self.seq, self.ts_ns, self.payload, self.transient


class Gap(Struct, frozen=True):
    """A stretch that a reader cannot get, both ends included, and why.

    `missed` counts the records in it. `to` and `missed` are None where nobody can know them.
    """

    epoch: str
    from_: int = field(name="from")
    to: int | None
    missed: int | None
    reason: str

    def json(self) -> bytes:
        """`{"epoch","from","to","missed","reason"}`."""
        return msgspec.json.encode(self)


class Reset(Struct, frozen=True):
    """The position asked for is found nowhere: reading starts over."""

    position: str

    def json(self) -> bytes:
        """`{"position"}`."""
        return msgspec.json.encode(self)


_KIND = re.compile(rb'\{"kind":"(turn_start|stream|note|turn_end)"')
_POSITION = re.compile(r"([0-9a-f]{16})-(0|[1-9][0-9]{0,19})")


def format_position(epoch: str, seq: int) -> str:
    """`<epoch>-<seq>`, the only public coordinate of a record."""
    return f"{epoch}-{seq}"


def parse_position(text: str) -> Position:
    """Epoch and seq of a position. Raises `ValueError` if `text` is none."""
    found = _POSITION.fullmatch(text)
    if found is None or int(found[2]) >= 1 << 64:
        raise ValueError(
            f"not a position: {text[:100]!r}; it is <epoch>-<seq>, an epoch of 16 hex digits "
            "and a whole number, such as 9f3c2b1a00d1e2f3-41"
        )
    return found[1], int(found[2])
