"""Pages of a history by place, kind and text: every combination agrees with a plain list."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator

import pytest
from rows import A, B, C, sql
from turns import ringbus

from ringbus.events import (
    KINDS,
    Event,
    Gap,
    Note,
    Position,
    Stream,
    TurnEnd,
    TurnStart,
    encode,
)
from ringbus.history import History

Known = tuple[int, int, str, str]
"""Number of the epoch, seq, kind and payload."""

EPOCHS = (A, B, C)
TEXTS = [None, "needle", "NEEDLE", "50%", "a_b", "\\", '"', "é", "É", "nowhere"]
WORDS = ["needle", "Needle", "50%", "500", "a_b", "aXb", "\\", '"', "é", "z"]
PLACES: list[Position | None] = [
    None,
    (A, 0),
    (A, 7),
    (A, 10**6),
    (B, 0),
    (B, 20),  # in a gap
    (C, 3),
    (C, (1 << 64) - 1),
]
LIMITS = [1, 5, 1000]


def event_of(dice: random.Random) -> Event:
    text = " ".join(dice.choices(WORDS, k=2))
    return dice.choice(
        [
            TurnStart("operator", text),
            Stream(json.dumps({"text": text}, ensure_ascii=dice.random() < 0.5).encode()),
            Note(text),
            TurnEnd(ok=False, note=text),
        ]
    )


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[History, list[Known]]]:
    """Three epochs with holes, gaps, and rows that are no events; and the same as a list."""
    dice = random.Random(1)
    path = tmp_path_factory.mktemp("pages") / "agent-7.sqlite"
    rows: list[Known] = []
    with History.open(path, "agent-7", write=True) as history:
        for number, epoch in enumerate(EPOCHS):
            history.begin_epoch(epoch)
            for seq in range(40):
                if dice.random() < 0.2 or 18 <= seq < 22:
                    continue  # transient, or lost
                kind, payload = encode(event_of(dice))
                history.append(epoch, [(seq, seq, kind, payload)], seq + 1)
                rows.append((number, seq, KINDS[kind - 1], payload.decode()))
            history.append(epoch, [], 40, [Gap(epoch, 18, 21, 4, "lapped")])
            history.end_epoch(epoch)
        for damaged in (rows[3], rows[-4]):
            base = history._db.execute(
                "SELECT base FROM epochs WHERE epoch = ?", (EPOCHS[damaged[0]],)
            ).get
            sql(path, "UPDATE events SET payload_json = 'needle' WHERE id = ?", base + damaged[1])
            rows.remove(damaged)
        yield history, rows


def expected(
    rows: list[Known],
    before: Position | None,
    after: Position | None,
    limit: int,
    kind: str | None,
    text: str | None,
) -> list[tuple[str, int]]:
    """What a page is, said plainly."""
    found = [
        (EPOCHS[number], seq)
        for number, seq, its_kind, payload in rows
        if (before is None or (number, seq) < (EPOCHS.index(before[0]), before[1]))
        and (after is None or (number, seq) > (EPOCHS.index(after[0]), after[1]))
        and kind in (None, its_kind)
        and (
            text is None or lowered(json.dumps(text, ensure_ascii=False)[1:-1]) in lowered(payload)
        )
    ]
    return found[:limit] if after is not None and before is None else found[-limit:]


def lowered(text: str) -> str:
    """A to Z alone, as SQLite does."""
    return "".join(letter.lower() if letter.isascii() else letter for letter in text)


def only(kind: str | None) -> list[str]:
    """The kinds to ask for."""
    return [] if kind is None else [kind]


@pytest.mark.parametrize("kind", [None, *KINDS])
def test_every_combination_gives_what_a_list_gives(
    known: tuple[History, list[Known]], kind: str | None
) -> None:
    """Positions that were, that were lost, and that never will be."""
    history, rows = known
    seen = 0
    for before, after, limit, text in itertools.product(PLACES, PLACES, LIMITS, TEXTS):
        page = history.page(before, limit, after=after, kinds=only(kind), text=text)
        found = [(envelope.epoch, envelope.seq) for envelope in page]
        assert found == expected(rows, before, after, limit, kind, text), (
            before,
            after,
            limit,
            text,
        )
        seen += len(found)
    assert seen > 1000


def test_pages_backwards_and_forwards_are_the_whole(known: tuple[History, list[Known]]) -> None:
    """Whatever is looked for, page by page nothing is left out and nothing comes twice."""
    history, rows = known
    for limit, kind, text in itertools.product([1, 3, 1000], [None, *KINDS], [None, "needle", "_"]):
        whole = expected(rows, None, None, 10**6, kind, text)
        back: list[tuple[str, int]] = []
        while page := history.page(back[0] if back else None, limit, kinds=only(kind), text=text):
            assert len(back) < len(whole)
            back = [(envelope.epoch, envelope.seq) for envelope in page] + back
        assert back == whole
        on = history.page(None, 1, after=(A, 0), kinds=only(kind), text=text)
        forward: list[tuple[str, int]] = []
        while on:
            assert len(forward) < len(whole)
            forward += [(envelope.epoch, envelope.seq) for envelope in on]
            on = history.page(None, limit, after=forward[-1], kinds=only(kind), text=text)
        assert forward == [place for place in whole if place > (A, 0)]


@pytest.mark.parametrize("text", ["needle", "50%", '"', "é", "nowhere"])
def test_grep_prints_what_the_page_holds(known: tuple[History, list[Known]], text: str) -> None:
    """`ringbus history` with all its options, as JSON."""
    history, _ = known
    place = ["--agent", "agent-7", "--state", str(history.path.parent)]
    options = ["--grep", text, "--kind", "note", "--limit", "4", "--before", f"{C}-30"]
    run = ringbus("history", *place, "--json", *options)
    assert run.returncode == 0, run.stderr
    found = [(line["epoch"], line["seq"]) for line in map(json.loads, run.stdout.splitlines())]
    page = history.page((C, 30), 4, kinds=["note"], text=text)
    assert found == [(envelope.epoch, envelope.seq) for envelope in page]
