"""The SQLite file of a history: how it is opened, its tables, and the versions of both.

    events   one row a stored record: id = base of its epoch + seq, so an id is known before
             its row is stored, and storing it again changes nothing
    epochs   base and next of every epoch ever stored; no row of it is ever deleted, which is
             why no id is used again, even after `events` was emptied
    gaps     the stretches that are missing although they were no transient records
    about    whose history this is

Payloads are not compressed. Lines of real agents would shrink to a third, but deflating one takes
25 us, many times its whole insert, and no other SQLite tool could read or search them.

A schema change is one more function at the end of `_STEPS`. `PRAGMA user_version` counts the
steps a file has seen; what it lacks is done in one transaction when the file is opened.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from ringbus.errors import HistoryError

ORIGINAL_EPOCH = "0" * 16
"""The epoch of rows that the original program wrote, before there were epochs."""

LOCK_SECONDS = 5

MAX_ID = (1 << 63) - 1
"""The largest id that SQLite can store."""

# --- opening ------------------------------------------------------------------------------


def open_writer(path: Path, *, create: bool) -> apsw.Connection:
    """A connection that may write. With `create` file and folders are made where missing."""
    flags = apsw.SQLITE_OPEN_READWRITE
    if create:
        path.parent.mkdir(parents=True, exist_ok=True)
        flags |= apsw.SQLITE_OPEN_CREATE
    else:
        _require(path)
    with _opened(path, flags) as db:
        use_larger_pages(db)
        use_write_ahead_log(db)
        sync_at_checkpoints(db)
        bound_log_file(db)
    return db


def open_reader(path: Path) -> apsw.Connection:
    """A connection that cannot write, so that nothing that reads can harm a history."""
    _require(path)
    with _opened(path, apsw.SQLITE_OPEN_READONLY) as db:
        return db


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[apsw.Connection]:
    """A connection to a file that is ours; closed if what is done with it here fails."""
    db = apsw.Connection(str(path), flags=flags)
    try:
        wait_for_locks(db)
        _refuse_foreign(db)
        yield db
    except BaseException:
        db.close()
        raise


def _require(path: Path) -> None:
    if not path.exists():
        raise HistoryError(f"{path}: no such file; it is made when a first event is stored")


def wait_for_locks(db: apsw.Connection) -> None:
    """Five seconds: a checkpoint on a saturated disk takes that long, a commit never does."""
    db.set_busy_timeout(LOCK_SECONDS * 1000)


def use_larger_pages(db: apsw.Connection) -> None:
    """Half the write traffic of 4 KiB pages for rows of this size. Heeded by a new file only."""
    db.pragma("page_size", 8192)


def share_page_memory() -> None:
    """For a process that writes hundreds, each of which would keep 2 MiB of pages while it is busy.

    Beyond this sum they use their own pages again instead, which costs nothing where rows are
    added at the end.
    """
    apsw.soft_heap_limit(12 << 20)


def use_write_ahead_log(db: apsw.Connection) -> None:
    """Readers and the writer do not wait for each other, and a commit is one write."""
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            mode = db.pragma("journal_mode", "wal")
            break
        except apsw.BusyError:
            # Where two make this switch at once SQLite refuses one of them without waiting.
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    if mode != "wal":
        raise HistoryError(
            f"{db.filename}: its file system has no shared memory, which a write-ahead log "
            f"needs (journal mode is {mode!r}); keep the history on a local disk"
        )


def sync_at_checkpoints(db: apsw.Connection) -> None:
    """A killed process loses nothing; a power cut loses the last commits, never the file."""
    db.pragma("synchronous", "NORMAL")


def sync_at_commits(db: apsw.Connection) -> None:
    """For the rare commits that a power cut must not undo."""
    db.pragma("synchronous", "FULL")


def bound_log_file(db: apsw.Connection) -> None:
    """A log that grew behind a slow reader gives its disk space back once it was applied."""
    db.pragma("journal_size_limit", 64 << 20)


@contextmanager
def transaction(db: apsw.Connection, mode: str = "IMMEDIATE") -> Iterator[None]:
    """All or nothing. `IMMEDIATE` waits for the write lock at once; `DEFERRED` only reads."""
    db.execute(f"BEGIN {mode}")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


# --- versions -----------------------------------------------------------------------------


def prepare(db: apsw.Connection, agent: str | None) -> None:
    """Bring the file up to this version, and make it the history of `agent`."""
    if not is_outdated(db) and (agent is None or _recorded_agent(db) == agent):
        return
    with transaction(db):
        for step in _STEPS[_version(db) :]:
            step(db)
        db.pragma("user_version", len(_STEPS))
        if agent is not None:
            db.execute("INSERT OR IGNORE INTO about(name, value) VALUES ('agent', ?)", (agent,))
            check_agent(db, agent)


def is_outdated(db: apsw.Connection) -> bool:
    """Whether steps are missing. Raises `HistoryError` for a file of a later version."""
    return _version(db) < len(_STEPS)


def check_agent(db: apsw.Connection, agent: str) -> None:
    """Raise `HistoryError` if the file is the history of another agent."""
    recorded = _recorded_agent(db)
    if recorded not in (None, agent):
        raise HistoryError(
            f"{db.filename}: this is the history of agent {recorded!r}, not of {agent!r}; "
            "give each agent a file of its own"
        )


def is_empty(db: apsw.Connection) -> bool:
    """Whether the file holds no table at all, as one that was made a moment ago."""
    return bool(db.execute("SELECT count(*) FROM sqlite_schema").get == 0)


def _refuse_foreign(db: apsw.Connection) -> None:
    """Raise before anything is changed in a database that some other program keeps."""
    with transaction(db, "DEFERRED"):  # somebody else may be making the tables right now
        if _version(db) > 0:
            ours = all(db.table_exists("main", name) for name in ("about", "epochs", "gaps"))
        else:
            ours = is_empty(db) or _columns(db) == _ORIGINAL_COLUMNS
    if not ours:
        raise HistoryError(f"{db.filename}: another program's database; choose another file")


def _columns(db: apsw.Connection) -> set[str]:
    return {name for (name,) in db.execute("SELECT name FROM pragma_table_info('events')")}


def _recorded_agent(db: apsw.Connection) -> object:
    return db.execute("SELECT value FROM about WHERE name = 'agent'").get


def _version(db: apsw.Connection) -> int:
    version = int(db.pragma("user_version"))
    if version > len(_STEPS):
        raise HistoryError(
            f"{db.filename}: written by a newer ringbus (schema {version}, this one knows "
            f"{len(_STEPS)}); upgrade ringbus, or choose another file"
        )
    return max(version, 0)


def _create_or_adopt(db: apsw.Connection) -> None:
    """1: all tables, around the `events` of the original program where there is one."""
    original = not is_empty(db)
    if original:
        db.execute("ALTER TABLE events ADD COLUMN ts_ns INTEGER NOT NULL DEFAULT 0")
        db.execute("UPDATE events SET ts_ns = max(0, min(ts, 9223372036)) * 1000000000")
    else:
        db.execute(_EVENTS)
    if db.execute(_HAS_INDEX_ON_TS).get is None:
        db.execute("CREATE INDEX events_ts ON events(ts)")
    db.execute(_OTHER_TABLES)
    if original:
        _adopt_rows(db)


def _adopt_rows(db: apsw.Connection) -> None:
    """Give the original's rows an epoch, in which seq = id, and say what it had trimmed."""
    first, last = db.execute("SELECT min(id), max(id) FROM events").get
    after = max(last or 0, _autoincrement(db)) + 1
    db.execute("INSERT INTO epochs VALUES (?, 0, ?, 1)", (ORIGINAL_EPOCH, after))
    kept_from = after if first is None else first
    if kept_from > 1:
        db.execute(
            "INSERT INTO gaps VALUES (?, 1, ?, ?, 'retention')",
            (ORIGINAL_EPOCH, kept_from - 1, kept_from - 1),
        )


