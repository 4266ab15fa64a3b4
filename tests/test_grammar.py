"""Which bytes are JSON: the rule, and three readers of it that must agree."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from types import FrameType
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ringbus.events import grammar
from ringbus.events.grammar import NotJson, fault, is_json, members, value

JSON = [
    b"null",
    b"true",
    b" false ",
    b"\t\r\n 0 \n",
    b"-0",
    b"-0.0e-0",
    b"1E+5",
    b"1" * 5000,
    b"1e999999999999",
    b"0." + b"1" * 5000,
    b'""',
    b'"\\u0000"',
    b'"\\ud800"',
    b'"\\udc00\\ud800"',
    b'{"\\ud83d":"\\uD83Dx"}',
    b'"\\\\\\"\\/\\b\\f\\n\\r\\t\\u00e9"',
    b'"\x7f"',
    '"é\u2028\U0001f600\ufeff"'.encode(),
    b"[]",
    b"[ ]",
    b"{ }",
    b'{"a":1,"a":2}',
    b'{"kind":"own","seq":1}',
    b'[1 , {"a" : [ ] , "b" : { } } ]',
]

NOT_JSON = [
    b"",
    b"  ",
    b"01",
    b"-01",
    b"-",
    b"+1",
    b".5",
    b"1.",
    b"1.e5",
    b"1e",
    b"0x10",
    b"1 2",
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"[NaN]",
    b"nul",
    b"truex",
    b"True",
    b"'a'",
    b'"a',
    b'"a\x01b"',
    b'"a\tb"',
    b'"a\nb"',
    b'"\x00"',
    b'"\\x41"',
    b'"\\u12g4"',
    b'"\\u12\\n4"',
    b'"\\ud80"',
    b'"\\"',
    b'"\\\\\\"',
    b"\\n",
    b"1\\n",
    b"\\u0031",
    b"[\\\\]",
    b"[",
    b"]",
    b"[1,]",
    b"[,1]",
    b"[1 2]",
    b'["a":1]',
    b"[1}",
    b'{"a":1]',
    b'{"a":1,}',
    b'{"a"}',
    b'{"a":}',
    b'{"a":1,"b"}',
    b'{"a":1,2}',
    b"{1:2}",
    b"{a:1}",
    b"[1]]",
    b'{"a":1}}',
    b"{}\x00",
    b"\x0b1",
    b"// a\n1",
    "\ufeff1".encode(),
    "\u00a01".encode(),
    b'{"type":"assistant","message":{"con',
]

NOT_UTF8 = [b'"\xff"', b'"\xed\xa0\x80"', b'"\xc0\x80"', b'"\xf4\x90\x80\x80"', b'{"\xe2\x82":1}']


@pytest.mark.parametrize("data", JSON)
def test_json_is_accepted(data: bytes) -> None:
    """The grammar of RFC 8259, escapes of lone surrogates and numbers of any length are JSON."""
    assert fault(data) is None


@pytest.mark.parametrize("data", NOT_JSON)
def test_what_is_not_json_is_refused(data: bytes) -> None:
    """Whatever the grammar does not have is refused."""
    assert fault(data) == grammar.NOT_JSON


@pytest.mark.parametrize("data", NOT_UTF8)
def test_what_is_not_utf8_is_not_json(data: bytes) -> None:
    """Bytes that are not UTF-8 are refused even where the grammar fits, and the reason says so."""
    assert fault(data) == grammar.NOT_UTF8


@pytest.mark.parametrize("data", JSON)
def test_scanner_accepts_json_without_msgspec(data: bytes) -> None:
    """The scanner alone accepts all JSON, so that it can overrule any refusal of msgspec."""
    assert grammar._scan_fault(data) is None


@pytest.mark.parametrize("data", NOT_JSON)
def test_scanner_refuses_without_msgspec(data: bytes) -> None:
    """The scanner alone refuses all that is not JSON."""
    assert grammar._scan_fault(data) == grammar.NOT_JSON


# --- depth --------------------------------------------------------------------------------

NESTS: list[Callable[[int], bytes]] = [
    lambda depth: b"[" * depth + b"]" * depth,
    lambda depth: b"[" * depth + b"1" + b"]" * depth,
    lambda depth: b'{"a":' * (depth - 1) + b"{}" + b"}" * (depth - 1),
    lambda depth: b'{"a":' * depth + b'"\\ud800"' + b"}" * depth,
    lambda depth: (
        b'[{"[\\"[":' * (depth // 2)
        + b"[" * (depth % 2)
        + b'"}"'
        + b"]" * (depth % 2)
        + b',"]":"}\\"]"}]' * (depth // 2)
    ),
]


@contextmanager
def recursion_limit(limit: int) -> Iterator[None]:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(limit)
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def from_deep_in_the_stack(call: Callable[[], Any]) -> Any:
    """Calls with only a few dozen frames left."""

    def descend(frames: int) -> Any:
        return call() if frames == 0 else descend(frames - 1)

    depth = 0
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        depth += 1
        frame = frame.f_back
    return descend(sys.getrecursionlimit() - depth - 40)


@pytest.mark.parametrize("nest", NESTS)
@pytest.mark.parametrize("limit", [1000, 20_000])
def test_nesting_is_limited_to_a_thousand(nest: Callable[[int], bytes], limit: int) -> None:
    """1,000 levels are JSON and 1,001 are not, whatever the recursion limit of the process."""
    with recursion_limit(limit):
        assert fault(nest(1000)) is None
        assert fault(nest(1001)) == grammar.TOO_DEEP


@pytest.mark.parametrize("nest", NESTS)
def test_verdict_does_not_depend_on_the_callers_stack(nest: Callable[[int], bytes]) -> None:
    """A caller that has nearly used up its stack gets the same answers."""
    assert from_deep_in_the_stack(lambda: fault(nest(1000))) is None
    assert from_deep_in_the_stack(lambda: fault(nest(1001))) == grammar.TOO_DEEP
    assert from_deep_in_the_stack(lambda: value(b'{"a":[[1]]}')) == {"a": [[1]]}


@pytest.mark.parametrize(
    "data",
    [
        b"[" + b"[],{}," * 5000 + b"1]",
        b'["' + b"[{" * 5000 + b'"]',
        b'["\\"' + b"[{" * 5000 + b'\\\\",{"' + b"[" * 2000 + b'":"' + b"{" * 2000 + b'"}]',
    ],
)
@pytest.mark.parametrize("limit", [1000, 20_000])
def test_wide_is_not_deep(data: bytes, limit: int) -> None:
    """Brackets side by side, or inside strings, are no depth."""
    with recursion_limit(limit):
        assert is_json(data)


def test_endless_nesting_is_refused_early() -> None:
    """A megabyte of open brackets neither overflows a stack nor takes memory for each."""
    assert fault(b"[" * 1_000_000) == grammar.TOO_DEEP
    assert fault(b'{"a":' * 200_000) == grammar.TOO_DEEP


# --- values -------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [data for data in JSON if data != b"1" * 5000])
def test_value_is_what_the_standard_library_reads(data: bytes) -> None:
    """Values agree with the standard library, lone surrogates and infinite floats included."""
    assert value(data) == json.loads(data)


def test_value_of_a_number_too_long_for_int_is_exact() -> None:
    """Python refuses ints of more than some thousand digits; the value keeps each digit."""
    digits = "7" * 9000
    assert value(f'{{"n":-{digits}}}'.encode()) == {"n": Decimal(f"-{digits}")}
    assert value(b"1" + b"0" * 39) == 10**39


def test_value_is_read_at_any_allowed_depth() -> None:
    """A thousand levels can be read, though that is more than the interpreter's own readers do."""
    read = from_deep_in_the_stack(lambda: value(b'[{"a":' * 500 + b"7" + b"}]" * 500))
    for _ in range(500):
        read = read[0]["a"]
    assert read == 7


