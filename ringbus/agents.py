"""The agents of this machine: which there are, and where their history is."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from ringbus import settings
from ringbus._native import lib
from ringbus.errors import IncompatibleRing, RingNotFound, RingUnlinked
from ringbus.ring import Ring, list_rings


def agents(state: Path) -> list[str]:
    """Names of all agents: those that have a ring, and those that have only a history left."""
    stored = {path.stem for path in state.glob("*.sqlite") if settings.is_agent_name(path.stem)}
    return sorted(stored | set(agent_rings()))


def agent_rings(besides: Collection[str] = ()) -> list[str]:
    """Names of the rings that belong to agents; files that are no rings do not.

    Those in `besides` are passed over: who serves them need not open them to look.
    """
    return [name for name in list_rings() if name not in besides and _is_usable_agent_ring(name)]


def _is_usable_agent_ring(name: str) -> bool:
    try:
        return is_agent_ring(name)
    except (IncompatibleRing, PermissionError, ValueError):
        return False


def is_agent_ring(name: str) -> bool:
    """Whether a Bus or a persister ever opened the ring; False where there is none.

    Raises `IncompatibleRing` for a file that is no ring.
    """
    try:
        with Ring.open(name, observer=True) as ring:
            return is_agents(ring)
    except (RingNotFound, RingUnlinked):
        return False


def is_read_only(name: str) -> bool:
    """Whether this user may do no more than read the ring; False where there is none."""
    try:
        with Ring.open(name, observer=True) as ring:
            return ring.read_only
    except (RingNotFound, RingUnlinked):
        return False


def is_agents(ring: Ring) -> bool:
    """Whether the ring belongs to an agent."""
    return bool(ring.flags & lib.RB_FLAG_AGENT)


def database_of(agent: str, state: Path) -> Path:
    """The agent's history: the file that its ring names while that is there, else `state`'s."""
    default = settings.history_path(agent, state)
    try:
        with Ring.open(agent, observer=True) as ring:
            return named_database(ring) or default
    except (RingNotFound, RingUnlinked, IncompatibleRing, PermissionError):
        return default


def named_database(ring: Ring) -> Path | None:
    """The database that serves the ring, unless it no longer is what its persister opened."""
    database = ring.database()
    if database is None:
        return None
    try:
        found = Path(database.path).stat()
    except PermissionError:
        return Path(database.path)  # whoever opens it is told
    except OSError:
        return None
    same = (found.st_dev, found.st_ino) == (database.device, database.inode)
    return Path(database.path) if same else None
