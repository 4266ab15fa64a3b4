"""The only user of the compiled module: handles, and the table from statuses to exceptions.

What handles are is private to `ringbus.ring`. Addresses of handles pass through as integers because
the builtin types own them; closing through cffi leaves the memory to its owner.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import posix_ipc

from ringbus import _access, _core, errors

ffi, lib = _core.ffi, _core.lib
if lib.rb_install_builtins() != lib.RB_OK:
    raise ImportError("ringbus: the builtins of the compiled module cannot be installed")

from ringbus._core import (  # noqa: E402  they exist from here on
    Emitter,
    Record,
    Subscriber,
    event_text,
)

__all__ = ["CData", "Emitter", "Record", "Subscriber", "event_text", "ffi", "lib"]

CData = Any  # what cffi hands out

FOLDER = "/dev/shm"
PREFIX = "ringbus."
TAIL = 2**64 - 1  # "start at the tail"
NO_GATE = 2**32 - 1
WHY_BYTES = 200

# Statuses that are exceptions. The others are values of normal life (see RESULTS).
ERRORS: dict[int, tuple[type[errors.RingbusError], str]] = {
    lib.RB_NOT_FOUND: (
        errors.RingNotFound,
        "there is no ring {name!r} on this machine; `ringbus ls` lists those that there are",
    ),
    lib.RB_EXISTS: (
        errors.RingExists,
        "a ring {name!r} exists already; open it, or remove it with `ringbus rm {name}`",
    ),
    lib.RB_INCOMPATIBLE: (
        errors.IncompatibleRing,
        (
            "{folder}/{prefix}{name} cannot be used as a ring: {why}; "
            "remove it with `ringbus rm {name}` or use the library that made it"
        ),
    ),
    lib.RB_CORRUPT: (
        errors.IncompatibleRing,
        "ring {name!r} is damaged: something wrote into its file; remove it (`ringbus rm {name}`)",
    ),
    lib.RB_READ_ONLY: (errors.NotPermitted, "{why}"),
    lib.RB_UNLINKED: (
        errors.RingUnlinked,
        "ring {name!r} was removed while in use; open it anew to go on in the new one",
    ),
    lib.RB_CLOSED: (errors.RingClosed, "this handle on ring {name!r} is closed"),
    lib.RB_FORKED: (
        errors.RingForked,
        "this handle on ring {name!r} belongs to the parent process; open the ring in the child",
    ),
    lib.RB_POISONED: (
        errors.RingbusError,
        (
            "this emitter on ring {name!r} was taken for dead by another process "
            "and emits no more; open the ring anew"
        ),
    ),
    lib.RB_TOO_LARGE: (errors.RecordTooLarge, "{why}"),
    lib.RB_BACK_PRESSURE: (errors.BackPressure, "{why}"),
    lib.RB_POOL_EXHAUSTED: (errors.BackPressure, "{why}"),
    lib.RB_LAPPED: (errors.Lapped, "{why}"),
    lib.RB_NO_SPACE: (errors.NoSpace, "{why}"),
    lib.RB_NO_LANE: (
        errors.LimitReached,
        (
            "ring {name!r} has no lane left for another emitter: {why} at most; close one "
            "(`ringbus stats {name}` lists them; threads may share a handle), or make the ring "
            "larger: from 4 MiB on it has 128"
        ),
    ),
    lib.RB_NO_GATE: (
        errors.LimitReached,
        (
            "ring {name!r} has no place left for another gate: 16 at most; close one "
            "(`ringbus stats {name}` lists them), or subscribe without a gate"
        ),
    ),
    lib.RB_GATE_TAKEN: (
        errors.GateTaken,
        (
            "a living process holds the gate {why!r} of ring {name!r}; close it there first "
            "(`ringbus stats {name}` tells which it is), or take another name"
        ),
    ),
    lib.RB_EVICTED: (
        errors.RingbusError,
        "this gate of ring {name!r} was taken out while it stood still; subscribe anew",
    ),
    lib.RB_INVALID: (errors.RingbusError, "ring {name!r}: an argument is out of range {why}"),
}
RESULTS = frozenset(
    {lib.RB_OK, lib.RB_EMPTY, lib.RB_WAIT, lib.RB_TIMED_OUT, lib.RB_INTERRUPTED, lib.RB_BUSY}
)


def error(status: int, name: str, why: str = "", **attributes: Any) -> Exception:
    """The exception of a status that is one; negative statuses are errnos."""
    if status < 0:
        return OSError(-status, f"ring {name!r}: {os.strerror(-status)}")
    if status == lib.RB_READ_ONLY:
        why = _access.may_not_write(name, file_of(name))
    kind, message = ERRORS[status]
    text = message.format(name=name, why=why, folder=FOLDER, prefix=PREFIX)
    return kind(text, **attributes)


def check(status: int, name: str, why: str = "") -> None:
    """Raises unless the status is RB_OK."""
    if status != lib.RB_OK:
        raise error(status, name, why)


def file_of(name: str) -> str:
    return f"{FOLDER}/{PREFIX}{name}"


def path_of(name: str) -> bytes:
    return os.fsencode(file_of(name))


def _shared_memory(name: str, *, read_only: bool) -> posix_ipc.SharedMemory:
    try:
        return posix_ipc.SharedMemory(f"/{PREFIX}{name}", read_only=read_only)
    except posix_ipc.ExistentialError:
        raise error(lib.RB_NOT_FOUND, name) from None
    except ValueError:  # what it says of a folder
        raise error(lib.RB_INCOMPATIBLE, name, "it is not a regular file") from None
    except posix_ipc.PermissionsError:
        refusal = _access.may_not_read if read_only else _access.may_not_write
        raise errors.NotPermitted(refusal(name, file_of(name))) from None


@contextmanager
def descriptor(name: str, *, read_only: bool) -> Iterator[int]:
    """A new descriptor of the ring's file; locks on it live on in a mapping made through it."""
    memory = _shared_memory(name, read_only=read_only)
    _in_hand.add(memory.fd)
    try:
        yield memory.fd
    finally:
        _in_hand.discard(memory.fd)
        memory.close_fd()


