"""Verbs that move histories: export, import."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from ringbus import settings
from ringbus._console import warn
from ringbus.cli.options import agent_option, name_argument, state_folder, state_option
from ringbus.cli.output import print_items
from ringbus.cli.watch import existing_database, present


@click.command("export")
@name_argument
@state_option
def export_verb(*, name: str, state: Path | None) -> None:
    """Print all events of an agent with their places, one JSON object a line.

    Gaps are lines of their own. `ringbus import` reads it back.

    \b
    Example:
      ringbus export reviewer > reviewer.jsonl
    """
    from ringbus.follow import Follow

    printed = 0
    with Follow(name, database=existing_database(name, state)) as follow, _progress("") as tell:
        for items in present(follow):
            print_items(items, as_json=True)
            printed += len(items)
            tell(printed)


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@agent_option
@state_option
def import_verb(*, file: Path, agent: str, state: Path | None) -> None:
    """Append the events of a file to an agent's history.

    FILE is what `ringbus export` wrote, a database of ringbus or of the original program, or a
    recording: the lines that a program printed.

    \b
    Example:
      ringbus import --agent archive reviewer.jsonl
    """
    from ringbus.transfer import import_file

    database = settings.history_path(agent, state_folder(state))
    with _progress(f" from {file.name}") as tell:
        done = import_file(file, agent, database, tell)
    warn(f"{done.events} events, {done.gaps} gaps, {done.epochs} epochs now in {database}")


@contextlib.contextmanager
def _progress(what: str) -> Iterator[Callable[[int], None]]:
    """A count on the terminal that stderr is; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console

    with Console(stderr=True).status("") as status:
        yield lambda count: status.update(f"{count:,} events{what}")


VERBS = (export_verb, import_verb)
