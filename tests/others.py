"""Another user, for tests of who may do what; only root may become one."""

from __future__ import annotations

import os

from missing import go_without

OTHER = 65534  # a user, and a group, of no account of ours
GROUP = 54321  # the other user is in it


def need_root() -> None:
    """For tests that become somebody else, or give a file to any group."""
    if os.geteuid() != 0:
        go_without("only root may become somebody else or give files away")


def become_other() -> None:
    """For good: in a child. Import first what is needed; it may not be able to read that."""
    os.environ["HOME"] = "/nonexistent"
    os.environ.pop("RINGBUS_STATE", None)
    os.setgroups([GROUP])
    os.setgid(OTHER)
    os.setuid(OTHER)
