"""Lines of a program as events: which they are, and that no byte is lost."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recordings import MISSING, recorded_files

from ringbus.events import (
    Event,
    Note,
    Stream,
    decode,
    encode,
    is_partial,
    line_event,
)


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
