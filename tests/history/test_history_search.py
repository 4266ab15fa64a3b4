"""Finding events in a history: by place, kind and text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ringbus.events import Envelope, Event, Note, Stream, TurnEnd, TurnStart, encode
from ringbus.history import History

A, B = "00000000000000aa", "00000000000000bb"

EVENTS: list[Event] = [
    TurnStart("operator", "go"),
    Stream(b'{"type":"assistant","text":"Looking"}'),
    Note("100% of_it"),
    Stream(b'{"text":"a\\\\b"}'),
    TurnEnd(ok=True),
]


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    """Two epochs with the five events each."""
    with History.open(tmp_path / "agent-7.sqlite", "agent-7", write=True) as history:
        for epoch in (A, B):
            history.begin_epoch(epoch)
            rows = [(seq, 10**18 + seq, *encode(event)) for seq, event in enumerate(EVENTS)]
            history.append(epoch, rows, len(rows))
        yield history


def places(found: list[Envelope]) -> list[tuple[str, int]]:
    return [(envelope.epoch, envelope.seq) for envelope in found]


def test_after_gives_the_oldest_that_follow(history: History) -> None:
    """In order, over the end of an epoch, at most so many."""
    assert places(history.page(after=(A, 3))) == [(A, 4), *((B, seq) for seq in range(5))]
    assert places(history.page(after=(A, 3), limit=2)) == [(A, 4), (B, 0)]
    assert history.page(after=(B, 4)) == []


def test_between_two_positions_the_newest_are_given(history: History) -> None:
    """Neither position is included."""
    assert places(history.page((B, 2), after=(A, 2))) == [(A, 3), (A, 4), (B, 0), (B, 1)]
    assert places(history.page((B, 2), after=(A, 2), limit=1)) == [(B, 1)]
    assert history.page((A, 3), after=(A, 2)) == []


@pytest.mark.parametrize(
    ("kind", "seqs"),
    [("turn_start", [0]), ("stream", [1, 3]), ("note", [2]), ("turn_end", [4])],
)
def test_kind_chooses(history: History, kind: str, seqs: list[int]) -> None:
    """In all epochs, and together with the rest."""
    assert places(history.page(kinds=[kind])) == [(epoch, seq) for epoch in (A, B) for seq in seqs]
    assert places(history.page((B, 0), kinds=[kind], limit=1)) == [(A, seqs[-1])]


@pytest.mark.parametrize(
    ("text", "seqs"),
    [
        ("looking", [1]),
        ("LOOKING", [1]),
        ("100%", [2]),
        ("1%f", []),
        ("of_it", [2]),
        ("of?it", []),
        ("100_", []),
        ("nowhere", []),
    ],
)
def test_text_chooses(history: History, text: str, seqs: list[int]) -> None:
    """As it is written, but for the case of a to z; `%` and `_` mean themselves."""
    assert places(history.page(text=text)) == [(epoch, seq) for epoch in (A, B) for seq in seqs]


def test_text_is_looked_for_as_json_writes_it(history: History) -> None:
    """A backslash stands doubled there."""
    assert places(history.page(text="a\\b")) == [(A, 3), (B, 3)]


def test_several_kinds_come_in_one_order(history: History) -> None:
    """From either end, and no more than were asked for."""
    kinds = ["note", "stream", "turn_end"]
    assert places(history.page(kinds=kinds)) == [
        (epoch, seq) for epoch in (A, B) for seq in range(1, 5)
    ]
    assert places(history.page(kinds=kinds, limit=3)) == [(B, 2), (B, 3), (B, 4)]
    assert places(history.page(after=(A, 2), kinds=kinds, limit=3)) == [(A, 3), (A, 4), (B, 1)]


def test_unknown_kind_is_refused(history: History) -> None:
    """It names those that there are."""
    with pytest.raises(ValueError, match="turn_start, stream, note, turn_end"):
        history.page(kinds=["nonsense"])


def test_unknown_epoch_is_a_key_error(history: History) -> None:
    """After a position as before one."""
    with pytest.raises(KeyError):
        history.page(after=("00000000000000cc", 1))


@pytest.mark.parametrize(
    ("choice", "index"),
    [
        ({"kinds": ["note"]}, "INDEX events_kind (kind=? AND rowid>? AND rowid<?)"),
        ({"kinds": ["stream"]}, "INTEGER PRIMARY KEY"),
        ({"text": "x"}, "INTEGER PRIMARY KEY"),
    ],
)
def test_pages_go_by_an_index(history: History, choice: dict[str, Any], index: str) -> None:
    """No sort and no scan of what lies outside."""
    queries: list[str] = []
    history._db.exec_trace = lambda _cursor, query, _bindings: queries.append(query) or True
    history.page((B, 3), **choice)
    history._db.exec_trace = None
    (query,) = [query for query in queries if "FROM events" in query]
    plan = str(history._db.execute("EXPLAIN QUERY PLAN " + query, (1,) * query.count("?")).get)
    assert index in plan
    assert "TEMP B-TREE" not in plan
