"""Checkpoints in a thread of their own, so that storing does not wait for the disk's flushes.

A commit appends to the write-ahead log; a checkpoint syncs the log and copies its pages into the
database. SQLite would do that inside every thousandth page's commit: 20 ms as a rule and seconds on
a busy disk, in which the gate stands still and emitters may come to wait. Here another connection
does it while the writer goes on. But a log under an unbroken writer never starts anew that way, so
beyond a cap the writer itself does the rest, which by then is little.
"""

from __future__ import annotations

import logging
import queue
import threading
from contextlib import closing
from pathlib import Path
from typing import TypeAlias

import apsw

from ringbus.history import History
from ringbus.history.aside import is_same_file

log = logging.getLogger(__name__)

LARGE_LOG = 8 << 20  # new bytes that are worth a checkpoint's flushes
LOG_CAP = 32 << 20

_Request: TypeAlias = tuple[Path, tuple[int, int]]
"""A file, and which it was."""


class Checkpointer:
    """One thread for all writers of a process; it starts with the first request."""

    def __init__(self) -> None:
        self._wanted: queue.SimpleQueue[_Request] = queue.SimpleQueue()
        self._waiting: set[_Request] = set()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def ask(self, history: History) -> None:
        """Returns at once; who asks again before it was done asks for the same."""
        self._start()
        request = (history.path, history.identity)
        if request not in self._waiting:
            self._waiting.add(request)
            self._wanted.put(request)

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                # A daemon: SQLite's files are whole wherever a checkpoint ends.
                self._thread = threading.Thread(target=self._serve, name="checkpoints", daemon=True)
                self._thread.start()

    def _serve(self) -> None:
        while True:
            request = self._wanted.get()
            self._waiting.discard(request)
            path, identity = request
            if not is_same_file(path, identity):
                continue  # the log beside it may be the old file's: the writer sees to that
            try:
                checkpoint(path)
            except apsw.Error as error:  # the writer meets whatever it is, too, and acts on it
                log.info("%s: no checkpoint: %s", path, error)


CHECKPOINTER = Checkpointer()


def checkpoint(path: Path) -> None:
    """Copy what no reader needs in the log any more; waits for nobody."""
    with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)) as db:
        db.pragma("journal_mode")  # a connection that has read nothing knows of no log
        db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)


class Log:
    """The write-ahead log of a history, as its writer looks after it."""

    def __init__(self, history: History, checkpointer: Checkpointer = CHECKPOINTER) -> None:
        self._history = history
        self._checkpointer = checkpointer
        self._asked_at = 0  # length of the log when a checkpoint was asked for last

    def look(self, *, is_calm: bool) -> None:
        """Called after a batch, and when there is nothing to store.

        What is calm is flushed whatever its size, so that a power cut does not cost it.
        """
        length = self._history.log_bytes
        if length < self._asked_at:  # it has begun anew
            self._asked_at = 0
        if length > LOG_CAP:
            self._history.restart_log()
            self._asked_at = 0
        elif length - self._asked_at > (0 if is_calm else LARGE_LOG):
            self._asked_at = length
            self._checkpointer.ask(self._history)
