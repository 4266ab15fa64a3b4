"""Events, lines, and envelopes: what is encoded is what is read, byte for byte."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from ringbus.errors import EventError
from ringbus.events import (
    KINDS,
    Envelope,
    Event,
    Note,
    Stream,
    TurnEnd,
    TurnStart,
    check_event,
    decode,
    encode,
    record_payload,
)

EPOCH = "9f3c2b1a00d1e2f3"

WRITTEN: list[tuple[Event, int, bytes]] = [
    (
        TurnStart("operator", "fix it", 2),
        1,
        b'{"kind":"turn_start","from":"operator","body":"fix it","unread":2}',
    ),
    (TurnStart("a", ""), 1, b'{"kind":"turn_start","from":"a","body":"","unread":0}'),
    (Stream(b'{"kind":"own"}'), 2, b'{"kind":"stream","data":{"kind":"own"}}'),
    (Stream(b"null"), 2, b'{"kind":"stream","data":null}'),
    (Note("hello"), 3, b'{"kind":"note","text":"hello"}'),
    (
        Note("x", source="stderr", reason="not JSON"),
        3,
        b'{"kind":"note","text":"x","source":"stderr","reason":"not JSON"}',
    ),
    (
        Note("aGk=", encoding="base64", size=10, file="/f"),
        3,
        b'{"kind":"note","text":"aGk=","encoding":"base64","size":10,"file":"/f"}',
    ),
    (
        Note("\0 \u2028 \x1b[1m \ufeff"),
        3,
        '{"kind":"note","text":"\\u0000 \u2028 \\u001b[1m \ufeff"}'.encode(),
    ),
    (TurnEnd(ok=True), 4, b'{"kind":"turn_end","ok":true}'),
    (
        TurnEnd(ok=False, note="exit status 1"),
        4,
        b'{"kind":"turn_end","ok":false,"note":"exit status 1"}',
    ),
]


@pytest.mark.parametrize(("event", "kind", "payload"), WRITTEN)
def test_events_are_written_as_documented(event: Event, kind: int, payload: bytes) -> None:
    """Kind codes and JSON are fixed: other programs read them."""
    assert encode(event) == (kind, payload)
    assert decode(payload) == event


def test_kind_codes_are_the_place_in_kinds_plus_one() -> None:
    """The order of `KINDS` is the ring's."""
    for event, kind, payload in WRITTEN:
        assert json.loads(payload)["kind"] == KINDS[kind - 1]
        assert Envelope(EPOCH, 0, 0, event=event).kind == KINDS[kind - 1]


NO_EVENTS: list[Any] = [
    Note(5),  # type: ignore[arg-type]
    Note(b"bytes"),  # type: ignore[arg-type]
    Note("a\ud800"),
    Note("a", source="elsewhere"),  # type: ignore[arg-type]
    Note("a", reason=1),  # type: ignore[arg-type]
    Note("a", encoding="hex"),  # type: ignore[arg-type]
    Note("a", size=-1),
    Note("a", file=Path("/f")),  # type: ignore[arg-type]
    TurnStart("a", "b", -1),
    TurnStart("a", "b", True),
    TurnStart("a", "b", 1.0),  # type: ignore[arg-type]
    TurnStart("a", None),  # type: ignore[arg-type]
    TurnStart("\udfff", "b"),
    TurnEnd(ok=None),  # type: ignore[arg-type]
    TurnEnd(ok=1),  # type: ignore[arg-type]
    TurnEnd(ok=True, note=b""),  # type: ignore[arg-type]
    Stream("null"),  # type: ignore[arg-type]
    Stream(bytearray(b"1")),  # type: ignore[arg-type]
    Stream(b""),
    Stream(b"NaN"),
    Stream(b'"\xff"'),
    Stream(b'1,"x":2'),
    Stream(b"[" * 1001 + b"]" * 1001),
    None,
    {"kind": "note", "text": "a"},
    b'{"kind":"note","text":"a"}',
]


@pytest.mark.parametrize("event", NO_EVENTS)
def test_what_cannot_be_encoded_raises(event: Any) -> None:
    """A wrong type, a wrong value or text no UTF-8 can hold is refused where it is emitted."""
    with pytest.raises(EventError):
        encode(event)


def test_refusal_names_field_and_value() -> None:
    """The message says which field of which event is wrong, and what it should be."""
    with pytest.raises(EventError, match=r"turn_start\.unread must be a whole number from 0.*-1"):
        encode(TurnStart("a", "b", -1))


def test_white_space_around_stream_data_is_dropped() -> None:
    """Only the value goes into the payload."""
    assert encode(Stream(b" \t[1, 2]\r\n"))[1] == b'{"kind":"stream","data":[1, 2]}'


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"hello",
        b'{"kind":"note"}',
        b'{"kind":"note","text":null}',
        b'{"kind":"note","text":"\\ud800"}',
        b'{"kind":"note","text":"\xff"}',
        b'{"kind":"note","text":"a"',
        b'{"kind":"turn_start","from":"a","body":"b","unread":-1}',
        b'{"kind":"turn_end","ok":1}',
        b'{"kind":"stream"}',
        b'{"kind":"stream","data":}',
        b'{"kind":"stream","data":NaN}',
        b'{"kind":"stream","data":1',
        b'{"kind":"stream","data":1}}',
        b'{"kind":"other","data":1}',
        b'{"text":"a"}',
        b'{"kind":"note","text":"a","x":' + b"[" * 2000 + b"]" * 2000 + b"}",
    ],
)
def test_payload_that_is_no_event_raises(payload: bytes) -> None:
    """Reading refuses what writing could not have written, and so does passing it on."""
    with pytest.raises(EventError):
        decode(payload)
    with pytest.raises(EventError):
        check_event(payload)
    with pytest.raises(EventError):
        _ = Envelope(EPOCH, 0, 0, payload).event


