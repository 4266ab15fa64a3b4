"""Frames of server-sent events, read back by the rules of the standard."""

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringbus import sse
from ringbus.errors import EventError
from ringbus.events import Envelope, Gap, Note, Reset, Stream, line_event

EPOCH = "9f3c2b1a00d1e2f3"


def read(stream: bytes) -> list[dict[str, str]]:
    """What a browser dispatches, with the sticky id and delay it has then."""
    events: list[dict[str, str]] = []
    sticky: dict[str, str] = {}
    fields: dict[str, list[str]] = {}
    text = stream.decode().removeprefix("\ufeff")
    for line in re.split(r"\r\n|\r|\n", text)[:-1]:
        if line == "":
            if "data" in fields:
                events.append(
                    {
                        "event": fields.get("event", ["message"])[-1],
                        "data": "\n".join(fields["data"]),
                        **sticky,
                    }
                )
            fields = {}
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name in ("id", "retry"):
            sticky[name] = value
        elif name:
            fields.setdefault(name, []).append(value)
    return events


def frame(item: Envelope | Gap | Reset) -> bytes:
    (one,) = sse.frames([item])
    return one


def test_event_frame_has_position_and_one_line_of_data() -> None:
    """The bytes are fixed: id, data, blank line."""
    envelope = Envelope(EPOCH, 41, 7, event=Note("hi"))
    assert frame(envelope) == (
        b"id: 9f3c2b1a00d1e2f3-41\n"
        b'data: {"epoch":"9f3c2b1a00d1e2f3","seq":41,"ts_ns":7,"kind":"note","text":"hi"}\n\n'
    )


def test_transient_events_have_ids_too() -> None:
    """A reconnect goes on after the last delta the page has seen."""
    envelope = Envelope(EPOCH, 42, 7, event=Stream(b"1"), transient=True)
    assert frame(envelope).startswith(b"id: 9f3c2b1a00d1e2f3-42\n")


@settings(deadline=None)
@given(st.lists(st.binary(max_size=20) | st.sampled_from([b'[1,\r\n\r"a"]', b'{"id":\n\n1}'])))
def test_no_line_breaks_out_of_its_frame(lines: list[bytes]) -> None:
    """Whatever a program prints, one event is dispatched for it, with its own id."""
    envelopes = [Envelope(EPOCH, seq, 7, event=line_event(line)) for seq, line in enumerate(lines)]
    stream = sse.opening(3000) + b"".join(sse.frames(envelopes))
    assert read(stream) == [
        {
            "event": "message",
            "data": envelope.json().decode(),
            "id": envelope.position,
            "retry": "3000",
        }
        for envelope in envelopes
    ]


def test_gap_frame_has_its_end_as_id() -> None:
    """A reconnect goes on after the gap."""
    assert frame(Gap(EPOCH, 3, 7, 5, "lapped")) == (
        b"event: gap\n"
        b"id: 9f3c2b1a00d1e2f3-7\n"
        b'data: {"epoch":"9f3c2b1a00d1e2f3","from":3,"to":7,"missed":5,"reason":"lapped"}\n\n'
    )


def test_gap_without_a_known_end_has_no_id() -> None:
    """There is no position to go on after."""
    assert b"id:" not in frame(Gap(EPOCH, 3, None, None, "ring-lost"))


def test_reset_frame_has_no_id() -> None:
    """A reset is about a position that is found nowhere."""
    assert frame(Reset(f"{EPOCH}-1")) == (
        b'event: reset\ndata: {"position":"9f3c2b1a00d1e2f3-1"}\n\n'
    )


def test_retry_is_never_in_a_block_of_its_own() -> None:
    """Some clients deliver an empty event for a block that holds nothing else."""
    assert sse.opening(3000) == b":\nretry: 3000\n"
    assert sse.control("busy", b"{}", retry_ms=15000) == (
        b"event: busy\nretry: 15000\ndata: {}\n\n"
    )


def test_heartbeat_is_one_comment_line() -> None:
    """A blank line after it would make some clients deliver the last event again."""
    assert sse.HEARTBEAT == b":\n"
    stream = sse.opening(1) + sse.HEARTBEAT * 3 + sse.control("busy", b"{}") + sse.HEARTBEAT
    assert read(stream) == [{"event": "busy", "data": "{}", "retry": "1"}]