def _autoincrement(db: apsw.Connection) -> int:
    """The largest id the original ever gave out, if its table kept count of that."""
    if not db.table_exists("main", "sqlite_sequence"):
        return 0
    return db.execute("SELECT max(seq) FROM sqlite_sequence WHERE name = 'events'").get or 0


def _index_rare_kinds(db: apsw.Connection) -> None:
    """2: turns and notes are found among millions of lines, and lines cost nothing more."""
    db.execute("CREATE INDEX events_kind ON events(kind) WHERE kind <> 'stream'")


_STEPS: tuple[Callable[[apsw.Connection], None], ...] = (_create_or_adopt, _index_rare_kinds)

_ORIGINAL_COLUMNS = {"id", "ts", "kind", "payload_json"}

_EVENTS = """
CREATE TABLE events (
    id INTEGER PRIMARY KEY,      -- base of the epoch + seq
    ts INTEGER NOT NULL,         -- whole seconds since 1970
    kind TEXT NOT NULL,
    payload_json TEXT NOT NULL,  -- the event without its place
    ts_ns INTEGER NOT NULL       -- the same moment, exactly
)
"""

_OTHER_TABLES = """
CREATE TABLE epochs (
    epoch TEXT PRIMARY KEY,
    base INTEGER NOT NULL UNIQUE,
    next INTEGER NOT NULL,       -- one past the last seq that was dealt with
    clean INTEGER NOT NULL       -- 1 once all there ever was of it is stored
) WITHOUT ROWID;
CREATE TABLE gaps (
    epoch TEXT NOT NULL,
    "from" INTEGER NOT NULL,
    "to" INTEGER,                -- included; NULL: nobody knows
    missed INTEGER,
    reason TEXT NOT NULL,
    PRIMARY KEY (epoch, "from", reason)
) WITHOUT ROWID;
CREATE TABLE about (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;
"""

_HAS_INDEX_ON_TS = """
SELECT 1 FROM pragma_index_list('events') AS list, pragma_index_info(list.name) AS info
WHERE info.seqno = 0 AND info.name = 'ts' AND NOT list.partial
"""
