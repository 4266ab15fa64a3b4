"""What a sweep deletes, what it leaves, and the gap that tells of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from rows import DAY, EVERYTHING, T0, A, B, C, Row, fill, note, notes, places, sql, sweep_all

from ringbus.events import Gap, Note, encode
from ringbus.history import History, lines_folder
from ringbus.settings import Retention


def test_rows_beyond_the_limit_go_and_leave_a_retention_gap(writer: History) -> None:
    """The oldest go; the gap names first and last and how many."""
    fill(writer, A, 30)
    limit = Retention(rows=10, days=10**4, bytes=10**12)
    assert sweep_all(writer, limit) == 20
    items = writer.read().items
    assert items[0] == Gap(A, 0, 19, 20, "retention")
    assert places(items) == [(A, seq) for seq in range(20, 30)]
    writer.append(A, notes(30, 35), 35)
    assert sweep_all(writer, limit) == 5
    assert writer.read().items[0] == Gap(A, 0, 24, 25, "retention")


def test_a_sweep_deletes_no_more_than_its_budget(writer: History) -> None:
    """One call is one short transaction; the caller goes on while it returns rows."""
    fill(writer, A, 30)
    limit = Retention(rows=10, days=10**4, bytes=10**12)
    assert [writer.sweep(limit, T0, 8) for _ in range(4)] == [8, 8, 4, 0]


def test_the_cost_of_a_sweep_is_that_of_the_rows_it_deletes(writer: History) -> None:
    """However many others there are: nothing in it walks over the table."""
    fill(writer, A, 20_000)
    limit = Retention(rows=19_000, days=10**4, bytes=10**12)
    writer.sweep(limit, T0, 10)
    steps = 0

    def count() -> bool:
        nonlocal steps
        steps += 1
        return False

    writer._db.set_progress_handler(count, 100)
    assert writer.sweep(limit, T0, 10) == 10
    assert writer.sweep(EVERYTHING, T0, 10) == 0
    writer._db.set_progress_handler(None)
    assert steps < 50


def test_transient_stretches_do_not_count_as_rows(writer: History) -> None:
    """The limit is of rows, not of seqs; the gap counts what was deleted."""
    writer.begin_epoch(A)
    writer.append(A, [note(seq) for seq in range(0, 300, 10)], 300)
    assert sweep_all(writer, Retention(rows=20, days=10**4, bytes=10**12)) == 10
    assert writer.read().items[0] == Gap(A, 0, 90, 10, "retention")
    assert writer.count() == 20


def test_rows_past_their_days_go(writer: History) -> None:
    """Age is that of the row, up to the first one that is young enough."""
    writer.begin_epoch(A)
    writer.append(A, [note(seq, ts_ns=T0 + seq * DAY) for seq in range(10)], 10)
    limit = Retention(rows=10**9, days=2.5, bytes=10**12)
    assert sweep_all(writer, limit, T0 + 9 * DAY) == 7
    assert places(writer.page()) == [(A, 7), (A, 8), (A, 9)]


def test_a_row_from_the_future_does_not_keep_older_ones(writer: History) -> None:
    """A clock that was ahead for a moment does not stop the retention by days."""
    writer.begin_epoch(A)
    times = [T0 + 400 * DAY, T0, T0 + 9 * DAY]
    writer.append(A, [note(seq, ts_ns=ts) for seq, ts in enumerate(times)], 3)
    assert sweep_all(writer, Retention(10**9, 2.5, 10**12), T0 + 9 * DAY) == 2
    assert places(writer.page()) == [(A, 2)]


def test_a_clock_that_stepped_back_does_not_delete_young_rows(writer: History) -> None:
    """A row dated 1970 between young ones waits for its turn."""
    writer.begin_epoch(A)
    writer.append(A, [note(0), note(1, ts_ns=0), note(2)], 3)
    assert sweep_all(writer, Retention(10**9, 2.5, 10**12), T0 + DAY) == 0


def test_rows_beyond_the_bytes_go(writer: History) -> None:
    """Until what the history takes is within the limit, and not much below it."""
    writer.begin_epoch(A)
    writer.append(A, [note(seq, "x" * 1000) for seq in range(2000)], 2000)
    assert sweep_all(writer, Retention(10**9, 10**4, 1_000_000)) > 0
    assert 800_000 < writer.size_bytes() <= 1_000_000


def test_a_history_within_its_limits_is_left_alone(writer: History) -> None:
    """No rows go, no gap comes."""
    fill(writer, A, 30)
    assert writer.sweep(EVERYTHING, T0, 100) == 0
    assert len(writer.read().items) == 30


def test_each_epoch_has_its_own_retention_gap_and_epochs_stay(writer: History) -> None:
    """Even one whose rows are all gone keeps its base and its place."""
    for epoch in (A, B, C):
        fill(writer, epoch, 5)
        writer.end_epoch(epoch)
    assert sweep_all(writer, Retention(rows=3, days=10**4, bytes=10**12), budget=4) == 12
    assert writer.read().items[:3] == [
        Gap(A, 0, 4, 5, "retention"),
        Gap(B, 0, 4, 5, "retention"),
        Gap(C, 0, 1, 2, "retention"),
    ]
    assert writer.epochs() == [A, B, C]


def test_gaps_inside_a_deleted_stretch_become_part_of_its_gap(writer: History) -> None:
    """So gaps do not pile up for ever; missed stays the sum, and ring-lost stays."""
    writer.begin_epoch(A)
    gap = Gap(A, 5, 9, 5, "lapped")
    writer.append(A, [*notes(0, 5), *notes(10, 15)], 15, [gap])
    fill(writer, B, 1)
    assert sweep_all(writer, Retention(rows=1, days=10**4, bytes=10**12)) == 10
    assert writer.read().items[:2] == [
        Gap(A, 0, 14, 15, "retention"),
        Gap(A, 15, None, None, "ring-lost"),
    ]


def test_rows_that_another_program_deleted_do_not_count(writer: History, path: Path) -> None:
    """A sweep counts again when somebody else has written."""
    fill(writer, A, 100)
    limit = Retention(rows=50, days=10**4, bytes=10**12)
    assert sweep_all(writer, limit) == 50
    sql(path, "DELETE FROM events WHERE id <= 90")
    writer.append(A, [note(seq) for seq in range(100, 300, 10)], 300)
    assert sweep_all(writer, limit) == 0
    assert writer.count() == 30


def long_line(seq: int, file: str) -> Row:
    return seq, T0, *encode(Note("beginning", "stdout", "long line", size=9, file=file))


def test_the_file_of_a_long_line_goes_with_its_row(writer: History, path: Path) -> None:
    """Only then, and only its own."""
    folder = lines_folder(path)
    folder.mkdir()
    files = [folder / f"{seq}.line" for seq in range(3)]
    for file in files:
        file.write_text("line")
    writer.begin_epoch(A)
    writer.append(A, [long_line(seq, str(file)) for seq, file in enumerate(files)], 3)
    assert sweep_all(writer, Retention(rows=1, days=10**4, bytes=10**12)) == 2
    assert [file.exists() for file in files] == [False, False, True]


def test_no_file_elsewhere_is_ever_removed(writer: History, path: Path) -> None:
    """Whatever a note says."""
    folder = lines_folder(path)
    (folder / "deeper").mkdir(parents=True)
    outside = path.parent / "precious"
    (folder / "link").symlink_to(path.parent)
    kept = [outside, folder / "deeper" / "file"]
    for file in kept:
        file.write_text("precious")
    names = [
        str(outside),
        str(folder / ".." / "precious"),
        str(folder / "link" / "precious"),
        str(folder / "deeper" / "file"),
        "precious",
        str(folder),
        str(folder / ".."),
        str(path),
        "\0",
        "x" * 5000,
    ]
    writer.begin_epoch(A)
    writer.append(A, [long_line(seq, name) for seq, name in enumerate(names)], len(names))
    writer.append(A, [note(len(names))], len(names) + 1)
    assert sweep_all(writer, Retention(rows=1, days=10**4, bytes=10**12)) == len(names)
    assert all(file.exists() for file in (*kept, folder, path))


def test_a_file_that_cannot_be_removed_is_logged(
    writer: History, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The row is deleted all the same."""
    folder = lines_folder(path)
    (folder / "a folder").mkdir(parents=True)
    writer.begin_epoch(A)
    writer.append(A, [long_line(0, str(folder / "a folder")), note(1)], 2)
    assert sweep_all(writer, Retention(rows=1, days=10**4, bytes=10**12)) == 1
    assert "cannot remove" in caplog.text


def test_long_lines_count_as_bytes(writer: History, path: Path) -> None:
    """They are part of what a history takes of the disk."""
    file = lines_folder(path) / "0.line"
    file.parent.mkdir()
    file.write_bytes(b"x" * 1_000_000)
    writer.begin_epoch(A)
    writer.append(A, [long_line(0, str(file)), *notes(1, 50)], 50)
    assert writer.size_bytes() > 1_000_000
    assert sweep_all(writer, Retention(10**9, 10**4, 500_000)) == 1
    assert not file.exists()