_in_hand: set[int] = set()


def _close_inherited() -> None:
    """What another thread had in hand at a fork would keep its locks beyond its death."""
    while _in_hand:
        os.close(_in_hand.pop())


os.register_at_fork(after_in_child=_close_inherited)


def create(name: str, size: int, access: _access.Access) -> None:
    status = lib.rb_ring_create_shared(path_of(name), size, access.mode, access.group)
    if status == lib.RB_NO_SPACE:
        raise error(status, name, why=_no_space(name, size))
    if status in (-errno.EACCES, -errno.EPERM):
        raise errors.NotPermitted(_access.may_not_create(name, file_of(name), access.group))
    check(status, name)


def _no_space(name: str, size: int) -> str:
    system = os.statvfs(FOLDER)
    free = system.f_bavail * system.f_frsize
    total = system.f_blocks * system.f_frsize
    return (
        f"ring {name!r} of {size} bytes, and an eighth more for its index, does not fit: "
        f"{FOLDER} has {free} of {total} bytes free; take a smaller size (RINGBUS_SIZE=64K is the "
        "smallest), remove unused rings with `ringbus gc`, or enlarge it "
        "(docker run --shm-size=256m)"
    )


def _open(
    name: str,
    opener: Callable[[int, bytes, Any], int],
    *,
    read_only: bool,
    limit_why: str = "",
    of: Any = None,
) -> None:
    """Calls the opener with a new descriptor; with `of`, one of the ring behind that handle."""
    why = ffi.new("char[]", WHY_BYTES)
    try:
        with descriptor(name, read_only=read_only) as fd:
            if of is not None:  # another ring may stand under the name by now
                check(lib.rb_ring_check_linked(of), name)
            status = opener(fd, path_of(name), why)
    except errors.RingNotFound:
        if of is None:
            raise
        raise error(lib.RB_UNLINKED, name) from None
    told = ffi.string(why).decode() or limit_why
    check(status, name, told)


def attach(name: str, *, observer: bool, read_only: bool) -> tuple[Any, bool]:
    """A ring handle, freed with the returned object, and whether it only reads.

    Where writing is refused it only reads, though not asked to.
    """
    try:
        return _attach(name, observer=observer, read_only=read_only), read_only
    except errors.NotPermitted:
        if read_only:
            raise
    return _attach(name, observer=observer, read_only=True), True


def _attach(name: str, *, observer: bool, read_only: bool) -> Any:
    ring = ffi.new("rb_ring **")
    _open(
        name,
        lambda fd, path, why: lib.rb_ring_attach(fd, path, observer, ring, why, WHY_BYTES),
        read_only=read_only,
    )
    return ffi.gc(ring[0], lib.rb_ring_free)


def open_emitter(
    name: str, policy: int, limit_ns: int, lanes: int, *, read_only: bool = False, of: Any = None
) -> Any:
    """An emitter, of the ring behind the handle `of`; whoever wraps it in an `Emitter` owns it."""
    emitter = ffi.new("rb_emitter **")
    _open(
        name,
        lambda fd, path, why: lib.rb_emitter_open(
            fd, path, policy, limit_ns, emitter, why, WHY_BYTES
        ),
        read_only=read_only,
        limit_why=str(lanes),
        of=of,
    )
    return emitter[0]


def open_subscriber(
    name: str, start: int, gate: str | None, *, read_only: bool = False, of: Any = None
) -> tuple[Any, int]:
    """A subscriber, of the ring behind the handle `of`, and what it missed already.

    Whoever wraps it in a `Subscriber` owns it.
    """
    subscriber, missed = ffi.new("rb_subscriber **"), ffi.new("uint64_t *")
    gate_name = ffi.NULL if gate is None else ffi.new("char[]", gate.encode())
    _open(
        name,
        lambda fd, path, why: lib.rb_subscriber_open(
            fd, path, start, gate_name, subscriber, missed, why, WHY_BYTES
        ),
        read_only=read_only,
        limit_why=gate or "",
        of=of,
    )
    return subscriber[0], int(missed[0])


def address(handle: Any) -> int:
    return int(ffi.cast("uintptr_t", handle))


def unlink(name: str) -> None:
    try:
        posix_ipc.unlink_shared_memory(f"/{PREFIX}{name}")
    except posix_ipc.ExistentialError:
        raise error(lib.RB_NOT_FOUND, name) from None
    except posix_ipc.PermissionsError:
        raise errors.NotPermitted(_access.may_not_remove(name, file_of(name))) from None


def folder_changed_ns() -> int:
    """When a ring last came or went; two changes in one tick of the kernel's clock are one."""
    return Path(FOLDER).stat().st_mtime_ns


def list_files() -> list[str]:
    """Names of all ring files, whatever is in them."""
    with os.scandir(FOLDER) as entries:
        return sorted(
            entry.name.removeprefix(PREFIX) for entry in entries if entry.name.startswith(PREFIX)
        )
