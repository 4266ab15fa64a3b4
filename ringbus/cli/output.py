"""What reaches stdout: envelopes as text or JSON, and tables."""

import os
import select
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click

from ringbus.cli.describe import describe, without_controls
from ringbus.events import Envelope, Gap, Reset

STYLES: dict[str, dict[str, Any]] = {
    "turn": {"fg": "cyan", "bold": True},
    "ok": {"fg": "green", "bold": True},
    "failed": {"fg": "red", "bold": True},
    "gap": {"fg": "magenta", "bold": True},
    "stderr": {"fg": "yellow"},
    "harness": {"fg": "blue"},
    "result": {"fg": "green"},
    "user": {"dim": True},
    "other": {"dim": True},
}


def is_terminal() -> bool:
    """stdout is a terminal that wants colours."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def print_items(items: Iterable[Envelope | Gap | Reset], *, as_json: bool) -> None:
    """Prints a batch and flushes. As JSON a gap or reset is an object with that one key."""
    lines = [_json_line(item) for item in items] if as_json else _text_lines(items)
    sys.stdout.buffer.write(b"".join(lines))
    sys.stdout.buffer.flush()


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table: drawn on a terminal, with tabs between its columns elsewhere.

    Any process may have written what stands in a cell: no control character gets through.
    """
    rows = [[without_controls(cell) for cell in row] for row in rows]
    if not is_terminal():
        for row in (columns, *rows):
            click.echo("\t".join(row))
        return
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console(markup=False, emoji=False, highlight=False).print(table)


def clear_terminal() -> None:
    """Where stdout is a terminal."""
    if is_terminal():
        click.clear()


def has_reader() -> bool:
    """Whether anybody can still read stdout; a pipe tells without being written to."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return not any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def _json_line(item: Envelope | Gap | Reset) -> bytes:
    if isinstance(item, Gap):
        return b'{"gap":' + item.json() + b"}\n"
    if isinstance(item, Reset):
        return b'{"reset":' + item.json() + b"}\n"
    return item.json() + b"\n"


def _text_lines(items: Iterable[Envelope | Gap | Reset]) -> Iterable[bytes]:
    has_colours = is_terminal()
    for item in items:
        described = describe(item)
        if described is not None:
            text, style = described
            if has_colours:
                text = click.style(text, **STYLES.get(style, {}))
            yield text.encode(errors="replace") + b"\n"
