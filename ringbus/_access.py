"""Who may use a ring's file: the access that is asked for, and the words of a refusal.

A ring belongs to its creator, mode 0600. Others get access only when its creator says so: to read,
or to read and write; writing without reading would be of no use, and nothing is ever executed.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from dataclasses import dataclass

OWNERS_OWN = 2**32 - 1  # the file keeps its creator's group

_OWNER = 0o600
_USEFUL = frozenset({0, 4, 6})  # none, to read, to read and write


@dataclass(frozen=True)
class Access:
    """Mode of a new ring's file, and the id of its group (`OWNERS_OWN`: the creator's)."""

    mode: int
    group: int


def access(mode: int, group: str | int | None) -> Access:
    """Raises `ValueError` for what would not work as meant."""
    if mode & ~0o066 != _OWNER or {mode >> 3 & 7, mode & 7} - _USEFUL:
        raise ValueError(
            f"mode {mode:#o} is none that a ring can have: take 0o600, and for group and others "
            "4 to read or 6 to read and write, such as 0o640, 0o660 or 0o644"
        )
    if group is None:
        return Access(mode, OWNERS_OWN)
    if not mode & 0o060:
        raise ValueError(
            f"group {group!r} gets no access by mode {mode:#o}: "
            "take 0o640 for it to read, 0o660 to read and write"
        )
    return Access(mode, _group_id(group))


def _group_id(group: str | int) -> int:
    if isinstance(group, str):
        try:
            return grp.getgrnam(group).gr_gid
        except KeyError:
            raise ValueError(
                f"there is no group {group!r} on this machine; `getent group` lists them"
            ) from None
    if not 0 <= group < OWNERS_OWN:
        raise ValueError(f"group {group} is no number of a group: take 0 or more, or a name")
    return group


def may_not_read(name: str, path: str) -> str:
    """The ring may not even be read."""
    return (
        f"ring {name!r} may not be read by {_me()}: {_describe(path)}; "
        "its owner can share it: a ring made with mode=0o640 and group=... (RINGBUS_MODE=640, "
        "RINGBUS_GROUP) may be read by that group, this one after `chgrp` and `chmod g+r`"
    )


def may_not_write(name: str, path: str) -> str:
    """The ring is attached for reading, and what was asked would have to store into it."""
    if os.access(path, os.R_OK | os.W_OK, effective_ids=True):
        return (
            f"this handle on ring {name!r} is read-only, though {_describe(path)}; "
            "open the ring anew, without read_only=True, to emit or gate"
        )
    return (
        f"ring {name!r} is read-only for {_me()}: {_describe(path)}; "
        "to emit or gate takes the right to write: its owner gives it to a group with "
        "mode=0o660 and group=... (RINGBUS_MODE=660, RINGBUS_GROUP), or now with `chmod g+w`"
    )


def may_not_remove(name: str, path: str) -> str:
    """The folder is sticky: only the file's owner may remove it."""
    return f"ring {name!r} may not be removed by {_me()}: {_describe(path)}; its owner or root may"


def may_not_create(name: str, path: str, group: int) -> str:
    """Neither the folder nor the group is ours to use."""
    if group != OWNERS_OWN:
        return (
            f"ring {name!r} cannot be given to group {_group_name(group)}: {_me()} is not in it; "
            "join that group (`usermod -aG`), or take one of your own (`id`)"
        )
    return f"ring {name!r} cannot be made by {_me()} in {os.path.dirname(path)}"  # noqa: PTH120


def _me() -> str:
    return f"user {_user_name(os.geteuid())}"


def _describe(path: str) -> str:
    try:
        status = os.lstat(path)
    except OSError as error:
        return f"{path} cannot be looked at ({error.strerror})"
    return (
        f"{path} belongs to {_user_name(status.st_uid)}, group {_group_name(status.st_gid)}, "
        f"mode {stat.S_IMODE(status.st_mode):04o}"
    )


def _user_name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _group_name(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
