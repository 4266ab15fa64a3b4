"""The limit of open files, of which a process that serves many agents needs thousands."""

from __future__ import annotations

import resource

WANTED = 65536


def raise_limit() -> None:
    """As far as this process may, up to `WANTED`; 1,024 is what a shell has as a rule."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
