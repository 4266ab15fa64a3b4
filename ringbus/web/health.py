"""Whether this process can do its work, with reasons."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from msgspec import Struct

from ringbus.agents import agents
from ringbus.web.figures import figures

SHARED_MEMORY = Path("/dev/shm")
LEAST_FREE_BYTES = 64 << 20

_SECRET = "With the token of this server you are told."  # noqa: S105


class Readiness(Struct, frozen=True):
    """`problems` names what keeps this process from its work, and what to do; empty when ready.

    `warnings` names agents of which something cannot be read or is not being stored.
    """

    ready: bool
    problems: list[str]
    warnings: list[str]


def readiness(state: Path, *, in_full: bool) -> Readiness:
    """Checks the state folder and the shared memory of this machine; `in_full` all agents, too.

    Otherwise it only says whether, to somebody who shall not learn more.
    """
    problems = [*_state_problems(state), *_memory_problems()]
    if not in_full:
        return Readiness(not problems, [_SECRET] if problems else [], [])
    troubles = (figures(agent, state).trouble() for agent in agents(state))
    return Readiness(not problems, problems, list(filter(None, troubles)))


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
