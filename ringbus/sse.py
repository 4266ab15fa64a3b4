"""Server-sent events as bytes. Pure: envelopes in, frames out.

The framing that every known client understands:

- LF ends lines. A frame is its fields and one blank line; its data are one `data:` line.
- `id:` is the position, on every event. No frame has an id and no data: some clients would
  deliver an empty event for it.
- The heartbeat is one comment line without a blank line after it, for the same reason.
- `retry:` leads a frame or stands before the first one, never in a block of its own.
- Nothing can break out of its field: ids and names with CR, LF or NUL are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import groupby

from ringbus._native import event_text
from ringbus.events import Envelope, Gap, Position, Reset, format_position, parse_position

HEARTBEAT = b":\n"
PIECE_BYTES = 256 << 10

_BREAKS_OUT = re.compile(r"[\r\n\0]")


def opening(retry_ms: int) -> bytes:
    """The first bytes of a stream: a comment so that headers go out, and the delay to reconnect.

    `retry:` becomes part of the frame that follows, however many heartbeats come between.
    """
    return HEARTBEAT + _retry(retry_ms)


def frames(items: Iterable[Envelope | Gap | Reset], tag: str | None = None) -> list[bytes]:
    """The frames for what a follow gives, in pieces of about 256 KiB: each is one write.

    Events are plain messages; gaps and resets are named. A gap has its last position as id, so
    that a client that reconnects goes on after it; without a known end it has none. Raises
    `EventError` for a payload that is no event.
    """
    id_begin = b"id: " if tag is None else _field("id", f"{tag}:")[:-1]
    pieces: list[bytes] = []
    for is_event, run in groupby(items, lambda item: isinstance(item, Envelope)):
        if is_event:
            pieces += event_text(list(run), id_begin, b"\n\n", PIECE_BYTES)
        else:
            pieces += [_named(item, tag) for item in run if not isinstance(item, Envelope)]
    return pieces


def _named(item: Gap | Reset, tag: str | None) -> bytes:
    if isinstance(item, Gap):
        end = None if item.to is None else format_position(item.epoch, item.to)
        return control("gap", item.json(), id=tagged(tag, end))
    return control("reset", item.json(), id=tagged(tag, None))


def message(data: bytes, *, id: str | None = None) -> bytes:  # noqa: A002
    """A plain message that is no event of an agent; `data` is JSON on one line."""
    return b"%bdata: %b\n\n" % (b"" if id is None else _field("id", id), data)


def cursor(position: Position, tag: str | None = None) -> bytes:
    """The frame that says: all up to this position was sent, or was not wanted.

    Named, and with data, since clients treat an id on its own in different ways.
    """
    text = format_position(*position)
    return control("cursor", b'{"position":"%b"}' % text.encode(), id=tagged(tag, text))


def tagged(tag: str | None, id: str | None) -> str | None:  # noqa: A002  what the field is called
    """The id where several streams share a connection: which of them, and where in that.

    There every frame has one: without it a client would see that of the frame before.
    """
    return id if tag is None else f"{tag}:{id or ''}"


def control(
    name: str,
    data: bytes,
    *,
    id: str | None = None,  # noqa: A002  what the field is called
    retry_ms: int | None = None,
) -> bytes:
    """A named frame; `data` is JSON, `retry_ms` a new delay to reconnect, in milliseconds.

    Raises `ValueError` for a name or id that is empty or holds CR, LF or NUL.
    """
    fields = _field("event", name)
    if id is not None:
        fields += _field("id", id)
    if retry_ms is not None:
        fields += _retry(retry_ms)
    # JSON may hold a raw CR or LF between tokens alone, where a space means the same.
    line = data.replace(b"\r", b" ").replace(b"\n", b" ")
    return b"%bdata: %b\n\n" % (fields, line)


def last_event_id(header: str | None) -> Position | None:
    """The position in a `Last-Event-ID` header; None without one.

    Raises `ValueError` if there is one that is no position.
    """
    return parse_position(header) if header else None


def _field(name: str, value: str | None) -> bytes:
    if not value or _BREAKS_OUT.search(value):
        raise ValueError(f"{name} must be text without CR, LF or NUL, not {value!r:.100}")
    return f"{name}: {value}\n".encode()


def _retry(milliseconds: int) -> bytes:
    if milliseconds < 0:
        raise ValueError(f"retry must be milliseconds from 0, not {milliseconds}")
    return b"retry: %d\n" % milliseconds
