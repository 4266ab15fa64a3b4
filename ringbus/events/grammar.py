"""The one rule that says which bytes are JSON, and what follows from it.

Bytes are JSON here iff they are valid UTF-8 and of RFC 8259 grammar, nested at most
`MAX_DEPTH` deep. Escapes of lone surrogates are grammar; NaN and Infinity are not; numbers
may have any length. White space means the RFC's four bytes.

HOW IT WORKS: msgspec skims the bytes without building objects. What it accepts is grammatical;
it checks neither UTF-8 nor, where the recursion limit was raised, the depth, so both are
checked here. What it refuses may still be JSON (lone surrogates, deep nesting, a caller deep
in its own stack), so then a scanner of our own decides. That scanner keeps its open brackets
in a list instead of recursing: its verdict does not depend on who calls it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from itertools import accumulate
from typing import Any

import msgspec

MAX_DEPTH = 1000
WHITE_SPACE = b" \t\r\n"

NOT_UTF8 = "not UTF-8"
NOT_JSON = "not JSON"
TOO_DEEP = f"nested more than {MAX_DEPTH:,} deep"


class NotJson(ValueError):
    """The bytes break the rule; the message says how, in a few words."""


def is_json(data: bytes) -> bool:
    """Whether `data` is one JSON value, white space around it allowed."""
    return fault(data) is None


def fault(data: bytes) -> str | None:
    """Why `data` is not JSON (`NOT_UTF8`, `NOT_JSON` or `TOO_DEEP`), or None if it is."""
    if not is_utf8(data):
        return NOT_UTF8
    try:
        _skim(data)
    except (msgspec.DecodeError, RecursionError):
        return _scan_fault(data)
    # Each level takes an opening and a closing byte: short data needs no look at its depth.
    if len(data) > 2 * MAX_DEPTH and _depth(data) > MAX_DEPTH:
        return TOO_DEEP
    return None


def value(data: bytes) -> Any:
    """The Python value of JSON `data`. Raises `NotJson`.

    A whole number too long for `int()` (thousands of digits) becomes a `Decimal`.
    """
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        if not is_utf8(data):
            raise NotJson(NOT_UTF8) from None
        return _build(data)


def members(data: bytes) -> list[tuple[str, bytes]]:
    """Name and raw bytes of each member of a JSON object, in order. Raises `NotJson`.

    Each value may be nested `MAX_DEPTH` deep by itself.
    """
    if not is_utf8(data):
        raise NotJson(NOT_UTF8)
    found: list[tuple[str, bytes]] = []
    depth = value_start = 0
    name = ""
    for token, start, end in _tokens(data, MAX_DEPTH + 1):
        if depth == 0 and data[start : start + 1] != b"{":
            raise NotJson("not a JSON object")
        if depth == 1 and token == _KEY:
            name = _scalar(data[start:end])
            continue
        if depth == 1:
            value_start = start
        depth += _TOKEN_STEP[token]
        if depth == 1 and token in (_SCALAR, _CLOSE):
            found.append((name, data[value_start:end]))
    return found


def is_utf8(data: bytes) -> bool:
    """Whether `data` is valid UTF-8 (no surrogates, no overlong forms)."""
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


# --- the depth of bytes that msgspec accepted ---------------------------------------------

_skim = msgspec.json.Decoder(msgspec.Raw).decode

_NOT_STRUCTURE = bytes(set(range(256)) - set(b'"[]{}'))
_BRACKET_STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


def _depth(data: bytes) -> int:
    """The depth of grammatical `data`; where that is surely within the limit, any bound on it."""
    openings = data.count(b"[") + data.count(b"{")
    if openings <= MAX_DEPTH:
        return openings
    structure = _without_escapes(data).translate(None, _NOT_STRUCTURE)
    brackets = b"".join(structure.split(b'"')[::2])  # every other piece is inside a string
    return max(accumulate(map(_BRACKET_STEP.__getitem__, brackets)), default=0)


_SHORT_ESCAPES = tuple(b"\\" + bytes([letter]) for letter in b'"/bfnrt')
_UNICODE_ESCAPE = re.compile(rb"\\u(?=[0-9a-fA-F]{4})")


def _without_escapes(data: bytes) -> bytes:
    """`data` with `x` in place of each valid escape's first two bytes, so positions stay.

    Strings then end at the next quote. That hides no fault: outside strings `x` is one itself,
    and a backslash that is left over is one everywhere.
    """
    plain = data.replace(rb"\\", b"xx")  # these first: the second of them escapes nothing
    for escape in _SHORT_ESCAPES:
        plain = plain.replace(escape, b"xx")
    return _UNICODE_ESCAPE.sub(b"xx", plain)


# --- the scanner --------------------------------------------------------------------------

# What it finds; an empty array or object counts as a scalar.
_OPEN, _CLOSE, _KEY, _SCALAR = range(4)
_TOKEN_STEP = (1, -1, 0, 0)

_WS = rb"[ \t\r\n]*"
_TEXT = rb'"[^"\\\x00-\x1f]*"'
_NUMBER = rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
_NAME = rb"%b(?P<name>%b)%b:" % (_WS, _TEXT, _WS)

# What may stand where a value is due, and after one in an array or object.
_VALUE = re.compile(
    rb"%b(?:(?P<scalar>%b|%b|true|false|null)" % (_WS, _TEXT, _NUMBER)
    + rb"|(?P<empty>\[%b\]|\{%b\})" % (_WS, _WS)
    + rb"|(?P<array>\[)|(?P<object>\{%b))" % _NAME
)
_NEXT_IN = {
    "array": re.compile(rb"%b(?:(?P<close>\])|(?P<item>,))" % _WS),
    "object": re.compile(rb"%b(?:(?P<close>\})|(?P<member>,%b))" % (_WS, _NAME)),
}
_BEFORE_VALUE = frozenset(("array", "object", "item", "member"))
_END = re.compile(_WS)


def _scan_fault(data: bytes) -> str | None:
    try:
        for _ in _tokens(data, MAX_DEPTH):
            pass
    except NotJson as refusal:
        return str(refusal)
    return None


def _tokens(data: bytes, max_depth: int) -> Iterator[tuple[int, int, int]]:
    """Token, start and end of all there is in UTF-8 `data`; raises `NotJson` at the first fault."""
    plain = _without_escapes(data)
    inside: list[str] = []
    position = 0
    due = _VALUE
    while due is not _END:
        found = due.match(plain, position)
        if found is None:
            raise NotJson(NOT_JSON)
        kind = found.lastgroup or ""
        start, position = found.start(kind), found.end()
        if kind in ("array", "object"):
            inside.append(kind)
            yield _OPEN, start, start + 1
        elif kind == "close":
            inside.pop()
            yield _CLOSE, start, position
        elif kind in ("scalar", "empty"):
            yield _SCALAR, start, position
        if kind in ("object", "member"):
            yield _KEY, *found.span("name")
        if len(inside) + (kind == "empty") > max_depth:
            raise NotJson(TOO_DEEP)
        due = _VALUE if kind in _BEFORE_VALUE else _NEXT_IN[inside[-1]] if inside else _END
    if _END.fullmatch(plain, position) is None:
        raise NotJson(NOT_JSON)


def _build(data: bytes) -> Any:
    root: list[Any] = []
    inside: list[Any] = [root]
    name = ""
    for token, start, end in _tokens(data, MAX_DEPTH):
        if token == _KEY:
            name = _scalar(data[start:end])
            continue
        if token == _CLOSE:
            inside.pop()
            continue
        item = _scalar(data[start:end]) if token == _SCALAR else [] if data[start] == 0x5B else {}
        if isinstance(inside[-1], dict):
            inside[-1][name] = item
        else:
            inside[-1].append(item)
        if token == _OPEN:
            inside.append(item)
    return root[0]


def _scalar(text: bytes) -> Any:
    return _decode_scalar(text.decode())


def _whole_number(text: str) -> int | Decimal:
    try:
        return int(text)
    except ValueError:  # Python refuses to turn thousands of digits into an int
        return Decimal(text)


_decode_scalar = json.JSONDecoder(parse_int=_whole_number).decode
