"""In which order a history comes back, page by page, with its gaps in place."""

from __future__ import annotations

from pathlib import Path

import pytest
from rows import SECOND, T0, A, B, C, fill, notes, places, sql

from ringbus.events import Gap
from ringbus.history import History


def test_read_goes_over_from_one_epoch_to_the_next(writer: History) -> None:
    """In the order of their bases; at the end `next` is what is not stored yet."""
    for epoch in (C, A, B):
        fill(writer, epoch, 2)
        writer.end_epoch(epoch)
    writer.append(B, [], 7)
    page = writer.read()
    assert places(page.items) == [(C, 0), (C, 1), (A, 0), (A, 1), (B, 0), (B, 1)]
    assert (page.next, page.at_end) == ((B, 7), True)
    assert places(writer.read((A, 1)).items) == [(A, 1), (B, 0), (B, 1)]
    assert writer.epochs() == [C, A, B]


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 100])
def test_pages_of_any_size_join_without_hole_or_double(writer: History, limit: int) -> None:
    """`next` of a full page is after its last item; rows and gaps alike."""
    writer.begin_epoch(A)
    gaps = [Gap(A, 2, 3, 2, "lapped"), Gap(A, 6, 8, 3, "store-unavailable")]
    writer.append(A, [*notes(0, 2), *notes(4, 6)], 9, gaps)
    fill(writer, B, 3)
    whole = writer.read(limit=1000).items
    start, joined = None, []
    while True:
        page = writer.read(start, limit)
        assert len(page.items) <= limit
        joined += page.items
        if page.at_end:
            break
        start = page.next
    lost = Gap(A, 9, None, None, "ring-lost")
    assert [item for item in joined if isinstance(item, Gap)] == [*gaps, lost]
    assert joined == whole
    assert page.next == (B, 3)


def test_gaps_come_in_place(writer: History) -> None:
    """Each gap stands where the records it names would have stood."""
    writer.begin_epoch(A)
    gap = Gap(A, 2, 4, 3, "lapped")
    writer.append(A, [*notes(0, 2), *notes(5, 7)], 7, [gap])
    items = writer.read().items
    assert items[2] == gap
    assert places(items) == [(A, 0), (A, 1), (A, 5), (A, 6)]
    assert writer.read((A, 5)).items == items[3:]


def test_a_gap_is_cut_where_reading_starts_inside_it(writer: History) -> None:
    """What was before, the reader has seen; how many are missing then may be unknown."""
    writer.begin_epoch(A)
    writer.append(A, [], 30, [Gap(A, 0, 9, 10, "lapped"), Gap(A, 10, 19, 4, "retention")])
    assert writer.read((A, 7)).items[0] == Gap(A, 7, 9, 3, "lapped")
    assert writer.read((A, 12)).items == [Gap(A, 12, 19, None, "retention")]


def test_a_gap_without_an_end_is_told_once(writer: History) -> None:
    """Though its epoch is the newest, as after an import; later ones come when they are there."""
    fill(writer, A, 3)
    lost = Gap(A, 3, None, None, "ring-lost")
    writer.append(A, [], 3, [lost])
    page = writer.read((A, 2))
    assert (page.items[1:], page.at_end) == ([lost], True)
    page = writer.read(page.next)
    assert (page.items, page.at_end) == ([], True)
    fill(writer, B, 1)
    assert places(writer.read(page.next).items) == [(B, 0)]
    assert writer.read((A, 3)).items[0] == lost


def test_a_repeated_gap_is_one_gap(writer: History) -> None:
    """A persister that is not sure may tell it again."""
    writer.begin_epoch(A)
    gap = Gap(A, 0, 4, 5, "lapped")
    writer.append(A, [], 5, [gap])
    writer.append(A, [], 5, [gap])
    assert writer.read().items == [gap]


def test_reading_ahead_of_what_is_stored_does_not_go_back(writer: History) -> None:
    """A reader of the live ring may be further than the store: its position stands."""
    fill(writer, A, 3)
    page = writer.read((A, 50))
    assert (page.items, page.next, page.at_end) == ([], (A, 50), True)
    assert writer.read((A, (1 << 64) - 1)).items == []


