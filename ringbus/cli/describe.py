"""One line for a person from each event. Pure: envelopes in, text and the name of a style out.

Lines of agents are shown by the few types that most of them share; any other is shown as it is,
shortened. What a program printed may hold escape sequences: none of them reaches the terminal.
"""

import re
import time
from typing import Any

from ringbus.events import (
    Envelope,
    Event,
    Gap,
    Note,
    Reset,
    Stream,
    TurnEnd,
    TurnStart,
    is_partial,
)

Line = tuple[str, str]

WIDTH = 200
# Directional overrides, too: they make a line read as another.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+")


def describe(item: Envelope | Gap | Reset) -> Line | None:
    """Text and style of an item; None for a partial message, which its whole one repeats."""
    if isinstance(item, Gap):
        missed = "an unknown number of" if item.missed is None else item.missed
        return f"-- gap: {missed} records are missing here ({item.reason})", "gap"
    if isinstance(item, Reset):
        return f"-- {item.position} is found nowhere: starting over", "gap"
    event = item.event
    if isinstance(event, Stream) and is_partial(event.data):
        return None
    text, style = _event(event)
    return f"{_clock(item.ts_ns)}  {_one_line(text)}", style


def _event(event: Event) -> Line:
    if isinstance(event, TurnStart):
        waiting = f" ({event.unread} more waiting)" if event.unread else ""
        return f"> {event.from_}: {event.body}{waiting}", "turn"
    if isinstance(event, TurnEnd):
        note = f": {event.note}" if event.note else ""
        return (f"< ok{note}", "ok") if event.ok else (f"< failed{note}", "failed")
    if isinstance(event, Note):
        return _note(event)
    return _value(event)


def _note(note: Note) -> Line:
    mark = {"stderr": "! ", "stdout": "  ", "harness": "* "}[note.source]
    text = f"{len(note.text)} characters of base64" if note.encoding else note.text
    if note.file is not None:
        text = f"[{note.reason}, all of it is in {note.file}] {text}"
    return mark + text, note.source


def _value(event: Stream) -> Line:
    value = event.value if len(event.data) < 1 << 20 else None
    if isinstance(value, dict):
        kind = value.get("type")
        if kind == "result":
            return f"  result: {value.get('result') or value.get('subtype')}", "result"
        blocks = _blocks(value)
        if kind in ("assistant", "user") and blocks:
            return "  " + " | ".join(blocks), str(kind)
    return "  " + event.data[: 2 * WIDTH].decode(errors="replace"), "other"


def _blocks(value: dict[str, Any]) -> list[str]:
    message = value.get("message")
    content = message.get("content") if isinstance(message, dict) else None
    if isinstance(content, str):
        return [content]
    blocks = content if isinstance(content, list) else []
    return [text for block in blocks if isinstance(block, dict) and (text := _block(block))]


def _block(block: dict[str, Any]) -> str:
    kind = block.get("type")
    if kind == "text":
        return str(block.get("text", ""))
    if kind == "thinking":
        return f"(thinking) {block.get('thinking', '')}"
    if kind == "tool_use":
        return f"{block.get('name')} {_shortest(block.get('input'))}"
    if kind == "tool_result":
        mark = "error: " if block.get("is_error") else "= "
        content = block.get("content")
        if isinstance(content, list):
            content = " ".join(_block(part) for part in content if isinstance(part, dict))
        return f"{mark}{content or ''}"
    return f"({kind})"


def _shortest(arguments: object) -> str:
    """What tells most about a tool's arguments in the least room."""
    if not isinstance(arguments, dict):
        return str(arguments or "")
    texts = [value for value in arguments.values() if isinstance(value, str)]
    return min(texts, key=len, default="")


def _clock(ts_ns: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(ts_ns // 1_000_000_000))


def without_controls(text: str) -> str:
    """The text as it may go to a terminal, in one line."""
    return _CONTROLS.sub(" ", text)


def _one_line(text: str) -> str:
    shown = without_controls(text[: 2 * WIDTH])
    return shown if len(text) <= WIDTH else shown[: WIDTH - 1] + "…"
