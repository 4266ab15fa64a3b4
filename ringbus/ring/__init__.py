"""The ring in Python: `Ring` opens it, emits into it and gives out subscribers.

A handle may be used from several threads. In a forked child every call raises `RingForked`.
`emit` and `emit_many` are builtins of the compiled module (csrc/fastcall_emitter.c), which `Ring`
inherits: they hold the interpreter lock except while they wait for a gate, and Ctrl-C ends that
wait at once.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Literal, NoReturn, Self, Unpack

from ringbus import _native, errors, settings
from ringbus._closing import Closing
from ringbus._native import CData, ffi, lib
from ringbus.ring.options import Emitting, Manner, manner_of, size_and_access
from ringbus.ring.stalls import EmitReport
from ringbus.ring.stats import GateStats, RingStats, read_gates, read_stats, take_stats
from ringbus.ring.subscriber import Subscriber

HISTORY_GATE = "history"  # the gate of an agent's persister

OPENING_TRIES = 1000  # each is lost to another process; a damaged ring shall not hold us for ever


@dataclass(frozen=True)
class Database:
    """The SQLite file that serves a ring."""

    path: str
    device: int
    inode: int


class Ring(_native.Emitter, Closing):
    """A handle on a ring: `emit()` into it, `subscribe()` to it.

    Get one from `create()`, `open()` or `open_or_create()`. `policy` says what `emit()` does when a
    gate is a whole ring behind: "drop" pushes it on at once, "block" waits for up to `limit`
    seconds (5 by default) and then pushes it on, "fail" raises `BackPressure` after `limit` seconds
    (0 by default). `on_stall` is told of a gate that was in the way; by default it warns.
    """

    def __init__(
        self, name: str, manner: Manner, *, observer: bool = False, read_only: bool = False
    ) -> None:
        self.name = settings.check_agent_name(name)
        self._manner = manner
        # Re-entrant: signal handlers and finalisers emit and close, also amid our own opening.
        self._opening = threading.RLock()
        self._emitter: object = None
        self._closed = False
        self._handle, self._is_read_only = _native.attach(
            name, observer=observer, read_only=read_only
        )
        stats = self._stats()
        self.epoch = f"{stats.epoch:016x}"
        self.size = int(stats.capacity)
        self.max_payload = int(stats.max_payload)

    @classmethod
    def create(
        cls,
        name: str,
        *,
        size: int | None = None,
        mode: int | None = None,
        group: str | int | None = None,
        **emitting: Unpack[Emitting],
    ) -> Self:
        """A new ring of `size` bytes for records: a power of two from 64 KiB to 1 GiB.

        It belongs to this user alone, unless `mode` lets `group` or everybody read (0o640, 0o644)
        or read and write (0o660, 0o666); the umask plays no part. What is not given is taken from
        RINGBUS_SIZE, RINGBUS_MODE and RINGBUS_GROUP, else it is 4 MiB, 0o600 and the user's group.
        """
        settings.check_agent_name(name)
        how = manner_of(**emitting)
        _native.create(name, *size_and_access(size=size, mode=mode, group=group))
        return cls(name, how)

    @classmethod
    def open(
        cls,
        name: str,
        *,
        observer: bool = False,
        read_only: bool = False,
        **emitting: Unpack[Emitting],
    ) -> Self:
        """A handle on an existing ring.

        An `observer` does not count as attached: it does not keep the ring, or its persister.
        Through a `read_only` handle nothing is ever stored; a user who may only read the ring gets
        such a handle anyway.
        """
        return cls(name, manner_of(**emitting), observer=observer, read_only=read_only)

    @classmethod
    def open_or_create(
        cls,
        name: str,
        *,
        size: int | None = None,
        mode: int | None = None,
        group: str | int | None = None,
        **emitting: Unpack[Emitting],
    ) -> Self:
        """The ring of that name, made if there is none.

        `size`, `mode` and `group` count only when it is made.
        """
        for _ in range(OPENING_TRIES):
            try:
                return cls.open(name, **emitting)
            except (errors.RingNotFound, errors.RingUnlinked):
                pass
            try:
                return cls.create(name, size=size, mode=mode, group=group, **emitting)
            except (errors.RingExists, errors.RingNotFound, errors.RingUnlinked):
                continue  # another process was faster, or removed what we made: look again
        raise _native.error(lib.RB_UNLINKED, name)

    # Emitting

    def _open_emitter(self) -> None:
        """What the first `emit()` or `emit_many()` calls."""
        lanes = self._stats().lane_count  # refuses before the lock, which a fork may leave locked
        with self._opening:
            if self._emitter is not None:
                return
            handle = _native.open_emitter(
                self.name,
                self._manner.policy,
                self._manner.limit_ns,
                lanes,
                read_only=self._is_read_only,
                of=self._handle,
            )
            report = EmitReport(
                self.name, self.max_payload, self._handle, handle, self._manner.on_stall
            )
            if not self._own(_native.address(handle), report):
                lib.rb_emitter_free(handle)  # an emit amid our own opening was faster
                return
            self._emitter = handle
            if self._closed:
                lib.rb_emitter_close(handle)

    # Reading

    def subscribe(
        self, start: Literal["latest", "oldest"] | int = "latest", *, gate: str | None = None
    ) -> Subscriber:
        """A subscriber whose cursor is fixed now: at the tail, at the floor, or at a seq.

        With `gate` emitters may not lap it (by their policy); one living process holds a gate name.
        A read-only handle has no gates, and its subscribers may learn of a record 20 ms late.
        """
        if start == "latest":
            at = _native.TAIL
        elif start == "oldest":
            at = 0
        elif isinstance(start, int) and start >= 0:
            at = start
        else:
            raise ValueError(f'start is "latest", "oldest" or a seq, not {start!r}')
        if gate is not None and not 0 < len(gate.encode()) < 64:
            raise ValueError(f"a gate's name has 1 to 63 bytes, not {gate!r}")
        self._stats()  # says that this handle is closed or the parent's, even when the ring is gone
        return Subscriber(
            self.name,
            self._handle,
            at,
            gate,
            from_oldest=start == "oldest",
            read_only=self._is_read_only,
        )

    @property
    def read_only(self) -> bool:
        """Whether this handle can only read: asked for, or all that this user may do."""
        return self._is_read_only

    @property
    def tail(self) -> int:
        """One past the seq of the newest record."""
        return int(self._stats().tail)

    @property
    def floor(self) -> int:
        """The seq of the oldest record still kept."""
        return int(self._stats().floor)

    # What people and supervisors ask

    def stats(self) -> RingStats:
        """A snapshot; whether emitters and gates are alive is asked of the kernel."""
        return take_stats(
            self.name,
            self._handle,
            database.path if (database := self.database()) else None,
            self.is_attached(),
        )

    def _stats(self) -> CData:
        return read_stats(self.name, self._handle)

    def gates(self) -> list[GateStats]:
        """The gates that stand, dead ones included."""
        return read_gates(self.name, self._handle)

    def has_gate(self, name: str) -> bool:
        """Whether a living process holds the gate name."""
        held = ffi.new("int *")
        self._check(lib.rb_ring_gate_held(self._handle, name.encode(), held))
        return bool(held[0])

    def is_attached(self) -> bool:
        """Whether anybody is attached; this handle counts unless it is an observer."""
        held = ffi.new("int *")
        self._check(lib.rb_ring_is_attached(self._handle, held))
        return bool(held[0])

    def is_linked(self) -> bool:
        """Whether the ring's name still leads to this ring."""
        status = lib.rb_ring_check_linked(self._handle)
        if status != lib.RB_UNLINKED:
            self._check(status)
        return bool(status == lib.RB_OK)

    @property
    def flags(self) -> int:
        """The shared flag bits (`lib.RB_FLAG_...`)."""
        flags = ffi.new("uint32_t *")
        self._check(lib.rb_ring_flags(self._handle, flags))
        return int(flags[0])

    def change_flags(self, *, set: int = 0, clear: int = 0) -> None:  # noqa: A002
        """Sets and clears shared flag bits and wakes every sleeper to look at them."""
        self._check(lib.rb_ring_change_flags(self._handle, set, clear))
        self._check(lib.rb_ring_wake(self._handle))

    def database(self) -> Database | None:
        """The SQLite file that serves this ring, as its persister last said."""
        area = ffi.new("rb_database *")
        status = lib.rb_ring_database(self._handle, area)
        if status == lib.RB_EMPTY:
            return None
        self._check(status)
        path = ffi.string(area.path).decode(errors="surrogateescape")
        return Database(path, int(area.device), int(area.inode))

    def set_database(self, database: Database) -> None:
        """Only for the holder of the history's writer lock."""
        area = ffi.new("rb_database *")
        path = database.path.encode(errors="surrogateescape")
        if len(path) >= len(area.path):
            raise ValueError(f"the path of the database is too long: {database.path}")
        area.device, area.inode, area.path = database.device, database.inode, path
        self._check(lib.rb_ring_set_database(self._handle, area))

    def close(self) -> None:
        """Gives everything back; again is fine. A thread asleep in an emit gets `RingClosed`."""
        if lib.rb_ring_close(self._handle) == lib.RB_FORKED:
            return  # nothing here is the child's, and the lock may have been taken at the fork
        self._closed = True
        with self._opening:
            if self._emitter is not None:
                lib.rb_emitter_close(self._emitter)

    def _check(self, status: int) -> None:
        _native.check(status, self.name)

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{self!r} belongs to its process; pass on the name and open the ring there"
        )

    def __repr__(self) -> str:
        return f"<Ring {self.name!r} epoch={self.epoch} size={self.size}>"


def unlink(name: str) -> None:
    """Remove a ring: its name is free at once, and whoever still uses it gets `RingUnlinked`."""
    settings.check_agent_name(name)
    try:
        with Ring.open(name, observer=True) as ring:
            _native.unlink(name)
            if not ring.read_only:  # without the mark it is noticed a little later
                ring.change_flags(set=lib.RB_FLAG_UNLINKED)
    except (errors.IncompatibleRing, errors.RingUnlinked):  # damaged, or marked and still there
        _native.unlink(name)


def list_rings() -> list[str]:
    """Names of the rings on this machine, sorted; other files have names that no ring can have."""
    return [name for name in _native.list_files() if settings.is_agent_name(name)]
