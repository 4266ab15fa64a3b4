"""Epochs that end, or were cut off, and what a history says of it."""

from __future__ import annotations

from pathlib import Path

from rows import A, B, C, fill, places, sql

from ringbus.events import Gap
from ringbus.history import History


def test_an_epoch_without_its_clean_end_leaves_a_ring_lost_gap(writer: History) -> None:
    """From the first seq that was not stored; nobody knows to where."""
    fill(writer, A, 3)
    writer.begin_epoch(B)
    lost = Gap(A, 3, None, None, "ring-lost")
    assert writer.read().items[3:] == [lost]
    assert writer.read((A, 3)).items == [lost]
    assert writer.read((A, 8)).items == [Gap(A, 8, None, None, "ring-lost")]
    assert writer.read((A, 3), limit=1).next == (B, 0)


def test_a_ring_lost_gap_is_recorded_once(writer: History, path: Path) -> None:
    """However often an epoch begins after it."""
    fill(writer, A, 3)
    for _ in range(2):
        writer.begin_epoch(B)
        writer.begin_epoch(A)
    writer.end_epoch(B)
    writer.begin_epoch(C)
    assert sql(path, "SELECT * FROM gaps") == [(A, 3, None, None, "ring-lost")]


def test_a_cleanly_ended_epoch_leaves_no_gap(writer: History) -> None:
    """Reading goes over to the next epoch without a word."""
    fill(writer, A, 3)
    assert not writer.is_clean(A)
    writer.end_epoch(A)
    assert writer.is_clean(A)
    fill(writer, B, 1)
    assert places(writer.read((A, 3)).items) == [(B, 0)]
    assert len(writer.read().items) == 4


def test_an_epoch_that_goes_on_is_no_longer_cleanly_ended(writer: History) -> None:
    """A persister came back to the ring, and then the power went."""
    fill(writer, A, 3)
    writer.end_epoch(A)
    assert writer.begin_epoch(A) == 3
    assert not writer.is_clean(A)
    writer.begin_epoch(B)
    assert writer.read().items[3:] == [Gap(A, 3, None, None, "ring-lost")]


def test_an_older_epoch_that_is_looked_at_again_stays_cleanly_ended(writer: History) -> None:
    """Nothing can be added to it any more, so nothing of it can be lost."""
    for epoch in (A, B):
        fill(writer, epoch, 3)
        writer.end_epoch(epoch)
    assert writer.begin_epoch(A) == 3
    writer.begin_epoch(C)
    assert len(writer.read().items) == 6


def test_marks_that_must_outlast_a_power_cut_are_synced(writer: History) -> None:
    """A base that is lost would be given again, a stale clean mark would hide a loss."""
    queries: list[str] = []

    def trace(_: object, query: str, __: object) -> bool:
        queries.append(query)
        return True

    writer._db.exec_trace = trace
    for mark in (writer.begin_epoch, writer.end_epoch):
        queries.clear()
        mark(A)
        synced = next(n for n, query in enumerate(queries) if "FULL" in query)
        assert synced < queries.index("COMMIT")
    writer._db.exec_trace = None
    assert writer._db.pragma("synchronous") == 1
