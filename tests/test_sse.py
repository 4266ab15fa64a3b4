"""Frames of server-sent events, read back by the rules of the standard."""

import re

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


def test_event_frame_has_position_and_one_line_of_data() -> None:
    """The bytes are fixed: id, data, blank line."""
    envelope = Envelope(EPOCH, 41, 7, event=Note("hi"))
    assert sse.frame(envelope) == (
        b"id: 9f3c2b1a00d1e2f3-41\n"
        b'data: {"epoch":"9f3c2b1a00d1e2f3","seq":41,"ts_ns":7,"kind":"note","text":"hi"}\n\n'
    )


def test_transient_events_have_ids_too() -> None:
    """A reconnect goes on after the last delta the page has seen."""
    envelope = Envelope(EPOCH, 42, 7, event=Stream(b"1"), transient=True)
    assert sse.frame(envelope).startswith(b"id: 9f3c2b1a00d1e2f3-42\n")


@settings(deadline=None)
@given(st.lists(st.binary(max_size=20) | st.sampled_from([b'[1,\r\n\r"a"]', b'{"id":\n\n1}'])))
def test_no_line_breaks_out_of_its_frame(lines: list[bytes]) -> None:
    """Whatever a program prints, one event is dispatched for it, with its own id."""
    envelopes = [Envelope(EPOCH, seq, 7, event=line_event(line)) for seq, line in enumerate(lines)]
    stream = sse.opening(3000) + b"".join(sse.frame(envelope) for envelope in envelopes)
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
    assert sse.frame(Gap(EPOCH, 3, 7, 5, "lapped")) == (
        b"event: gap\n"
        b"id: 9f3c2b1a00d1e2f3-7\n"
        b'data: {"epoch":"9f3c2b1a00d1e2f3","from":3,"to":7,"missed":5,"reason":"lapped"}\n\n'
    )


def test_gap_without_a_known_end_has_no_id() -> None:
    """There is no position to go on after."""
    assert b"id:" not in sse.frame(Gap(EPOCH, 3, None, None, "ring-lost"))


def test_reset_frame_has_no_id() -> None:
    """A reset is about a position that is found nowhere."""
    assert sse.frame(Reset(f"{EPOCH}-1")) == (
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
    with pytest.raises(ValueError, match="CR, LF or NUL"):
        sse.frame(Envelope("a\nb", 1, 2, event=Note("a")))


def test_negative_retry_is_refused() -> None:
    """Clients take digits only."""
    with pytest.raises(ValueError, match="-1"):
        sse.opening(-1)


def test_payload_that_is_no_event_is_not_sent() -> None:
    """Junk raises instead of becoming a frame."""
    with pytest.raises(EventError):
        sse.frame(Envelope(EPOCH, 1, 2, b"junk"))


def test_last_event_id_is_the_id_of_a_frame() -> None:
    """What a client sends back is where it stands; a first connect sends nothing."""
    assert sse.last_event_id(f"{EPOCH}-41") == (EPOCH, 41)
    assert sse.last_event_id(None) is None
    assert sse.last_event_id("") is None
    with pytest.raises(ValueError, match="not a position"):
        sse.last_event_id("41")
