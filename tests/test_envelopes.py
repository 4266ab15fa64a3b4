"""Envelopes, gaps and resets: events with their place, as they are shown and sent."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringbus.errors import EventError
from ringbus.events import (
    Envelope,
    Gap,
    Note,
    Reset,
    Stream,
    TurnEnd,
    encode,
    format_position,
    parse_position,
)

EPOCH = "9f3c2b1a00d1e2f3"


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