def test_read_of_an_unknown_epoch_is_a_key_error(writer: History) -> None:
    """Nothing of it was ever stored: the caller starts over."""
    fill(writer, A, 1)
    with pytest.raises(KeyError):
        writer.read((B, 0))
    with pytest.raises(KeyError):
        writer.page((B, 0))


def test_an_empty_history_has_nowhere_to_go_on(writer: History) -> None:
    """No epoch, no position."""
    page = writer.read()
    assert (page.items, page.next, page.at_end) == ([], None, True)
    assert writer.page() == []
    assert writer.last_ts_ns() is None


def test_page_gives_the_newest_before_a_position_in_any_epoch(writer: History) -> None:
    """Oldest first, without gaps, also across epochs."""
    fill(writer, A, 3)
    fill(writer, B, 3)
    assert places(writer.page(limit=2)) == [(B, 1), (B, 2)]
    assert places(writer.page((B, 1), limit=3)) == [(A, 1), (A, 2), (B, 0)]
    assert places(writer.page((A, 2))) == [(A, 0), (A, 1)]
    assert places(writer.page((A, 99), limit=2)) == [(A, 1), (A, 2)]
    assert places(writer.page((B, (1 << 64) - 1), limit=1)) == [(B, 2)]
    assert writer.page((A, 0)) == []


def test_reading_uses_the_primary_key_alone(writer: History) -> None:
    """No sort and no scan: as fast with a million rows as with ten."""
    fill(writer, A, 3)
    queries: list[str] = []

    def trace(_: object, query: str, __: object) -> bool:
        queries.append(query)
        return True

    writer._db.exec_trace = trace
    writer.page((A, 2))
    writer.read((A, 1))
    writer._db.exec_trace = None
    reading = [query for query in queries if "FROM events" in query]
    assert len(reading) == 2
    for query in reading:
        plan = str(writer._db.execute("EXPLAIN QUERY PLAN " + query, (1,) * query.count("?")).get)
        assert "USING INTEGER PRIMARY KEY" in plan
        assert "TEMP B-TREE" not in plan


def test_a_page_of_long_lines_ends_early(writer: History) -> None:
    """A reader's memory is bounded, whatever an agent prints."""
    line = b'{"kind":"stream","data":"' + b"x" * (5 << 20) + b'"}'
    writer.begin_epoch(A)
    writer.append(A, [(seq, T0, 2, line) for seq in range(6)], 6)
    first = writer.read(limit=100)
    assert (places(first.items), first.at_end) == ([(A, seq) for seq in range(4)], False)
    rest = writer.read(first.next, limit=100)
    assert (places(rest.items), rest.at_end) == ([(A, 4), (A, 5)], True)


@pytest.mark.parametrize(
    "bad",
    ["no JSON", "[1]", '{"kind":"other"}', '{"kind":"note"}', '{"kind":"stream","data":nul}', "{"],
)
def test_a_row_that_does_not_parse_is_skipped(writer: History, path: Path, bad: str) -> None:
    """The rest still comes, also with one item a page; the skipped row is counted."""
    fill(writer, A, 3)
    sql(path, "UPDATE events SET payload_json = ? WHERE id = 2", bad)
    assert places(writer.read().items) == [(A, 0), (A, 2)]
    assert places(writer.page(limit=2)) == [(A, 0), (A, 2)]
    assert writer.skipped == 2
    first = writer.read(limit=1)
    assert places(writer.read(first.next, limit=1).items) == [(A, 2)]


def test_a_limit_below_one_is_refused(writer: History) -> None:
    """It could never come to an end."""
    with pytest.raises(ValueError, match="limit"):
        writer.read(limit=0)
    with pytest.raises(ValueError, match="limit"):
        writer.page(limit=0)


def test_the_summary_figures_are_true(writer: History) -> None:
    """Count, newest time and size, for pages that show them."""
    fill(writer, A, 5)
    assert writer.count() == 5
    assert writer.last_ts_ns() == T0 + 4 * SECOND
    assert writer.size_bytes() % 8192 == 0
    assert writer.size_bytes() > 0