def test_line_ends_in_control_data_become_spaces() -> None:
    """Control data are one line too."""
    assert sse.control("busy", b'{\r"a":\n1}') == b'event: busy\ndata: { "a": 1}\n\n'


@pytest.mark.parametrize("text", ["", "a\nb", "a\rb", "a\0b", "a\n\ndata: x"])
def test_names_and_ids_cannot_break_out(text: str) -> None:
    """CR, LF and NUL would end the field or void it; an empty id would forget the position."""
    with pytest.raises(ValueError, match="CR, LF or NUL"):
        sse.control(text, b"{}")
    with pytest.raises(ValueError, match="CR, LF or NUL"):
        sse.control("gap", b"{}", id=text)


def test_epoch_cannot_break_out() -> None:
    """The id of an event is checked like any other."""
    for epoch in ("9f3c2b1a00d1e2\n3", "9f3c2b1a00d1e2f\0", "9f3c2b1a00d1e2fé", "9f3c", ""):
        with pytest.raises(ValueError, match="16 hex digits"):
            frame(Envelope(epoch, 1, 2, event=Note("a")))


def test_tag_cannot_break_out() -> None:
    """The tag of a stream that shares its connection stands in the id."""
    event = Envelope(EPOCH, 1, 2, event=Note("a"))
    assert sse.frames([event], "a.b")[0].startswith(b"id: a.b:9f3c2b1a00d1e2f3-1\ndata: ")
    with pytest.raises(ValueError, match="CR, LF or NUL"):
        sse.frames([event], "a\nb")


def test_frames_come_in_order_and_in_pieces() -> None:
    """Whatever lies between them, and however many: a piece is one write of a bounded size."""
    events = [Envelope(EPOCH, seq, seq, event=Note("x" * 1000)) for seq in range(1000)]
    gap = Gap(EPOCH, 3, 7, 5, "lapped")
    items = [*events[:3], gap, *events[8:], Reset(f"{EPOCH}-1")]
    pieces = sse.frames(items)
    assert b"".join(pieces) == b"".join(frame(item) for item in items)
    assert max(map(len, pieces)) < sse.PIECE_BYTES + 1200
    assert len(pieces) < 10
    assert sse.frames([]) == []


NUMBERS = [0, 9, 10, 99, 100, 2**32, 2**63 - 1, 2**63, 2**64 - 1]


@pytest.mark.parametrize("number", NUMBERS)
def test_numbers_of_64_bits_are_written_whole(number: int) -> None:
    """A time before 1970 is negative; a damaged one may be anything."""
    text = json.loads(Envelope(EPOCH, number, number, event=Note("a")).json())
    assert (text["seq"], text["ts_ns"]) == (number, number)
    if number < 2**63:
        assert json.loads(Envelope(EPOCH, 0, -number - 1, event=Note("a")).json())["ts_ns"] == (
            -number - 1
        )


@pytest.mark.parametrize("place", [(EPOCH, 2**64, 0), (EPOCH, 0, -(2**63) - 1), (EPOCH, "1", 0)])
def test_place_that_is_none_is_not_sent(place: tuple[Any, Any, Any]) -> None:
    """Not cut off, and not taken for another."""
    with pytest.raises((OverflowError, TypeError)):
        frame(Envelope(*place, event=Note("a")))


def test_negative_retry_is_refused() -> None:
    """Clients take digits only."""
    with pytest.raises(ValueError, match="-1"):
        sse.opening(-1)


def test_payload_that_is_no_event_is_not_sent() -> None:
    """Junk raises instead of becoming a frame."""
    with pytest.raises(EventError):
        frame(Envelope(EPOCH, 1, 2, b"junk"))


def test_last_event_id_is_the_id_of_a_frame() -> None:
    """What a client sends back is where it stands; a first connect sends nothing."""
    assert sse.last_event_id(f"{EPOCH}-41") == (EPOCH, 41)
    assert sse.last_event_id(None) is None
    assert sse.last_event_id("") is None
    with pytest.raises(ValueError, match="not a position"):
        sse.last_event_id("41")