@pytest.mark.parametrize("data", NOT_JSON + NOT_UTF8)
def test_value_of_what_is_not_json_is_refused(data: bytes) -> None:
    """There is no value where there is no JSON."""
    with pytest.raises(NotJson):
        value(data)


def test_members_are_raw_and_in_order() -> None:
    """Names are decoded, values stay as they are written."""
    data = b' { "a" : 1.0 ,"b\\u0062": { "c" : [ 1 , {} ] } , "a":[] ,"\\ud800" :"\\u0061" } '
    assert members(data) == [
        ("a", b"1.0"),
        ("bb", b'{ "c" : [ 1 , {} ] }'),
        ("a", b"[]"),
        ("\ud800", b'"\\u0061"'),
    ]
    assert members(b"{ }") == []


@pytest.mark.parametrize("data", [b"[]", b"1", b'"a"', b"{", b'{"a":1', b'{"a":"\xff"}', b""])
def test_only_objects_have_members(data: bytes) -> None:
    """Everything else is refused, JSON or not."""
    with pytest.raises(NotJson):
        members(data)


def test_each_member_may_use_the_whole_depth() -> None:
    """The object around a value takes nothing from the depth the value may have."""
    deep = b"[" * 1000 + b"]" * 1000
    assert members(b'{"data":' + deep + b"}") == [("data", deep)]
    with pytest.raises(NotJson, match="nested more than 1,000 deep"):
        members(b'{"data":[' + deep + b"]}")


