"""Histories to and from files: what `ringbus export` writes, databases, and plain recordings.

exported lines   every event with its place, gaps too: they keep epoch, seq and time
a database       of ringbus, or of the original schema (its rows get an epoch of their own)
any other lines  a recording of what a program printed: one event a line, all of this moment
"""

from __future__ import annotations

import itertools
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

import apsw
import msgspec

from ringbus.agents import is_agent_ring
from ringbus.errors import EventError, HistoryError
from ringbus.events import KINDS, Envelope, Gap, check_event, encode, line_event
from ringbus.history import History, Row
from ringbus.history.schema import ORIGINAL_EPOCH
from ringbus.persister.writer_lock import WriterLock

BATCH = 5000

_SQLITE = b"SQLite format 3\0"
_PLACE = re.compile(rb'\{"epoch":"([0-9a-f]{16})","seq":(\d{1,19}),"ts_ns":(-?\d{1,19}),')
_GAP = re.compile(rb'\{"gap":(\{.*\})\}')

Item = Envelope | Gap


@dataclass
class Imported:
    """What an import brought."""

    events: int = 0
    gaps: int = 0
    epochs: int = 0


def import_file(
    source: Path, agent: str, database: Path, progress: Callable[[int], None] = lambda _: None
) -> Imported:
    """Append what is in the file to the agent's history, each epoch in transactions of its own.

    `progress` is called with the number of events so far. Raises `HistoryError` if the agent has
    a ring (whose ids would collide) or a persister at work, if an epoch is in the history already,
    and for a file that is none of these; what was imported before that line stays.
    """
    if is_agent_ring(agent):
        raise HistoryError(
            f"agent {agent!r} has a ring, whose events would follow those of the file; import "
            f"under another name, or remove the ring first (`ringbus rm {agent}` keeps the history)"
        )
    database.parent.mkdir(parents=True, exist_ok=True)
    lock = WriterLock(database)
    if not lock.acquire():
        raise HistoryError(f"{database}: a persister is at work on it; stop that first")
    try:
        with History.open(database, agent, write=True) as history:
            return _append(history, _items(source), progress)
    finally:
        lock.release()


def _append(history: History, items: Iterable[Item], progress: Callable[[int], None]) -> Imported:
    done = Imported()
    for epoch, group in itertools.groupby(items, key=lambda item: item.epoch):
        if epoch in history.epochs():
            raise HistoryError(f"{history.path}: epoch {epoch} is in it already")
        history.begin_epoch(epoch)
        while batch := list(itertools.islice(group, BATCH)):
            rows = [_row(item) for item in batch if isinstance(item, Envelope)]
            gaps = [item for item in batch if isinstance(item, Gap)]
            history.append(epoch, rows, _end(batch[-1]), gaps)
            done.events += len(rows)
            done.gaps += len(gaps)
            progress(done.events)
        history.end_epoch(epoch)
        done.epochs += 1
    return done


def _row(envelope: Envelope) -> Row:
    return envelope.seq, envelope.ts_ns, KINDS.index(envelope.kind) + 1, envelope.payload


def _end(item: Item) -> int:
    if isinstance(item, Envelope):
        return item.seq + 1
    return item.from_ if item.to is None else item.to + 1


def _items(source: Path) -> Iterator[Item]:
    """What is in the file; the rows of the original program get an epoch of their own."""
    own = _new_epoch()
    try:
        with source.open("rb") as file:
            for item in _kind_of(source, file):
                yield _moved(item, own) if item.epoch == ORIGINAL_EPOCH else item
    except (OSError, apsw.Error) as error:
        raise HistoryError(f"{source}: {error}") from error


def _kind_of(source: Path, file: BufferedReader) -> Iterator[Item]:
    head = file.peek(len(_SQLITE))
    if head.startswith(_SQLITE):
        return _database_items(source)
    if _PLACE.match(head) or head.startswith(b'{"gap":'):
        return _exported_items(source, file)
    return _recorded_items(file)


def _exported_items(source: Path, file: BinaryIO) -> Iterator[Item]:
    for number, line in enumerate(file, 1):
        try:
            if place := _PLACE.match(line):
                payload = check_event(b"{" + line[place.end() :].rstrip(b"\r\n"))[1]
                yield Envelope(place[1].decode(), int(place[2]), int(place[3]), payload)
            elif gap := _GAP.match(line):
                yield msgspec.json.decode(gap[1], type=Gap)
            elif line.strip():
                raise EventError(f"no event with its place: {line[:100]!r}")
        except (EventError, msgspec.DecodeError) as error:
            raise HistoryError(f"{source}, line {number}: {error}") from error


def _recorded_items(file: BinaryIO) -> Iterator[Item]:
    epoch, now = _new_epoch(), time.time_ns()
    for seq, line in enumerate(file):
        yield Envelope(epoch, seq, now, encode(line_event(line.rstrip(b"\n")))[1])


def _database_items(source: Path) -> Iterator[Item]:
    """Out of a copy: the file itself is left as it is, whatever version it has."""
    with tempfile.TemporaryDirectory(prefix="ringbus-import-") as folder:
        copy = Path(folder, "copy.sqlite")
        with (
            closing(apsw.Connection(str(source), flags=apsw.SQLITE_OPEN_READONLY)) as origin,
            closing(apsw.Connection(str(copy))) as target,
            target.backup("main", origin, "main") as backup,
        ):
            backup.step()
        with History.open(copy, _agent_of(copy)) as history:
            yield from _all_items(history)


def _all_items(history: History) -> Iterator[Item]:
    page = history.read(None)
    while True:
        yield from page.items
        if page.at_end:
            return
        page = history.read(page.next)


def _agent_of(database: Path) -> str:
    """Whose history it says it is; any name will do for one that says nothing."""
    agent = None
    with closing(apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)) as db:
        if db.table_exists("main", "about"):
            agent = db.execute("SELECT value FROM about WHERE name = 'agent'").get
    return str(agent or "imported")


def _moved(item: Item, epoch: str) -> Item:
    if isinstance(item, Gap):
        return msgspec.structs.replace(item, epoch=epoch)
    return Envelope(epoch, item.seq, item.ts_ns, item.payload)


def _new_epoch() -> str:
    return os.urandom(8).hex()
