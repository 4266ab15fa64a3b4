"""Names, places and environment variables. An empty variable counts as unset.

A variable with a bad value raises `ValueError` that names it, the value and what to write.
Nothing is read before a function is called, and nothing is kept.
"""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

Policy: TypeAlias = Literal["block", "drop", "fail"]
POLICIES: tuple[Policy, ...] = ("block", "drop", "fail")

DEFAULT_RING_SIZE = 4 << 20
MIN_RING_SIZE = 64 << 10
MAX_RING_SIZE = 1 << 30

SHORTEST_TOKEN = 16

_AGENT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SIZE = re.compile(r"([0-9]{1,18})([KMG]?)", re.IGNORECASE)
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


@dataclass(frozen=True, slots=True)
class Retention:
    """What a history keeps: its newest `rows`, `days` and `bytes`, whichever is least."""

    rows: int = 10_000_000
    days: float = 30.0
    bytes: int = 2 << 30


def env(name: str) -> str | None:
    """The value of an environment variable, None if it is unset or empty."""
    return os.environ.get(name) or None


def is_agent_name(name: str) -> bool:
    """Whether an agent, or a ring, may have that name."""
    return _AGENT_NAME.fullmatch(name) is not None


def check_agent_name(name: str) -> str:
    """`name`, if an agent may have it. Raises `ValueError` otherwise."""
    if not is_agent_name(name):
        raise ValueError(
            f"not an agent name: {name[:100]!r}; take 1 to 64 of A-Z a-z 0-9 . _ - "
            "and begin with a letter or digit"
        )
    return name


def state_dir(override: str | os.PathLike[str] | None = None) -> Path:
    """The state folder, absolute: `override`, else RINGBUS_STATE, else the user's own.

    It may not exist yet.
    """
    chosen = override or env("RINGBUS_STATE")
    return Path(chosen).absolute() if chosen else _user_state() / "ringbus"


def history_path(agent: str, state: Path) -> Path:
    """The file of an agent's history. Raises `ValueError` for a bad name."""
    return state / f"{check_agent_name(agent)}.sqlite"


def events_db_override() -> Path | None:
    """The history file named by RINGBUS_EVENTS_DB, else HYPERHIVE_EVENTS_DB, absolute."""
    chosen = env("RINGBUS_EVENTS_DB") or env("HYPERHIVE_EVENTS_DB")
    return Path(chosen).absolute() if chosen else None


def ring_size() -> int:
    """Bytes for records in a new agent's ring: RINGBUS_SIZE, else 4 MiB."""
    size = _size("RINGBUS_SIZE", DEFAULT_RING_SIZE)
    if size & (size - 1) or not MIN_RING_SIZE <= size <= MAX_RING_SIZE:
        raise _bad("RINGBUS_SIZE", "a power of two from 64K to 1G, such as 4M")
    return size


def ring_mode() -> int:
    """Who may use a new ring's file: RINGBUS_MODE in octal digits, else 0600, its creator alone."""
    text = env("RINGBUS_MODE")
    if text is None:
        return 0o600
    if re.fullmatch("(0o?)?[0-7]{3}", text) is None:
        raise _bad("RINGBUS_MODE", "three octal digits such as 600, 640 or 660")
    return int(text, 8)


def ring_group() -> str | int | None:
    """The group of a new ring's file: RINGBUS_GROUP, a name or a number, else the creator's."""
    text = env("RINGBUS_GROUP")
    return int(text) if text is not None and re.fullmatch("[0-9]{1,9}", text) else text


def policy() -> Policy:
    """What a Bus does when a gate is a whole ring behind: RINGBUS_POLICY, else `block`."""
    chosen = env("RINGBUS_POLICY") or "block"
    for known in POLICIES:
        if chosen == known:
            return known
    raise _bad("RINGBUS_POLICY", "block, drop or fail")


def retention() -> Retention:
    """RINGBUS_HISTORY (rows), RINGBUS_HISTORY_DAYS and RINGBUS_HISTORY_BYTES."""
    standard = Retention()
    return Retention(
        rows=_rows("RINGBUS_HISTORY", standard.rows),
        days=_days("RINGBUS_HISTORY_DAYS", standard.days),
        bytes=_size("RINGBUS_HISTORY_BYTES", standard.bytes),
    )


def token() -> str | None:
    """What the web interface asks of browsers and programs: RINGBUS_TOKEN."""
    return check_token(env("RINGBUS_TOKEN"))


def check_token(text: str | None) -> str | None:
    """`text` as it is shown: a header cannot carry space around it. None if nothing is left.

    Raises `ValueError`, which does not repeat it, for one that can be guessed.
    """
    token = (text or "").strip()
    # Guesses are not counted: who locks out a guesser locks out whoever else is behind his proxy.
    if token and len(token) < SHORTEST_TOKEN:
        raise ValueError(
            f"RINGBUS_TOKEN has {len(token)} characters, which can be guessed; take at least "
            f"{SHORTEST_TOKEN}, such as `python3 -c 'import secrets; "
            "print(secrets.token_urlsafe())'` prints"
        )
    return token or None


def _user_state() -> Path:
    base = env("XDG_STATE_HOME")
    if base is not None and Path(base).is_absolute():
        return Path(base)
    try:
        return Path.home() / ".local" / "state"
    except RuntimeError as error:
        raise ValueError("no home folder is known for this user: set RINGBUS_STATE") from error


def _size(variable: str, default: int) -> int:
    text = env(variable)
    if text is None:
        return default
    found = _SIZE.fullmatch(text)
    size = int(found[1]) * _UNITS[found[2].upper()] if found else 0
    if size == 0:
        raise _bad(variable, "a number of bytes above 0, or one such as 64K, 4M or 1G")
    return size


def _rows(variable: str, default: int) -> int:
    text = env(variable)
    if text is None:
        return default
    if re.fullmatch("[0-9]{1,18}", text) is None or int(text) == 0:
        raise _bad(variable, "a whole number above 0, such as 2000")
    return int(text)


def _days(variable: str, default: float) -> float:
    text = env(variable)
    if text is None:
        return default
    try:
        days = float(text)
    except ValueError:
        days = 0.0
    if not (math.isfinite(days) and days > 0):
        raise _bad(variable, "a number of days above 0, such as 30 or 0.5")
    return days


def _bad(variable: str, wanted: str) -> ValueError:
    return ValueError(
        f"{variable} is {os.environ.get(variable)!r:.100}: set it to {wanted}, or unset it"
    )
