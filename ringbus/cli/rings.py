"""Verbs about rings themselves: ls, stats, rm, gc."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from ringbus._console import warn
from ringbus.cli.options import json_option, name_argument, state_folder, state_option
from ringbus.cli.output import clear_terminal, print_table

if TYPE_CHECKING:
    from ringbus.ring.stats import GateStats, RingStats

WATCH_SECONDS = 1.0
HISTORY_GATE = "history"

LIST_COLUMNS = ("RING", "EVENTS", "KEPT", "SIZE", "EMITTERS", "HISTORY", "LAG", "OTHER GATES")
GATE_COLUMNS = ("GATE", "PID", "STATE", "LAG", "CURSOR", "LAST MOVED", "SINCE")
EMITTER_COLUMNS = ("EMITTER", "PID", "SINCE")


@click.command("ls")
@json_option
def list_verb(as_json: bool) -> None:
    """List the rings on this machine.

    Tells what they hold, who gates them, and who lags.

    \b
    Example:
      ringbus ls
    """
    from ringbus.errors import RingbusError
    from ringbus.ring import list_rings

    rows = []
    for name in list_rings():
        try:
            stats = _stats(name)
        except RingbusError as error:
            warn(str(error))
        else:
            if as_json:
                _print_json(stats)
            rows.append(_list_row(stats))
    if not as_json:
        print_table(LIST_COLUMNS, rows)


@click.command("stats")
@name_argument
@json_option
@click.option("--watch", is_flag=True, help="Show them again every second, until Ctrl-C.")
def stats_verb(name: str, as_json: bool, watch: bool) -> None:
    """Show one ring.

    Tells its ends, its gates and how far each is behind, and its emitters.

    \b
    Example:
      ringbus stats reviewer --watch
    """
    try:
        _show(name, as_json=as_json)
        while watch:
            time.sleep(WATCH_SECONDS)
            if not as_json:
                clear_terminal()
            _show(name, as_json=as_json)
    except KeyboardInterrupt:
        return


@click.command("rm")
@name_argument
@click.option("--purge", is_flag=True, help="Remove the history too.")
@state_option
def remove_verb(name: str, purge: bool, state: Path | None) -> None:
    """Remove an agent's ring. Its history stays.

    Whoever still emits to it gets an error that says so.

    \b
    Example:
      ringbus rm reviewer --purge
    """
    from ringbus.removal import remove_agent

    remove_agent(name, state_folder(state), purge=purge)


@click.command("gc")
@click.option("--force", is_flag=True, help="Remove those too that hold what is not stored.")
@state_option
def collect_verb(force: bool, state: Path | None) -> None:
    """Remove the rings that nobody needs, and print their names.

    Those are the ones that nobody is attached to and that hold nothing unstored.

    \b
    Example:
      ringbus gc
    """
    from ringbus.removal import collect

    for name in collect(state_folder(state), force=force):
        click.echo(name)


def _stats(name: str) -> RingStats:
    from ringbus.ring import Ring

    with Ring.open(name, observer=True) as ring:
        return ring.stats()


def _show(name: str, *, as_json: bool) -> None:
    stats = _stats(name)
    if as_json:
        _print_json(stats)
        return
    now_ns = time.time_ns()
    print_table(("RING", stats.name), _ring_rows(stats))
    print_table(GATE_COLUMNS, [_gate_row(gate, now_ns) for gate in stats.gates])
    print_table(
        EMITTER_COLUMNS,
        [(str(lane.index), str(lane.pid), _ago(lane.since_ns, now_ns)) for lane in stats.lanes],
    )


def _print_json(stats: RingStats) -> None:
    click.echo(msgspec.json.encode(dataclasses.asdict(stats)))


def _list_row(stats: RingStats) -> tuple[str, ...]:
    history = next((gate for gate in stats.gates if gate.name == HISTORY_GATE), None)
    others = [gate.name for gate in stats.gates if gate is not history]
    return (
        stats.name,
        str(stats.tail),
        str(stats.kept),
        _size(stats.size),
        str(len(stats.lanes)),
        "none" if history is None else _state(history),
        "-" if history is None else str(history.lag),
        ", ".join(others) or "-",
    )


def _ring_rows(stats: RingStats) -> list[tuple[str, str]]:
    return [
        ("epoch", stats.epoch),
        ("size", f"{_size(stats.size)}, a record up to {_size(stats.max_payload)}"),
        ("events", f"{stats.tail}, of which {stats.kept} are kept, from {stats.floor}"),
        ("blocks", f"{stats.blocks}, of which {stats.blocks_free} are free"),
        ("history", stats.database or "none"),
        ("in use", "yes" if stats.attached else "no"),
    ]


def _gate_row(gate: GateStats, now_ns: int) -> tuple[str, ...]:
    return (
        gate.name,
        str(gate.pid),
        _state(gate),
        str(gate.lag),
        str(gate.cursor),
        _ago(gate.moved_ns, now_ns),
        _ago(gate.since_ns, now_ns),
    )


def _state(gate: GateStats) -> str:
    return "alive" if gate.alive else "dead"


def _ago(then_ns: int, now_ns: int) -> str:
    seconds = max(now_ns - then_ns, 0) / 1e9
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit} ago"
    return f"{seconds:.1f} s ago"


def _size(count: int) -> str:
    for unit, length in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= length:
            return f"{count / length:g} {unit}"
    return f"{count} B"


VERBS = (list_verb, stats_verb, remove_verb, collect_verb)
