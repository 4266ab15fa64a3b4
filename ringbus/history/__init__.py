"""The history of an agent: its events in a SQLite file, through apsw.

    with History.open(path, "agent-7", write=True) as history:   # the persister
        seq = history.begin_epoch(ring.epoch)
        history.append(ring.epoch, rows, next_seq)

    with History.open(path, "agent-7") as history:               # everybody else
        newest = history.page()

One process writes; any number of threads and processes read meanwhile, each with a `History`
of its own, and none waits for another. A `History` is used by one thread at a time, in the
process that opened it. Calls block for disk and locks, at most five seconds for a lock.

All of them raise `HistoryError`, which names the file and the reason, for a file that cannot
be used, that was removed or replaced since it was opened, and after `close()`.

To look into the file yourself, use another process, or apsw. Python's `sqlite3` is a second
copy of SQLite, and two copies in one process undo each other's locks: the one that closes the
file removes the log under the other. That is noticed here, and is a `HistoryError` too.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import apsw

from ringbus._closing import Closing
from ringbus.errors import HistoryError
from ringbus.events import Envelope, Gap, Position
from ringbus.history import aside, schema, sweeps, table, writing
from ringbus.history.reading import Page, Reading, check_kinds, check_limit, find_place
from ringbus.history.sweeps import lines_folder
from ringbus.history.writing import Row
from ringbus.ring.batch import Batch
from ringbus.settings import Retention

__all__ = ["History", "Page", "Row", "lines_folder"]

_P = ParamSpec("_P")
_T = TypeVar("_T")


@contextmanager
def _reported(path: Path) -> Iterator[None]:
    try:
        yield
    except (apsw.Error, OSError) as error:
        raise HistoryError(f"{path}: {error}") from error


def _checked(
    method: Callable[Concatenate[History, _P], _T],
) -> Callable[Concatenate[History, _P], _T]:
    """A public method: used in good order, and failing with `HistoryError` only."""

    @wraps(method)
    def call(self: History, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        self._check_usable()
        with _reported(self.path):
            return method(self, *args, **kwargs)

    return call


class History(Closing):
    """Opened by `History.open()`; closed by `close()` or `with`."""

    def __init__(self, path: Path, db: apsw.Connection, agent: str, *, write: bool = False) -> None:
        self.path = path
        self.agent = agent
        self.identity = _identity(path)
        self._log = path.with_name(path.name + "-wal")
        self._log_identity = _identity(self._log)
        self._db = db
        self._is_writer = write
        self._pid = os.getpid()
        self._closed = False
        self._reading = Reading(db)
        self._rows: int | None = None
        self._rows_version = 0
        self._has_table = table.load(db) if write else False
        #: Bytes in the write-ahead log after the last commit here.
        self.log_bytes = 0
        if write:
            self._leave_checkpoints_to_caller()

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        agent: str,
        *,
        write: bool = False,
        create: bool | None = None,
    ) -> History:
        """The history of `agent` in the file `path`.

        To write, the file is brought up to this version, and made with its folders if `create`
        (as a rule the same as `write`). To read, it must be there; only a file of the original
        schema is changed even then.
        """
        path = Path(path).absolute()
        with _reported(path):
            if write:
                db = schema.open_writer(path, create=create is not False)
            else:
                db = schema.open_reader(path)
            try:
                if write:
                    schema.prepare(db, agent)
                elif schema.is_outdated(db):
                    _update(path, db)
                schema.check_agent(db, agent)
                return cls(path, db, agent, write=write)
            except BaseException:
                db.close()
                raise

    # --- writing --------------------------------------------------------------------------

    @_checked
    def begin_epoch(self, epoch: str) -> int:
        """The next seq to store of `epoch`, 0 for a new one. It lasts through a power cut.

        A new epoch gets ids above all that were ever used. Earlier ones that did not end
        cleanly get their gap `ring-lost`. A fresh file goes on after those that were put aside.
        """
        writing.check_epoch(epoch)
        with self._lasting_transaction():
            if self._db.execute("SELECT 1 FROM epochs").get is None:
                aside.recall(self._db, self.path, epoch)
            return writing.begin(self._db, epoch)

    @_checked
    def append(
        self, epoch: str, rows: Sequence[Row], next_seq: int, gaps: Sequence[Gap] = ()
    ) -> None:
        """Store records and gaps in one transaction; what is stored already stays.

        `next_seq` is one past the last record that was looked at: transient ones have no row.
        A record that is no event is stored as a note of its bytes.
        """
        with self._storing(epoch, next_seq, gaps) as stored:
            stored.append(writing.store(self._db, epoch, rows))

    @_checked
    def append_batch(self, epoch: str, batch: Batch, gaps: Sequence[Gap] = ()) -> None:
        """The same for a batch of the ring, at the rate at which SQLite inserts rows.

        The interpreter lock is free meanwhile. Where SQLite cannot load the compiled module, or
        the batch holds records that are no events, its rows are taken through Python.
        """
        next_seq = max([batch.next_seq, *(gap.to + 1 for gap in gaps if gap.to is not None)])
        with self._storing(epoch, next_seq, gaps) as stored:
            if self._has_table and not batch.foreign:
                stored.append(writing.store_batch(self._db, epoch, batch))
            else:
                stored.append(writing.store(self._db, epoch, batch.rows()))

    @_checked
    def end_epoch(self, epoch: str) -> None:
        """Mark that all of `epoch` is stored. It lasts through a power cut."""
        with self._lasting_transaction():
            self._db.execute("UPDATE epochs SET clean = 1 WHERE epoch = ?", (epoch,))

    @_checked
    def restart_log(self) -> None:
        """Copy the write-ahead log into the database, and begin it anew unless others use it."""
        self._db.set_busy_timeout(0)
        try:
            self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_RESTART)
            self.log_bytes = 0
        except apsw.BusyError:
            return
        finally:
            schema.wait_for_locks(self._db)

    @_checked
    def rest(self) -> None:
        """Give back the memory that only a busy writer needs; the next call takes it again."""
        self._db.pragma("shrink_memory")

    @_checked
    def sweep(self, retention: Retention, now_ns: int, budget_rows: int = 10_000) -> int:
        """Delete rows that exceed `retention`, the oldest first, with the files of their lines.

        One call is one short transaction of at most `budget_rows`, so that nothing waits for
        it. Returns how many went; as many as `budget_rows` means that there may be more.
        """
        rows = self._count_for(retention.rows)
        with schema.transaction(self._db):
            chosen = sweeps.choose(
                self._db,
                retention,
                now_ns=now_ns,
                budget_rows=budget_rows,
                rows=rows,
                folder=lines_folder(self.path),
            )
            if chosen.last is None:
                return 0
            deleted = sweeps.delete(self._db, chosen.last)
        if self._rows is not None:
            self._rows -= deleted
        sweeps.remove(chosen.files)
        return deleted

    # --- reading --------------------------------------------------------------------------

    @_checked
    def read(self, start: Position | None = None, limit: int = 1000) -> Page:
        """A page of rows and gaps, oldest first, from `start` on (included) or the beginning.

        It goes over from one epoch to the next. It ends early, not `at_end`, where its lines
        are very long. Raises `KeyError` if no such epoch was ever stored.
        """
        check_limit(limit)
        with schema.transaction(self._db, "DEFERRED"):
            return self._reading.read(start, limit)

    @_checked
    def page(
        self,
        before: Position | None = None,
        limit: int = 2000,
        *,
        after: Position | None = None,
        kinds: Collection[str] = (),
        text: str | None = None,
    ) -> list[Envelope]:
        """Up to `limit` rows, oldest first, no gaps: the newest before a position, or of all.

        With `after` alone: the oldest that follow that position. `kinds` and `text` choose rows of
        those kinds, and rows whose JSON holds that text (a to z in either case). All but `text` go
        by an index; `text` looks at every row until enough are found, about half a second a
        million. Raises `KeyError` if no such epoch was ever stored.
        """
        check_limit(limit)
        check_kinds(kinds)
        with schema.transaction(self._db, "DEFERRED"):
            return self._reading.page(before, limit, after=after, kinds=kinds, text=text)

    @_checked
    def gaps(self, first: Position | None = None, before: Position | None = None) -> list[Gap]:
        """The gaps that begin from `first` on and before `before`, in order; None: the ends."""
        return self._reading.gaps(first, before)

    @_checked
    def back(self, before: Position | None, ids: int, after: Position | None) -> Position | None:
        """The position `ids` before another or the end; None if `after` or the start is nearer."""
        return self._reading.back(before, ids, after)

    @_checked
    def next_seq(self, epoch: str) -> int | None:
        """One past the last record of `epoch` that was dealt with; None: never begun here."""
        place = find_place(self._db, epoch)
        return None if place is None else place.next

    @_checked
    def is_clean(self, epoch: str) -> bool:
        """Whether all there ever was of `epoch` is stored: it has its clean-end mark."""
        return bool(self._db.execute("SELECT clean FROM epochs WHERE epoch = ?", (epoch,)).get)

    @_checked
    def epochs(self) -> list[str]:
        """Every epoch ever begun here, in order."""
        return [epoch for (epoch,) in self._db.execute("SELECT epoch FROM epochs ORDER BY base")]

    @_checked
    def newest_epoch(self) -> str | None:
        """The last that was begun here; None if none was."""
        return next(reversed(self.epochs()), None)

    @_checked
    def count(self) -> int:
        """How many events are stored. It walks an index: about 10 ms a million."""
        return int(self._db.execute("SELECT count(*) FROM events").get)

    @_checked
    def size_bytes(self) -> int:
        """Bytes that the events take, long lines in files of their own included."""
        return sweeps.database_bytes(self._db) + sweeps.lines_bytes(lines_folder(self.path))

    @_checked
    def last_ts_ns(self) -> int | None:
        """When the newest stored event was emitted, in ns since 1970; None if there is none."""
        newest = self._db.execute("SELECT ts_ns FROM events ORDER BY id DESC LIMIT 1").fetchone()
        return None if newest is None else newest[0]

    @_checked
    def gaps_by_reason(self) -> dict[str, tuple[int, int]]:
        """Number of gaps, and of the records they miss as far as that is known."""
        return self._reading.gaps_by_reason()

    @property
    def skipped(self) -> int:
        """How many rows `read()` and `page()` passed over because they are no events."""
        return self._reading.skipped

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        # A child must not close what its parent uses: it would act on locks it does not hold.
        if os.getpid() == self._pid:
            with _reported(self.path):
                if self._is_writer and not aside.is_same_file(self.path, self.identity):
                    aside.close_replaced(self._db, self.path, self._log_identity)
                self._db.close()

    def __repr__(self) -> str:
        state = " closed" if self._closed else ""
        return f"<History of {self.agent!r} in {str(self.path)!r}{state}>"

    # --- parts ----------------------------------------------------------------------------

    def _check_usable(self) -> None:
        if self._closed:
            raise HistoryError(f"{self.path}: the history is closed; open it again")
        if os.getpid() != self._pid:
            raise HistoryError(f"{self.path}: opened before a fork; open it again in the child")
        self._check_same()

    def _check_same(self) -> None:
        """SQLite does not notice, and would go on in files that have no name any more."""
        for path, opened in ((self.path, self.identity), (self._log, self._log_identity)):
            if not aside.is_same_file(path, opened):
                raise HistoryError(f"{path}: removed or replaced while in use; open it again")

    def _leave_checkpoints_to_caller(self) -> None:
        page_bytes = int(self._db.pragma("page_size"))

        def after_commit(_db: apsw.Connection, _name: str, pages: int) -> int:
            self.log_bytes = pages * page_bytes
            return apsw.SQLITE_OK

        self._db.set_wal_hook(after_commit)

    @contextmanager
    def _storing(self, epoch: str, next_seq: int, gaps: Sequence[Gap]) -> Iterator[list[int]]:
        """One transaction of rows, the place after them, and gaps; it is told how many rows."""
        stored: list[int] = []
        with schema.transaction(self._db):
            yield stored
            writing.advance(self._db, epoch, next_seq)
            writing.record_gaps(self._db, gaps)
        self._check_same()
        if self._rows is not None:
            self._rows += sum(stored)

    @contextmanager
    def _lasting_transaction(self) -> Iterator[None]:
        schema.sync_at_commits(self._db)
        try:
            with schema.transaction(self._db):
                yield
        finally:
            schema.sync_at_checkpoints(self._db)

    def _count_for(self, limit: int) -> int:
        """How many rows there are, or at most are where even that is no more than `limit`.

        They are counted once, and again only after somebody else has written.
        """
        first, last = self._db.execute(_ENDS).get
        if first is None or last - first < limit:
            return 0 if first is None else int(last - first + 1)
        version = self._db.pragma("data_version")
        if self._rows is None or version != self._rows_version:
            self._rows = int(self._db.execute("SELECT count(*) FROM events").get)
            self._rows_version = version
        return self._rows


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def _update(path: Path, reader: apsw.Connection) -> None:
    """Bring a file of the original schema up to this version for somebody who only reads."""
    if schema.is_empty(reader):
        raise HistoryError(f"{path}: nothing was stored in it yet")
    writer = schema.open_writer(path, create=False)
    try:
        schema.prepare(writer, None)
    finally:
        writer.close()


# Asked for together in one SELECT, the two would cost a walk over the table.
_ENDS = "SELECT (SELECT min(id) FROM events), (SELECT max(id) FROM events)"
