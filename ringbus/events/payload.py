"""The four events and their payloads. Bytes in, bytes out.

An event's payload, in the ring and in the history alike, is its JSON object, UTF-8, beginning
`{"kind":"<kind>"`. Around the line of a stream event nothing is re-encoded:

    {"kind":"stream","data":<the line, byte for byte>}

so what a program printed is what every reader gets, whatever value it was. `events/grammar.py` says
which bytes are JSON.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct, field

from ringbus.errors import EventError
from ringbus.events import grammar

Source: TypeAlias = Literal["stdout", "stderr", "harness"]
SOURCES: tuple[Source, ...] = ("stdout", "stderr", "harness")

Count: TypeAlias = Annotated[int, Meta(ge=0)]


class TurnStart(Struct, frozen=True, tag="turn_start", tag_field="kind", repr_omit_defaults=True):
    """A turn begins: `from_` sent the message `body`; `unread` counts the other waiting ones."""

    from_: str = field(name="from")
    body: str
    unread: Count = 0


class Stream(Struct, frozen=True, tag="stream", tag_field="kind"):
    """A line of JSON as a program printed it; `data` holds its raw bytes."""

    data: bytes

    @property
    def value(self) -> Any:
        """The line decoded, anew at each call. Raises `EventError` if `data` is not JSON.

        A whole number of thousands of digits, too long for `int()`, is a `Decimal`.
        """
        try:
            return grammar.value(self.data)
        except grammar.NotJson as refusal:
            raise EventError(f"stream data: {refusal}") from refusal


class Note(
    Struct,
    frozen=True,
    tag="note",
    tag_field="kind",
    omit_defaults=True,
    repr_omit_defaults=True,
):
    """A line of text: one that is not JSON, one from stderr, or a word of the harness.

    `reason` says why a line became a note. With `encoding` "base64" `text` holds bytes.
    Where a line was too long for one record, `size` is its length in bytes, `file` the path
    of the file that holds all of it, and `text` its beginning.
    """

    text: str
    source: Source = "harness"
    reason: str | None = None
    encoding: Literal["base64"] | None = None
    size: Count | None = None
    file: str | None = None


class TurnEnd(
    Struct,
    frozen=True,
    tag="turn_end",
    tag_field="kind",
    omit_defaults=True,
    repr_omit_defaults=True,
):
    """A turn is over, `ok` or not; `note` may say why."""

    ok: bool
    note: str | None = None


Event: TypeAlias = TurnStart | Stream | Note | TurnEnd

KINDS = ("turn_start", "stream", "note", "turn_end")
"""In the ring a kind is its index here plus 1; 0 is no event (a bare ring's bytes)."""

_CODES: dict[type, int] = {TurnStart: 1, Stream: 2, Note: 3, TurnEnd: 4}
_STREAM_HEAD = b'{"kind":"stream","data":'
_HEADS = {
    1: b'{"kind":"turn_start",',
    2: _STREAM_HEAD,
    3: b'{"kind":"note",',
    4: b'{"kind":"turn_end",',
}

_encode_plain = msgspec.json.Encoder().encode
_decode_plain: Callable[[bytes], TurnStart | Note | TurnEnd] = msgspec.json.Decoder(
    TurnStart | Note | TurnEnd
).decode


# --- events to payloads and back ----------------------------------------------------------


def encode(event: Event) -> tuple[int, bytes]:
    """Kind code and payload of `event`.

    Raises `EventError` if a field has the wrong type or value, or text that UTF-8 cannot carry.
    """
    if isinstance(event, Stream):
        return stream_payload(_checked_data(event))
    rules = _RULES.get(type(event))
    if rules is None:
        raise EventError(f"not an event: {event!r:.200}")
    kind = _CODES[type(event)]
    for name, fits, wanted in rules:
        value = getattr(event, name)
        if not fits(value):
            raise EventError(f"{KINDS[kind - 1]}.{name} must be {wanted}, not {value!r:.200}")
    try:
        return kind, _encode_plain(event)
    except (ValueError, TypeError, OverflowError) as error:
        raise EventError(f"{KINDS[kind - 1]} cannot be encoded: {error}") from error


def stream_payload(data: bytes) -> tuple[int, bytes]:
    """Kind code and payload of a stream event whose data are known to be JSON."""
    return 2, b"%b%b}" % (_STREAM_HEAD, data)


def decode(payload: bytes) -> Event:
    """The event that `payload` is the JSON of, however spelled. Raises `EventError`.

    Fields that no event has are passed over: a later version may have written them.
    """
    if payload.startswith(_STREAM_HEAD) and payload.endswith(b"}"):
        data = payload[len(_STREAM_HEAD) : -1].strip(grammar.WHITE_SPACE)
        if grammar.is_json(data):
            return Stream(data)
    try:
        return _decode_plain(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return _decode_stream(payload, str(error))


def check_event(payload: bytes) -> tuple[int, bytes]:
    """Kind code and payload to emit for one whole event given as JSON.

    The data of a stream event stay as they are, byte for byte. Raises `EventError`, for a
    field that no such event has or that comes twice as well: what was given is kept or refused.
    """
    event = decode(payload)
    kind, canonical = encode(event)
    if payload != canonical:
        _check_fields(payload, event)
    return kind, canonical


def record_payload(kind_code: int, payload: bytes) -> bytes:
    """The event JSON for a record of an agent's ring: itself, or a note of what is no event.

    The look is a cheap one, at kind code and outline: emitters check what they emit.
    """
    head = _HEADS.get(kind_code)
    if head is not None and payload.startswith(head) and payload.endswith(b"}"):
        return payload
    return encode(bytes_note(payload, "harness", "not an event"))[1]


def bytes_note(data: bytes, source: Source, reason: str) -> Note:
    """A note of bytes that are no text."""
    return Note(base64.b64encode(data).decode(), source, reason, "base64")


def _checked_data(event: Stream) -> bytes:
    data = event.data
    if not isinstance(data, bytes):
        raise EventError(f"stream.data must be bytes, not {data!r:.200}")
    data = data.strip(grammar.WHITE_SPACE)
    fault = grammar.fault(data)
    if fault is not None:
        raise EventError(f"stream data: {fault}: {data[:200]!r}")
    return data


def _decode_stream(payload: bytes, complaint: str) -> Stream:
    """The stream event in a payload that msgspec cannot read; it also words the refusal."""
    try:
        fields = dict(grammar.members(payload))
    except grammar.NotJson as refusal:
        raise EventError(f"not an event: {refusal}") from refusal
    if grammar.value(fields.get("kind", b"null")) != "stream":
        raise EventError(f"not an event: {complaint}")
    if "data" not in fields:
        raise EventError("not an event: a stream event without data")
    return Stream(fields["data"])


def _check_fields(payload: bytes, event: Event) -> None:
    try:
        names = [name for name, _ in grammar.members(payload)]
    except grammar.NotJson as refusal:
        raise EventError(f"not an event: {refusal}") from refusal
    allowed = ("kind", *type(event).__struct_encode_fields__)
    for name in names:
        if name not in allowed:
            raise EventError(f"no such field in this kind of event: {name!r}")
        if names.count(name) > 1:
            raise EventError(f"a field that comes twice: {name!r}")


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_optional_text(value: object) -> bool:
    return value is None or isinstance(value, str)


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


# msgspec checks types where it decodes, never where it encodes.
_RULES: dict[type, tuple[tuple[str, Callable[[Any], bool], str], ...]] = {
    TurnStart: (
        ("from_", _is_text, "text"),
        ("body", _is_text, "text"),
        ("unread", _is_count, "a whole number from 0"),
    ),
    Note: (
        ("text", _is_text, "text"),
        ("source", SOURCES.__contains__, "one of " + ", ".join(SOURCES)),
        ("reason", _is_optional_text, "text or None"),
        ("encoding", (None, "base64").__contains__, "base64 or None"),
        ("size", lambda size: size is None or _is_count(size), "a whole number from 0 or None"),
        ("file", _is_optional_text, "text or None"),
    ),
    TurnEnd: (
        ("ok", lambda ok: type(ok) is bool, "a bool"),
        ("note", _is_optional_text, "text or None"),
    ),
}
