"""Events, lines, and envelopes: what is encoded is what is read, byte for byte."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recordings import MISSING, recorded_files

from ringbus.errors import EventError
from ringbus.events import (
    KINDS,
    Envelope,
    Event,
    Gap,
    Note,
    Reset,
    Stream,
    TurnEnd,
    TurnStart,
    check_event,
    decode,
    encode,
    format_position,
    is_partial,
    line_event,
    parse_position,
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


# --- lines --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "event"),
    [
        (b'{"a":1}', Stream(b'{"a":1}')),
        (b' {"a": 1}\t\r', Stream(b'{"a": 1}')),
        (b"[1]", Stream(b"[1]")),
        (b'"text"', Stream(b'"text"')),
        (b"1234567890123456789012345678901234567890", Stream(b"1234567890" * 4)),
        (b"null", Stream(b"null")),
        (b'"\\ud83d"', Stream(b'"\\ud83d"')),
        (b"", Note("", source="stdout", reason="blank line")),
        (b" \t\r", Note("", source="stdout", reason="blank line")),
        (b"  npm WARN  \r", Note("  npm WARN  \r", source="stdout", reason="not JSON")),
        (b'{"cut":"of', Note('{"cut":"of', source="stdout", reason="not JSON")),
        (b"\x0b", Note("\x0b", source="stdout", reason="not JSON")),
        (b"a\0b", Note("a\0b", source="stdout", reason="not JSON")),
        ("a\u2028b".encode(), Note("a\u2028b", source="stdout", reason="not JSON")),
        (
            b" \xff{} ",
            Note("IP97fSA=", source="stdout", reason="not UTF-8", encoding="base64"),
        ),
        (
            b"[" * 1001 + b"]" * 1001,
            Note("[" * 1001 + "]" * 1001, source="stdout", reason="nested more than 1,000 deep"),
        ),
    ],
)
def test_lines_of_stdout(line: bytes, event: Event) -> None:
    """JSON is carried byte for byte; any other line is a note of exactly that line."""
    assert line_event(line) == event
    assert decode(encode(event)[1]) == event


@pytest.mark.parametrize(
    ("line", "event"),
    [
        (b'{"a":1}', Note('{"a":1}', source="stderr")),
        (b"warning ", Note("warning ", source="stderr")),
        (b" ", Note("", source="stderr")),
        (b"\xff", Note("/w==", source="stderr", reason="not UTF-8", encoding="base64")),
    ],
)
def test_every_line_of_stderr_is_a_note(line: bytes, event: Event) -> None:
    """What is said on stderr is text, even where it looks like JSON."""
    assert line_event(line, "stderr") == event


@settings(deadline=None)
@given(st.binary(max_size=30) | st.text(max_size=30).map(str.encode))
def test_no_byte_of_a_line_is_lost(line: bytes) -> None:
    """From the payload of any line the line can be had again, apart from white space around."""
    event = decode(encode(line_event(line))[1])
    if isinstance(event, Stream):
        assert event.data == line.strip(b" \t\r\n")
    else:
        assert isinstance(event, Note)
        text = event.text.encode()
        kept = base64.b64decode(text) if event.encoding else text
        assert kept == (line if line.strip(b" \t\r\n") else b"")


def recorded_lines() -> Iterator[bytes]:
    for path in recorded_files():
        yield from path.read_bytes().split(b"\n")


@pytest.mark.skipif(not recorded_files(), reason=MISSING)
def test_recorded_lines_survive() -> None:
    """Real lines of many agents come out as they went in."""
    for line in recorded_lines():
        event = decode(encode(line_event(line))[1])
        if isinstance(event, Stream):
            assert event.data == line.strip()
            assert event.value == json.loads(line)
        else:
            assert isinstance(event, Note)
            assert event.text.encode() == (line if line.strip() else b"")


@pytest.mark.parametrize(
    "line",
    [
        b'{"type":"stream_event","event":{"type":"ping"}}',
        b'{"event":{"type":"ping"}, "type" : "stream_event"}',
        b'{"type":"system","subtype":"thinking_tokens","estimated_tokens":5}',
        b'{"type":"stream_event","event":"\\ud83d"}',
        b'{"type":"stream_event","subtype":5,"n":1e999}',
        b'{"type":"stream_event","event":' + b"[" * 990 + b"]" * 990 + b"}",
    ],
)
def test_partial_messages_are_known(line: bytes) -> None:
    """Deltas and token counters are told by the type of their outermost object."""
    assert is_partial(line)


@pytest.mark.parametrize(
    "line",
    [
        b'{"type":"assistant"}',
        b'{"type":"user","content":"{\\"type\\":\\"stream_event\\"}"}',
        b'{"type":"user","message":{"type":"stream_event"}}',
        b'{"type":"user","message":{"type":"stream_event","text":"\\ud83d"}}',
        b'{"subtype":"stream_event","type":"system"}',
        b'{"type":"assistant","subtype":"thinking_tokens"}',
        b'{"type":"thinking_tokens"}',
        b'{"type":["stream_event"]}',
        b'{"type":null,"x":"stream_event"}',
        b'"stream_event"',
        b'["type","stream_event"]',
        b'[{"type":"stream_event"}]',
        b"stream_event",
    ],
)
def test_lines_that_quote_a_partial_message_are_kept(line: bytes) -> None:
    """A tool result that shows such a line is none itself."""
    assert not is_partial(line)


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


# --- envelopes ----------------------------------------------------------------------------


def test_envelope_puts_the_place_in_front() -> None:
    """What people see is the event with epoch, seq and time before it."""
    envelope = Envelope(EPOCH, 41, 1763790000123456789, event=Note("hi"))
    assert envelope.json() == (
        b'{"epoch":"9f3c2b1a00d1e2f3","seq":41,"ts_ns":1763790000123456789,'
        b'"kind":"note","text":"hi"}'
    )
    assert envelope.position == "9f3c2b1a00d1e2f3-41"


def test_envelope_json_is_one_line() -> None:
    """Raw line ends between tokens become spaces, the value stays the same."""
    envelope = Envelope(EPOCH, 1, 2, event=Stream(b'[1,\r\n"a\\r\\n"\r]'))
    assert envelope.payload == b'{"kind":"stream","data":[1,\r\n"a\\r\\n"\r]}'
    assert envelope.json().endswith(b'"data":[1,  "a\\r\\n" ]}')
    assert json.loads(envelope.json())["data"] == [1, "a\r\n"]


def test_envelope_from_payload_and_from_event_are_equal() -> None:
    """It does not matter which way an envelope came."""
    event = TurnEnd(ok=False, note="n")
    stored = Envelope(EPOCH, 1, 2, encode(event)[1])
    live = Envelope(EPOCH, 1, 2, event=event)
    assert stored == live
    assert len({stored, live}) == 1
    assert stored.event == event
    assert stored.event is stored.event
    assert stored != Envelope(EPOCH, 2, 2, event=event)
    assert stored != Envelope(EPOCH, 1, 2, event=event, transient=True)
    assert stored != event


def test_envelope_takes_payload_or_event() -> None:
    """Neither and both are mistakes of the caller."""
    with pytest.raises(TypeError):
        Envelope(EPOCH, 1, 2)
    with pytest.raises(TypeError):
        Envelope(EPOCH, 1, 2, b"{}", event=Note("a"))


def test_envelope_kind_is_read_in_any_spelling() -> None:
    """The kind comes from the first bytes where they say it, else from the event."""
    assert Envelope(EPOCH, 1, 2, b'{"kind":"stream","data":').kind == "stream"
    assert Envelope(EPOCH, 1, 2, b'{ "text":"a", "kind":"note" }').kind == "note"
    with pytest.raises(EventError):
        _ = Envelope(EPOCH, 1, 2, b"junk").kind


def test_envelope_of_junk_can_be_shown_but_not_sent() -> None:
    """A broken payload is visible in a repr and never gets into a page."""
    junk = Envelope(EPOCH, 1, 2, b"junk")
    assert "junk" in repr(junk)
    with pytest.raises(EventError):
        junk.json()


def test_envelope_repr_tells_place_and_event() -> None:
    """Position, time and event, and whether it is kept."""
    assert repr(Envelope(EPOCH, 1, 2, event=Note("a"), transient=True)) == (
        "Envelope(9f3c2b1a00d1e2f3-1, ts_ns=2, Note(text='a'), transient=True)"
    )


def test_gaps_and_resets_are_written_as_documented() -> None:
    """Unknown ends are null, not left out."""
    assert Gap(EPOCH, 3, 7, 5, "lapped").json() == (
        b'{"epoch":"9f3c2b1a00d1e2f3","from":3,"to":7,"missed":5,"reason":"lapped"}'
    )
    assert json.loads(Gap(EPOCH, 3, None, None, "ring-lost").json()) == {
        "epoch": EPOCH,
        "from": 3,
        "to": None,
        "missed": None,
        "reason": "ring-lost",
    }
    assert Reset(f"{EPOCH}-4").json() == b'{"position":"9f3c2b1a00d1e2f3-4"}'


@given(st.binary(min_size=8, max_size=8), st.integers(0, 2**64 - 1))
def test_positions_are_read_as_they_are_written(epoch: bytes, seq: int) -> None:
    """Every epoch and every 64-bit seq has a position of its own."""
    assert parse_position(format_position(epoch.hex(), seq)) == (epoch.hex(), seq)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "41",
        EPOCH,
        f"{EPOCH}-",
        f"{EPOCH}--1",
        f"{EPOCH}-041",
        f"{EPOCH}-1 ",
        f"{EPOCH}-1\n",
        f" {EPOCH}-1",
        f"{EPOCH.upper()}-1",
        f"{EPOCH[1:]}-1",
        f"0{EPOCH}-1",
        f"{EPOCH}-\u0661",
        f"{EPOCH}-{2**64}",
        f"{EPOCH}-" + "9" * 5000,
    ],
)
def test_what_is_no_position_is_refused(text: str) -> None:
    """One position has one spelling; the message shows it."""
    with pytest.raises(ValueError, match="not a position") as refusal:
        parse_position(text)
    assert len(str(refusal.value)) < 400
