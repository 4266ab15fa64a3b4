"""The lock that makes one process the writer of a history: `<database>.lock`.

It belongs to an open file description, so the kernel releases it when its holder dies, and asking
who holds it takes nothing.
"""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path

# struct flock on 64-bit Linux: type, whence, start, length, pid.
_FLOCK = struct.Struct("hh4xqqi4x")


def _request(kind: int) -> bytes:
    return _FLOCK.pack(kind, os.SEEK_SET, 0, 0, 0)


def lock_path(database: Path) -> Path:
    """The file that is locked. Its time says when a persister was last started."""
    return database.with_name(database.name + ".lock")


class WriterLock:
    """The writer lock of one database; `database` need not exist yet, its folder must."""

    def __init__(self, database: Path) -> None:
        self.path = lock_path(database)
        self._fd: int | None = None

    def acquire(self) -> bool:
        """Take it; False, at once, if another process or handle has it."""
        if self._fd is not None:
            return True
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _request(fcntl.F_WRLCK))
        except BlockingIOError:
            os.close(fd)
            return False
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd
        return True

    @property
    def is_mine(self) -> bool:
        """Whether this handle has it."""
        return self._fd is not None

    def is_held(self) -> bool:
        """Whether anybody else has it, or may have it: another user's lock cannot be looked at."""
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        except PermissionError:
            return True
        try:
            answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _request(fcntl.F_WRLCK))
        finally:
            os.close(fd)
        return bool(_FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)

    def release(self) -> None:
        """Give it up; again is fine."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
