"""Everything ringbus raises on purpose, one tree:

    RingbusError
     +-- RingNotFound        no ring of that name on this machine
     +-- RingExists          a ring of that name is there already
     +-- IncompatibleRing    the file is no ring, is damaged, or is of another version
     +-- NotPermitted        the ring's file may not be used like that by this user
     +-- RingUnlinked        the ring was removed while in use
     +-- RingClosed          the handle was closed
     |    +-- RingForked     the handle belongs to the parent of this process
     +-- LimitReached        no place left for one more emitter or gate
     +-- GateTaken           a living reader holds the gate of that name
     +-- RecordTooLarge      the payload is longer than one record can be
     +-- BackPressure        a gate is a whole ring behind, and the policy is to fail
     +-- Lapped              the ring overwrote what the cursor wanted
     +-- NoSpace             /dev/shm is full
     +-- EventError          not an event, or one that cannot be encoded
     +-- HistoryError        the SQLite file cannot be used

Whoever raises writes the message: it names the ring, file or value and the remedy.
All of them pickle with their attributes, so they may cross process boundaries.
"""

from __future__ import annotations

from errno import EACCES
from typing import Any


class RingbusError(Exception):
    """The root: catching it catches whatever ringbus raises on purpose."""

    def __reduce__(self) -> tuple[Any, ...]:
        # The default would call the constructor again, which wants more than the message.
        return _restore, (type(self), self.args), self.__dict__


def _restore(cls: type[RingbusError], args: tuple[object, ...]) -> RingbusError:
    error = cls.__new__(cls)
    error.args = args
    return error


class RingNotFound(RingbusError):
    """No ring of that name exists on this machine."""


class RingExists(RingbusError):
    """A ring of that name exists already."""


class IncompatibleRing(RingbusError):
    """The file is not a ring, is damaged, or was made by another version."""


class NotPermitted(RingbusError, PermissionError):
    """The ring's file may not be used like that by this user, or through this handle."""

    errno = EACCES  # as of any `PermissionError`; the message is all of the arguments


class RingUnlinked(RingbusError):
    """The ring was removed while this handle was using it."""


class RingClosed(RingbusError):
    """The handle was used after `close()`."""


class RingForked(RingClosed):
    """The handle was used in a child of the process that opened it."""


class LimitReached(RingbusError):
    """The ring has no place for one more emitter or gate."""


class GateTaken(RingbusError):
    """A living reader holds the gate of that name."""


class RecordTooLarge(RingbusError):
    """A payload is longer than one record of this ring can be.

    `published`: how many records of the same `emit_many` were already out.
    """

    def __init__(self, message: str, published: int = 0) -> None:
        super().__init__(message)
        self.published = published


class BackPressure(RingbusError):
    """A gate is a whole ring behind and the policy is to fail; this record was not published.

    `gate` names it and `lag` is the number of records it is behind, where known.
    `published`: how many records of the same `emit_many` were already out.
    """

    def __init__(
        self,
        message: str,
        gate: str | None = None,
        lag: int | None = None,
        published: int = 0,
    ) -> None:
        super().__init__(message)
        self.gate = gate
        self.lag = lag
        self.published = published


class Lapped(RingbusError):
    """The ring overwrote what the cursor wanted; the subscriber goes on at `next_seq`.

    `missed` is the number of records lost to this subscriber.
    """

    def __init__(self, message: str | None = None, *, missed: int, next_seq: int) -> None:
        if message is None:
            message = f"lapped: missed {missed} records, reading goes on at seq {next_seq}"
        super().__init__(message)
        self.missed = missed
        self.next_seq = next_seq


class NoSpace(RingbusError):
    """/dev/shm has no room for the ring."""


class EventError(RingbusError):
    """Not an event, or an event that cannot be encoded; nothing was emitted."""


class HistoryError(RingbusError):
    """The history cannot be opened, read or written; the message names the file and why."""
