"""The command line: which scenarios, how long, and what becomes of their results."""

from __future__ import annotations

import os
from importlib import import_module

import click

from benchmarks import report
from benchmarks.environment import environment
from benchmarks.harness import Options, Scenario, WrongResultError
from benchmarks.output import Outcome, Printer, as_json, outcome_data, warn
from benchmarks.peers import PEERS

# In this order; a new scenario is a module with a SCENARIO, and its name here.
NAMES = (
    "emit_alone",
    "emit_against_peers",
    "emit_beside_busy_thread",
    "emit_beside_persister",
    "emit_that_is_stored",
    "one_to_one_throughput",
    "one_to_three_throughput",
    "four_to_one_throughput",
    "fixed_rate_latency",
    "lapped_subscriber",
    "emit_many",
    "follow",
    "harness_lines",
    "idle_reader",
    "persister_throughput",
    "persister_latency",
    "sweep_pause",
    "history_pages",
    "idle_cost",
    "idle_agents",
    "sse_fanout",
    "page_100000_events",
)


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(NAMES), metavar="[NAME]...")
@click.option("as_data", "--json", is_flag=True, help="One JSON object instead of tables.")
@click.option("--quick", is_flag=True, help="Only show that all works; the numbers say little.")
@click.option(
    "--plot", is_flag=True, help="Keep the results too, and make plots and README's tables anew."
)
@click.option("--redraw", is_flag=True, help="Only make those anew, from the results kept.")
@click.option(
    "--peer",
    "peers",
    multiple=True,
    type=click.Choice([peer.name for peer in PEERS]),
    metavar="NAME",
    help="Compare with this alone; may be given several times.",
)
@click.pass_context
def main(
    context: click.Context,
    *,
    names: tuple[str, ...],
    as_data: bool,
    quick: bool,
    plot: bool,
    redraw: bool,
    peers: tuple[str, ...],
) -> None:
    """Measure ringbus, beside what people would use instead.

    Without a NAME all scenarios run. Exits with 1 if one delivered a wrong or short result;
    a missed target is told, and is no failure.
    """
    if redraw:
        report.draw(NAMES)
        return
    options, record, printer = Options(quick=quick, peers=peers), environment(), Printer()
    if not as_data:
        printer.environment(record)
    outcomes = []
    for name in names or NAMES:
        outcome = run_one(name, options)
        outcomes.append(outcome)
        if not as_data:
            printer.outcome(outcome)
        if plot:  # at once: a whole pass takes long, and may be ended
            report.keep(record, outcome_data(outcome))
    if as_data:
        click.echo(as_json(record, options, outcomes))
    if plot:
        report.draw(NAMES)
    context.exit(any(outcome.result is None or outcome.result.failures for outcome in outcomes))


def run_one(name: str, options: Options) -> Outcome:
    """Runs a scenario; a wrong result becomes an outcome without numbers."""
    scenario: Scenario = import_module(f"benchmarks.{name}").SCENARIO
    cores = len(os.sched_getaffinity(0))
    if cores < scenario.cores:
        warn(f"{name} needs {scenario.cores} cores and has {cores}: its numbers are too low")
    try:
        return Outcome(name, scenario, scenario.run(options))
    except WrongResultError as error:
        warn(f"{name} failed: {error}")
        return Outcome(name, scenario, None, str(error))
