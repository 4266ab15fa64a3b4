"""Checkpoints beside the writer: the log is bounded, and what is calm reaches the database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from storing import emit_notes, numbers, rows_without_log, serving, stored
from turns import Agent, wait_until

from ringbus.bus import Bus
from ringbus.events import Note, encode
from ringbus.history import History
from ringbus.persister import checkpoints
from ringbus.persister.checkpoints import Checkpointer, Log

A = "00000000000000aa"


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    with History.open(tmp_path / "agent-7.sqlite", "agent-7", write=True) as history:
        history.begin_epoch(A)
        yield history


def append(history: History, first: int, count: int = 100) -> None:
    rows = [(seq, seq, *encode(Note("x" * 1000))) for seq in range(first, first + count)]
    history.append(A, rows, first + count)


def log_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def test_commits_leave_checkpoints_to_others(history: History) -> None:
    """The log grows by each commit, however long it is."""
    lengths = []
    for first in range(0, 20_000, 2000):
        append(history, first, 2000)
        lengths.append(history.log_bytes)
    assert lengths == sorted(set(lengths))
    assert lengths[-1] > checkpoints.LARGE_LOG


def test_small_log_is_left_alone_under_load(history: History, tmp_path: Path) -> None:
    """And is applied when it is calm."""
    append(history, 0)
    log = Log(history)
    log.look(is_calm=False)
    assert rows_without_log(history.path, tmp_path) == 0
    log.look(is_calm=True)
    wait_until(lambda: rows_without_log(history.path, tmp_path) == 100, "the checkpoint")


def test_long_log_is_begun_anew(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the cap the writer does it; the next commit is at the log's start."""
    monkeypatch.setattr(checkpoints, "LOG_CAP", 1 << 20)
    append(history, 0, 2000)
    length = history.log_bytes
    assert length > 1 << 20
    Log(history).look(is_calm=False)
    append(history, 2000, 1)
    assert history.log_bytes < length


def test_reader_keeps_the_log_but_holds_nobody_up(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log grows on behind it; nothing fails, and afterwards it is begun anew."""
    monkeypatch.setattr(checkpoints, "LOG_CAP", 1 << 20)
    append(history, 0, 2000)
    with closing(apsw.Connection(str(history.path))) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM events").get == 2000
        append(history, 2000, 1)
        length = history.log_bytes
        Log(history).look(is_calm=False)
        append(history, 2001, 1)
        assert history.log_bytes > length
        assert reader.execute("SELECT count(*) FROM events").get == 2000
        reader.execute("COMMIT")
    Log(history).look(is_calm=False)
    append(history, 2002, 1)
    assert history.log_bytes < length


def test_history_that_is_gone_ends_no_thread(history: History, tmp_path: Path) -> None:
    """The next one is served all the same."""
    checkpointer = Checkpointer()
    with History.open(tmp_path / "other.sqlite", "other", write=True) as other:
        other.begin_epoch(A)
        append(other, 0)
    other.path.unlink()
    append(history, 0)
    Log(other, checkpointer).look(is_calm=True)
    Log(history, checkpointer).look(is_calm=True)
    wait_until(lambda: rows_without_log(history.path, tmp_path) == 100, "the checkpoint")


def test_calm_events_reach_the_database_file(agent: Agent, bus: Bus, tmp_path: Path) -> None:
    """Without anybody closing it."""
    with serving(agent):
        emit_notes(bus, 10)
        assert bus.wait_stored(60)
        wait_until(lambda: rows_without_log(agent.database, tmp_path) == 10, "the checkpoint")
    assert numbers(stored(agent)) == list(range(10))


class Asked(Checkpointer):
    """Counts what is asked of it, and does nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.paths: list[Path] = []

    def ask(self, path: Path) -> None:
        self.paths.append(path)


def test_long_log_is_applied_for_what_is_new_in_it(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not again after every commit: each costs flushes of the disk."""
    monkeypatch.setattr(checkpoints, "LARGE_LOG", 1 << 20)
    asked = Asked()
    log = Log(history, asked)
    for first in range(0, 2000, 100):
        append(history, first)
        log.look(is_calm=False)
    assert 1 <= len(asked.paths) <= history.log_bytes >> 20
