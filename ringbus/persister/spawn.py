"""Starting a persister as a process of its own.

Whoever opens a Bus that nobody serves starts one. They hold no lock over that, since a process
that is stopped with it would stop them all; but each leaves a mark, the time of the lock file, and
none follows within a second, or twenty would keep each other from coming up.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from ringbus.persister.writer_lock import lock_path

START_SECONDS = 1.0


def is_starting(database: Path) -> bool:
    """Whether somebody started a persister a moment ago, which may not have its lock yet."""
    try:
        age = time.time() - lock_path(database).stat().st_mtime
    except FileNotFoundError:
        return False
    return 0 <= age < START_SECONDS


def spawn_persister(agent: str, database: Path) -> None:
    """Start an automatic persister and return at once; it outlives this process.

    What it has to say goes to `<database>.log`: it must not hold this process's terminal or pipes.
    """
    database.parent.mkdir(parents=True, exist_ok=True)
    lock_path(database).touch(mode=0o600)
    command = [sys.executable, "-P", "-m", "ringbus", "persist", "--automatic"]
    command += ["--agent", agent, "--database", os.fspath(database)]
    with _log_of(database).open("ab") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
        )
    # Somebody must take its exit status, or it stays a zombie while this process lives.
    threading.Thread(target=process.wait, name="ringbus-reaper", daemon=True).start()


def last_words(database: Path) -> str:
    """What such a persister wrote to its log last."""
    path = _log_of(database)
    try:
        words = path.read_text(errors="replace").split("\n")[-2:-1]
    except OSError:
        words = []
    return f"see {path}" + (f", which ends: {words[0]}" if words else "")


def _log_of(database: Path) -> Path:
    return database.with_name(database.name + ".log")
