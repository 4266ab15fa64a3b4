"""The end of rings and agents: removed by name, or collected when nobody needs them."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from ringbus.agents import database_of, is_agents
from ringbus.errors import HistoryError, IncompatibleRing, RingNotFound, RingUnlinked
from ringbus.history import History, lines_folder
from ringbus.history.aside import all_put_aside
from ringbus.persister.agent import AgentPersister
from ringbus.persister.writer_lock import WriterLock
from ringbus.recent import is_there, open_history
from ringbus.ring import HISTORY_GATE, Ring, list_rings, unlink

log = logging.getLogger(__name__)

PERSISTER_PATIENCE = 5.0  # seconds
POLL = 0.02


def remove_agent(agent: str, state: Path, *, purge: bool) -> None:
    """Remove an agent's ring, and with `purge` its history, too.

    What is not stored yet is stored first unless it is purged. Whoever still emits gets
    `RingUnlinked`. Raises `RingNotFound` if there is neither. Waits for the agent's persister to
    end, at most five seconds.
    """
    database = database_of(agent, state)
    try:
        _remove_ring(agent, database, store=not purge)
    except IncompatibleRing:
        unlink(agent)  # a file that nobody can use
    except RingNotFound:
        if not (purge and database.exists()):
            raise
    if purge:
        _remove_history(database)


def collect(state: Path, *, force: bool = False) -> list[str]:
    """Remove rings that nobody is attached to and that hold nothing unstored; their names.

    With `force` also those that hold something unstored, and files that are no rings.
    """
    return [name for name in list_rings() if _collect_one(name, state, force=force)]


def _collect_one(name: str, state: Path, *, force: bool) -> bool:
    try:
        database = database_of(name, state)
        with Ring.open(name, observer=True) as ring:
            if ring.read_only or ring.is_attached() or not (force or _is_stored(ring, database)):
                return False
        _remove_ring(name, database, store=True)
    except IncompatibleRing:
        if not force:
            return False
        unlink(name)
    except (RingNotFound, RingUnlinked, PermissionError, ValueError):
        return False
    return True


def _is_stored(ring: Ring, database: Path) -> bool:
    """Whether nothing would be lost with the ring; what is in no agent's ring is never stored."""
    if ring.tail == 0:
        return True
    history = open_history(database, ring.name, log.warning) if is_agents(ring) else None
    if history is None:
        return False
    try:
        with history:
            return (history.next_seq(ring.epoch) or 0) >= ring.tail
    except HistoryError as error:
        log.warning("%s", error)
        return False


def _remove_ring(name: str, database: Path, *, store: bool) -> None:
    """Store what is there if it is an agent's, unless a living persister does; mark and unlink."""
    with Ring.open(name, observer=True) as ring:
        is_blank = ring.tail == 0 and not is_there(database)
        if is_blank or not is_agents(ring):
            unlink(name)
        elif ring.has_gate(HISTORY_GATE) or not store:
            unlink(name)
            _wait_for_persister(ring, database)
        else:
            _store_now(ring, database)
            is_alone = not ring.is_attached()
            unlink(name)
            if is_alone:
                _end_epoch(ring, database)


def _store_now(ring: Ring, database: Path) -> None:
    persister = AgentPersister(ring.name, database)
    persister.stop()
    persister.run()


def _wait_for_persister(ring: Ring, database: Path) -> None:
    """It stores the rest and gives up the writer lock."""
    deadline = time.monotonic() + PERSISTER_PATIENCE
    while WriterLock(database).is_held():
        if time.monotonic() > deadline:
            log.warning("%s: its persister still holds %s", ring.name, database)
            return
        time.sleep(POLL)


def _end_epoch(ring: Ring, database: Path) -> None:
    """The clean-end mark, if nothing came after what is stored."""
    lock = WriterLock(database)
    try:
        if not lock.acquire():
            return  # a persister came after all; the mark is its own to set
        with History.open(database, ring.name, write=True) as history:
            if history.next_seq(ring.epoch) == ring.tail:
                history.end_epoch(ring.epoch)
    except (HistoryError, OSError) as error:
        log.warning("%s: the end of its ring cannot be noted: %s", ring.name, error)
    finally:
        lock.release()


def _remove_history(database: Path) -> None:
    lines = lines_folder(database)
    for path in lines.glob("*") if lines.is_dir() else ():
        path.unlink()
    if lines.is_dir():
        lines.rmdir()
    for suffix in ("", "-wal", "-shm", ".lock", ".log"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)
    for path in all_put_aside(database):
        path.unlink(missing_ok=True)
