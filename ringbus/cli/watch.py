"""Verbs that read events: tail, history."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ringbus import settings
from ringbus._console import warn
from ringbus.cli.options import (
    agent_option,
    json_option,
    state_option,
    usage_errors,
)
from ringbus.cli.output import has_reader, print_items
from ringbus.errors import RingNotFound
from ringbus.events import KINDS, Envelope, Gap, Position, Reset, parse_position

if TYPE_CHECKING:
    from ringbus.follow import Follow

Item = Envelope | Gap | Reset

LOOK_SECONDS = 1.0
PATIENCE = 10.0  # seconds: longer than a follow waits for a persister
SLICE = 0.05


def _position(
    _context: click.Context, _option: click.Parameter, value: str | None
) -> Position | None:
    with usage_errors():
        return None if value is None else parse_position(value)


@click.command()
@agent_option
@json_option
@click.option("--from-start", is_flag=True, help="Begin with the oldest event that is kept.")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(min=0),
    default=10,
    show_default=True,
    metavar="N",
    help="Begin with the last N events.",
)
@click.option("--no-follow", is_flag=True, help="Stop at the newest event.")
@state_option
def tail(
    *,
    agent: str,
    as_json: bool,
    from_start: bool,
    lines: int,
    no_follow: bool,
    state: Path | None,
) -> None:
    """Follow an agent in the terminal.

    Shows its last events and then each new one, until Ctrl-C; an agent that is not there yet
    is waited for. A stretch that nobody can get any more is shown as a gap. Partial messages
    are left out, except with --json.

    \b
    Example:
      ringbus tail --agent reviewer --json -n 100
    """
    from ringbus.follow import Follow

    follow = Follow(
        agent,
        database=existing_database(agent, state) if no_follow else _database(agent, state),
        last=None if from_start or lines == 0 else lines,
        live=lines == 0 and not from_start,
    )
    with follow:
        try:
            for items in present(follow) if no_follow else _endless(follow):
                print_items(items, as_json=as_json)
        except KeyboardInterrupt:
            return


@click.command()
@agent_option
@json_option
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=2000,
    show_default=True,
    metavar="N",
    help="The newest N events.",
)
@click.option(
    "--before",
    metavar="POS",
    callback=_position,
    help="Only events before this position, <epoch>-<seq>.",
)
@click.option("--grep", metavar="TEXT", help="Only events whose JSON holds TEXT.")
@click.option("--kind", type=click.Choice(KINDS), help="Only events of this kind.")
@state_option
def history(
    *,
    agent: str,
    as_json: bool,
    limit: int,
    before: Position | None,
    grep: str | None,
    kind: str | None,
    state: Path | None,
) -> None:
    """Print what an agent did, oldest first.

    \b
    Example:
      ringbus history --agent reviewer --json --limit 100
    """
    from ringbus.choice import Choice
    from ringbus.recent import open_history, recent
    from ringbus.ring import Ring

    database = existing_database(agent, state)
    with contextlib.ExitStack() as opened:
        ring = None
        with contextlib.suppress(RingNotFound):
            ring = opened.enter_context(Ring.open(agent, observer=True))
        stored = open_history(database, agent, warn)
        if stored is not None:
            opened.enter_context(stored)
        choice = Choice(frozenset() if kind is None else frozenset({kind}), grep)
        found = recent(stored, ring, limit, before, choice=choice)
        print_items(found, as_json=as_json)


def present(follow: Follow) -> Iterator[list[Item]]:
    """What there is until now; emitters may be faster than we print, so not until all is read."""
    started_ns = time.time_ns()
    waits_until = time.monotonic() + PATIENCE
    while True:
        # The ring may hold more than can be told yet: what was before it is still being stored.
        is_behind = follow.lag > 0
        items = follow.read(timeout=SLICE if is_behind else 0)
        if items:
            yield items
            newest = items[-1]
            if isinstance(newest, Envelope) and newest.ts_ns > started_ns:
                return
            waits_until = time.monotonic() + PATIENCE
        elif not is_behind or time.monotonic() > waits_until:
            return


def _endless(follow: Follow) -> Iterator[list[Item]]:
    """All there is and will be, while somebody reads it."""
    while has_reader():
        if items := follow.read(timeout=LOOK_SECONDS):
            yield items


def _database(agent: str, state: Path | None) -> Path:
    """The file of the agent's history, as a Bus would choose it."""
    from ringbus.agents import database_of

    with usage_errors():
        return settings.events_db_override() or database_of(agent, settings.state_dir(state))


def existing_database(agent: str, state: Path | None) -> Path:
    """As `_database()`, for an agent that is there: reading does not make one."""
    from ringbus.agents import is_agent_ring
    from ringbus.recent import is_there

    database = _database(agent, state)
    if not is_there(database) and not is_agent_ring(agent):
        raise RingNotFound(
            f"no agent {agent!r}: it has no ring, and no history in {database.parent}; "
            "see `ringbus ls` and --state"
        )
    return database


VERBS = (tail, history)