def test_refusal_of_broken_stream_data_says_why() -> None:
    """A payload that is not JSON is called that, not an unknown kind."""
    with pytest.raises(EventError, match="not JSON"):
        decode(b'{"kind":"stream","data":NaN}')


@pytest.mark.parametrize(
    ("payload", "event"),
    [
        (b'{"kind": "stream", "data": {"a": 1.0}}', Stream(b'{"a": 1.0}')),
        (b'{"data":"\\ud800","kind":"stream"}', Stream(b'"\\ud800"')),
        (b'{"kind":"stream","data":1,"new":2}', Stream(b"1")),
        (b' { "text" : "a" , "kind" : "note" } ', Note("a")),
        (b'{"kind":"note","text":"a","new":{"b":[]}}', Note("a")),
        (b'{"kind":"turn_end","ok":true,"note":null}', TurnEnd(ok=True)),
    ],
)
def test_other_spellings_are_read(payload: bytes, event: Event) -> None:
    """Order, white space, and fields of later versions do not matter to a reader."""
    assert decode(payload) == event


@pytest.mark.parametrize(
    ("payload", "checked"),
    [
        (
            b'\n{ "data" : {"a" : 1.0, "a" : 1e400} , "kind" : "stream" }\n',
            (2, b'{"kind":"stream","data":{"a" : 1.0, "a" : 1e400}}'),
        ),
        (b'{"kind":"stream","data":"\\ud83d"}', (2, b'{"kind":"stream","data":"\\ud83d"}')),
        (
            b'{"text":"\\u00e9","source":"harness","kind":"note"}',
            (3, '{"kind":"note","text":"é"}'.encode()),
        ),
        (b'{"kind":"turn_end","ok":false}', (4, b'{"kind":"turn_end","ok":false}')),
    ],
)
def test_event_given_as_json_is_put_in_our_spelling(
    payload: bytes, checked: tuple[int, bytes]
) -> None:
    """Data of a stream event stay byte for byte; the rest becomes what `encode` writes."""
    assert check_event(payload) == checked


@pytest.mark.parametrize(
    "payload",
    [
        b'{"kind":"note","text":"a","colour":"red"}',
        b'{"kind":"stream","data":1,"seq":2}',
        b'{"epoch":"9f3c2b1a00d1e2f3","seq":1,"ts_ns":2,"kind":"note","text":"a"}',
        b'{"kind":"note","text":"a","text":"b"}',
        b'{"kind":"note","text":"a","text":"a"}',
        b'{"kind":"stream","data":1,"data":2}',
    ],
)
def test_event_given_as_json_loses_no_field_silently(payload: bytes) -> None:
    """A field that would not be kept is refused."""
    with pytest.raises(EventError, match="field"):
        check_event(payload)


@pytest.mark.parametrize(("event", "kind", "payload"), WRITTEN)
def test_record_that_is_an_event_stays_itself(event: Event, kind: int, payload: bytes) -> None:
    """No byte of an event's record changes on its way out."""
    assert record_payload(kind, payload) == payload


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (0, b'{"kind":"note","text":"a"}'),
        (2, b'{"kind":"note","text":"a"}'),
        (5, b'{"kind":"note","text":"a"}'),
        (3, b'{"kind":"note","text":"a"'),
        (3, b'{"kind":"notes","text":"a"}'),
        (3, b""),
        (0, b"\x00\xff"),
    ],
)
def test_record_that_is_no_event_becomes_a_note(kind: int, payload: bytes) -> None:
    """Bytes of a bare ring are shown as base64, and the note says why."""
    note = decode(record_payload(kind, payload))
    assert note == Note(
        base64.b64encode(payload).decode(), reason="not an event", encoding="base64"
    )


# --- values, reprs ------------------------------------------------------------------------


def test_stream_value_is_decoded_on_demand() -> None:
    """Any JSON has a value, lone surrogates included; what is not JSON has none."""
    assert Stream(b'{"a":["\\ud83d",1]}').value == {"a": ["\ud83d", 1]}
    assert Stream(b"null").value is None
    with pytest.raises(EventError, match="not JSON"):
        _ = Stream(b"{").value


def test_events_are_shown_without_what_is_unset() -> None:
    """A repr is short enough to read in a failed assertion."""
    assert repr(Note("hi")) == "Note(text='hi')"
    assert repr(TurnStart("me", "go")) == "TurnStart(from_='me', body='go')"
    assert repr(Stream(b"1")) == "Stream(data=b'1')"
    assert repr(TurnEnd(ok=True)) == "TurnEnd(ok=True)"


def test_events_do_not_change() -> None:
    """An event that was checked stays what it was."""
    note = Note("a")
    with pytest.raises(AttributeError):
        note.text = "b"  # type: ignore[misc]
    assert {Note("a"): 1}[Note("a")] == 1