# --- three readers ------------------------------------------------------------------------

FRAGMENTS = [
    b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"\\\\", b'\\"', b"\\u", b"d800", b"\\udc00",
    b"n", b"/", b"0", b"1", b"-", b".", b"e", b"E", b"+", b"true", b"false", b"null", b"NaN",
    b" ", b"\t", b"\r", b"\n", b"\x01", b"\x0b", b"\xff", b"\xc3", b"\xa9", b"a", b'"a"', b'"a":',
    b"[]", b"{}", b"\xef\xbb\xbf", "\u2028".encode(),
]  # fmt: skip

TEXTS = st.text(st.characters(codec=None, exclude_categories=()), max_size=8)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


@st.composite
def written(draw: st.DrawFn) -> bytes:
    """A JSON text in one of many spellings, often with a small fault in it."""
    text = json.dumps(
        draw(VALUES),
        ensure_ascii=draw(st.booleans()),
        indent=draw(st.none() | st.integers(0, 2)),
        separators=draw(st.sampled_from([(",", ":"), (", ", " : "), ("\r,\t", "\n:")])),
    )
    data = text.encode(errors="surrogatepass")
    for _ in range(draw(st.integers(0, 2))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 2)))
        data = data[:start] + draw(st.sampled_from([b"", *FRAGMENTS])) + data[end:]
    return data


SOUP = st.lists(st.sampled_from(FRAGMENTS), max_size=12).map(b"".join)


def refuse_constant(name: str) -> None:
    raise ValueError(name)


def standard_library_says(data: bytes) -> bool:
    try:
        json.loads(data.decode(), parse_constant=refuse_constant)
    except ValueError:
        return False
    return True


@settings(deadline=None, max_examples=1000)
@given(written() | SOUP)
@example(b'"\\ud800')
@example(b'"\\u\\u0000"')
def test_all_readers_agree(data: bytes) -> None:
    """The rule, the scanner alone and the standard library say the same of any bytes."""
    expected = standard_library_says(data)
    assert is_json(data) == expected
    if grammar.is_utf8(data):
        assert (grammar._scan_fault(data) is None) == expected


@settings(deadline=None, max_examples=300)
@given(written())
def test_built_values_agree(data: bytes) -> None:
    """msgspec, our own reader and the standard library read the same value."""
    if not is_json(data):
        return
    expected = json.loads(data)
    assert repr(grammar._build(data)) == repr(expected)
    assert value(data) == expected


@settings(deadline=None, max_examples=300)
@given(st.dictionaries(TEXTS, VALUES, max_size=5), st.sampled_from([None, 0, 2]))
def test_members_put_together_are_the_object(fields: dict[str, Any], indent: int | None) -> None:
    """The members of an object are all of it."""
    data = json.dumps(fields, indent=indent).encode()
    assert {name: json.loads(raw) for name, raw in members(data)} == json.loads(data)
