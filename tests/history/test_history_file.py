"""The file of a history: opening, refusing, and noticing that it was replaced."""

from __future__ import annotations

import os
import random
import sqlite3
import stat
from pathlib import Path

import apsw
import pytest
from rows import T0, A, Open, fill, note, notes, places, sql

from ringbus.errors import HistoryError
from ringbus.history import History


def test_a_new_file_is_made_with_its_folders(tmp_path: Path) -> None:
    """For a writer; its pages are of 8 KiB and its log is a WAL."""
    path = tmp_path / "new" / "folders" / "x.sqlite"
    with History.open(path, "x", write=True) as history:
        fill(history, A, 1)
        assert sql(path, "PRAGMA page_size") == [(8192,)]
        assert sql(path, "PRAGMA journal_mode") == [("wal",)]
        assert history._db.pragma("synchronous") == 1
        assert history._db.pragma("journal_size_limit") == 64 << 20


@pytest.mark.parametrize("options", [{}, {"write": True, "create": False}])
def test_a_missing_file_is_not_made_by_the_way(path: Path, options: dict[str, bool]) -> None:
    """A reader, or a writer that must not create it, says that it is not there."""
    with pytest.raises(HistoryError, match=r"agent-7\.sqlite: no such file"):
        History.open(path, "agent-7", **options)
    assert not path.exists()


def test_an_empty_file_has_no_history_yet(path: Path) -> None:
    """As between the first two moments of a writer."""
    path.touch()
    with pytest.raises(HistoryError, match="nothing was stored"):
        History.open(path, "agent-7")
    assert path.stat().st_size == 0


def test_a_reader_opens_a_closed_history(writer: History, opened: Open, path: Path) -> None:
    """Though the last writer has taken the log away with it."""
    fill(writer, A, 3)
    writer.close()
    assert sorted(file.name for file in path.parent.iterdir()) == [path.name]
    assert places(opened().page()) == [(A, 0), (A, 1), (A, 2)]


def test_a_reader_cannot_write(writer: History, opened: Open) -> None:
    """Nothing that reads can harm a history."""
    fill(writer, A, 1)
    reader = opened()
    with pytest.raises(HistoryError, match="readonly"):
        reader.append(A, [note(1)], 2)
    assert reader.count() == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_forbidden_file_is_a_history_error(writer: History, path: Path) -> None:
    """With path and reason."""
    fill(writer, A, 1)
    path.chmod(0)
    with pytest.raises(HistoryError, match=r"agent-7\.sqlite"):
        History.open(path, "agent-7")
    path.chmod(stat.S_IRUSR | stat.S_IWUSR)


@pytest.mark.parametrize("write", [False, True])
def test_random_bytes_are_a_history_error(path: Path, write: bool) -> None:
    """With path and reason; the cause is kept."""
    path.write_bytes(random.Random(7).randbytes(20_000))
    with pytest.raises(HistoryError, match=r"agent-7\.sqlite: file is not a database") as raised:
        History.open(path, "agent-7", write=write)
    assert isinstance(raised.value.__cause__, apsw.Error)


def test_a_damaged_page_is_a_history_error(writer: History, opened: Open, path: Path) -> None:
    """When it is read, not when the file is opened."""
    fill(writer, A, 2000)
    writer.close()
    content = bytearray(path.read_bytes())
    content[8192:-8192] = b"\xa5" * (len(content) - 2 * 8192)
    path.write_bytes(content)
    with pytest.raises(HistoryError, match=r"agent-7\.sqlite: .*malformed"):
        opened().read()


def test_the_folder_cannot_be_made(tmp_path: Path) -> None:
    """A file stands where a folder should be."""
    (tmp_path / "file").touch()
    with pytest.raises(HistoryError, match=r"file/x\.sqlite"):
        History.open(tmp_path / "file" / "x.sqlite", "x", write=True)


@pytest.mark.parametrize("write", [False, True])
def test_the_history_of_another_agent_is_refused(
    writer: History, opened: Open, write: bool
) -> None:
    """Naming both."""
    fill(writer, A, 1)
    with pytest.raises(HistoryError, match="agent 'agent-7', not of 'agent-8'"):
        opened("agent-8", write=write)


@pytest.mark.parametrize("write", [False, True])
def test_a_newer_schema_is_refused_and_left_alone(
    writer: History, opened: Open, path: Path, write: bool
) -> None:
    """A later ringbus made it; this one says what to do."""
    fill(writer, A, 1)
    sql(path, "PRAGMA user_version = 99")
    with pytest.raises(HistoryError, match=r"newer ringbus \(schema 99, .* upgrade"):
        opened(write=write)
    assert sql(path, "PRAGMA user_version") == [(99,)]


@pytest.mark.parametrize("write", [False, True])
@pytest.mark.parametrize("version", [0, 1])
def test_another_programs_database_is_refused_and_left_alone(
    opened: Open, path: Path, write: bool, version: int
) -> None:
    """Not one byte of it changes, even if it has a table `events` too."""
    sql(path, "CREATE TABLE events (id INTEGER PRIMARY KEY, ts, name)")
    sql(path, f"PRAGMA user_version = {version}")
    before = path.read_bytes()
    with pytest.raises(HistoryError, match="another program's database"):
        opened(write=write)
    assert path.read_bytes() == before


def test_a_file_that_was_replaced_is_noticed(writer: History, path: Path) -> None:
    """What goes on into a removed file would be lost without a word."""
    fill(writer, A, 1)
    path.rename(path.with_suffix(".old"))
    with pytest.raises(HistoryError, match="removed or replaced"):
        writer.append(A, [note(1)], 2)
    path.touch()
    with pytest.raises(HistoryError, match="removed or replaced"):
        writer.read()


def test_a_log_that_was_removed_is_noticed(writer: History, opened: Open, path: Path) -> None:
    """A second copy of SQLite in the process takes it away; opened again, nothing is lost."""
    fill(writer, A, 3)
    sqlite3.connect(path).execute("SELECT * FROM events").connection.close()
    with pytest.raises(HistoryError, match="removed or replaced while in use; open it again"):
        writer.append(A, [note(3)], 4)
    writer.close()
    again = opened(write=True)
    again.append(A, notes(again.begin_epoch(A), 5), 5)
    assert places(again.page()) == [(A, seq) for seq in range(5)]


def test_use_after_close_raises_and_closing_twice_is_fine(writer: History) -> None:
    """Each public method says so."""
    writer.close()
    writer.close()
    with pytest.raises(HistoryError, match="closed"):
        writer.count()


def test_use_after_fork_raises_in_the_child(writer: History) -> None:
    """SQLite's locks are not inherited: the child opens its own."""
    fill(writer, A, 1)
    child = os.fork()
    if child == 0:
        try:
            writer.count()
        except HistoryError as error:
            writer.close()
            os._exit(0 if "fork" in str(error) else 1)
        os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert writer.count() == 1


def test_a_failed_append_leaves_nothing_behind(writer: History) -> None:
    """All of a batch or none of it, and the history goes on."""
    fill(writer, A, 1)
    with pytest.raises(AttributeError):
        writer.append(A, [note(1), (2, T0, 3, None)], 3)  # type: ignore[list-item]
    assert (writer.next_seq(A), writer.count()) == (1, 1)
    writer.append(A, notes(1, 3), 3)
    assert writer.count() == 3
