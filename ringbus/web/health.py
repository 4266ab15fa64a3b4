"""Whether this process can do its work, with reasons."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from msgspec import Struct

SHARED_MEMORY = Path("/dev/shm")
LEAST_FREE_BYTES = 64 << 20


class Readiness(Struct, frozen=True):
    """`problems` names what is wrong and what to do; empty when ready."""

    ready: bool
    problems: list[str]


def readiness(state: Path) -> Readiness:
    """Checks the state folder and the shared memory of this machine."""
    problems = [*_state_problems(state), *_memory_problems()]
    return Readiness(ready=not problems, problems=problems)


def _state_problems(state: Path) -> list[str]:
    if not state.is_dir():
        return [f"The state folder {state} does not exist: create it, or emit something first."]
    if not os.access(state, os.R_OK | os.X_OK):
        return [f"The state folder {state} cannot be read by user {os.getuid()}."]
    free = shutil.disk_usage(state).free
    if free < LEAST_FREE_BYTES:
        return [f"Only {free >> 20} MiB are free on the disk of {state}: histories may stop."]
    return []


def _memory_problems() -> list[str]:
    if os.access(SHARED_MEMORY, os.R_OK | os.X_OK):
        return []
    return [f"{SHARED_MEMORY} cannot be read: rings are files there. Mount it, or share it."]
