"""Events in a line for a person."""

from __future__ import annotations

import pytest

from ringbus.cli.describe import describe
from ringbus.events import Envelope, Event, Gap, Note, Reset, Stream, TurnEnd, TurnStart

EPOCH = "00000000000000ab"


def shown(event: Event) -> str:
    """The text without its clock."""
    described = describe(Envelope(EPOCH, 1, 0, event=event))
    assert described is not None
    return described[0][21:]


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (TurnStart("alice", "do it", 2), "> alice: do it (2 more waiting)"),
        (TurnEnd(ok=True), "< ok"),
        (TurnEnd(ok=False, note="exit status 1"), "< failed: exit status 1"),
        (Note("sh exited 0"), "* sh exited 0"),
        (Note("oops", "stderr"), "! oops"),
        (Note("/wA=", "stdout", encoding="base64"), "  4 characters of base64"),
        (Stream(b'{"type":"result","result":"done"}'), "  result: done"),
        (
            Stream(b'{"type":"assistant","message":{"content":[{"type":"text","text":"hi"}]}}'),
            "  hi",
        ),
        (
            Stream(
                b'{"type":"assistant","message":{"content":[{"type":"tool_use","name":"Bash",'
                b'"input":{"command":"ls","description":"list files"}}]}}'
            ),
            "  Bash ls",
        ),
        (
            Stream(
                b'{"type":"user","message":{"content":[{"type":"tool_result","is_error":true,'
                b'"content":[{"type":"text","text":"no"}]}]}}'
            ),
            "  error: no",
        ),
        (Stream(b'{"type":"assistant","message":null}'), '  {"type":"assistant","message":null}'),
        (Stream(b"[1, 2]"), "  [1, 2]"),
    ],
)
def test_events_are_described_in_a_line(event: Event, text: str) -> None:
    """What most agents print is shown by its meaning, the rest as it is."""
    assert shown(event) == text


def test_escape_sequences_do_not_reach_the_terminal() -> None:
    """A program cannot move the cursor of who watches it."""
    assert shown(Note("a\x1b[2Jb\x9bc\r\nd")) == "* a [2Jb c d"


def test_long_lines_are_shortened() -> None:
    """One event is one line of bounded length."""
    assert len(shown(Note("x" * 100_000))) < 210


def test_partial_messages_are_not_described() -> None:
    """Their whole message follows."""
    partial = Stream(b'{"type":"stream_event","event":{}}')
    assert describe(Envelope(EPOCH, 1, 0, event=partial)) is None


def test_gaps_are_described_as_such() -> None:
    """A gap names how much is missing, if anybody knows."""
    described = describe(Gap(EPOCH, 1, 5, 5, "lapped"))
    assert described == ("-- gap: 5 records are missing here (lapped)", "gap")
    described = describe(Gap(EPOCH, 1, None, None, "ring-lost"))
    assert described is not None
    assert "an unknown number" in described[0]
    assert describe(Reset(f"{EPOCH}-1")) is not None
