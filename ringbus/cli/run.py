"""Verbs that emit: run, pipe, emit."""

import sys
from pathlib import Path

import click

from ringbus.cli.options import agent_option, state_option, turn_options, usage_errors


@click.command(context_settings={"allow_interspersed_args": False})
@agent_option
@turn_options
@state_option
@click.argument("command", nargs=-1, required=True, metavar="-- CMD...")
@click.pass_context
def run(
    context: click.Context,
    *,
    agent: str,
    from_: str,
    body: str | None,
    unread: int,
    keep_partial: bool,
    state: Path | None,
    command: tuple[str, ...],
) -> None:
    """Run a program as one turn of an agent.

    The program finds BODY on its standard input, or nothing. Each line it prints becomes a
    stream event if it is JSON, and a note otherwise; lines on stderr become notes. Ctrl-C
    interrupts the program, a second one kills it. The exit status is the program's, or 128+n
    if signal n killed it.

    \b
    Example:
      ringbus run --agent reviewer --from alice --body 'look at PR 7' -- \\
        claude -p --output-format stream-json --verbose
    """
    from ringbus.bus import Bus
    from ringbus.harness import run_turn

    with usage_errors():
        bus = Bus(agent, state=state)
    with bus:
        status = run_turn(
            bus, command, from_=from_, body=body, unread=unread, keep_partial=keep_partial
        )
    context.exit(status)


@click.command()
@agent_option
@turn_options
@click.option("--tee", is_flag=True, help="Copy standard input to standard output.")
@state_option
@click.pass_context
def pipe(
    context: click.Context,
    *,
    agent: str,
    from_: str,
    body: str | None,
    unread: int,
    keep_partial: bool,
    tee: bool,
    state: Path | None,
) -> None:
    """Take the lines on standard input as one turn of an agent.

    The turn is ok at the end of the input, and not ok if a signal ends it.

    \b
    Example:
      claude -p 'hello' --output-format stream-json --verbose | ringbus pipe --agent greeter
    """
    from ringbus.bus import Bus
    from ringbus.harness import pipe_turn

    with usage_errors():
        bus = Bus(agent, state=state)
    with bus:
        status = pipe_turn(
            bus,
            sys.stdin.buffer,
            from_=from_,
            body=body,
            unread=unread,
            keep_partial=keep_partial,
            tee=sys.stdout.buffer if tee else None,
        )
    context.exit(status)


@click.command()
@agent_option
@state_option
@click.argument("text")
def emit(agent: str, state: Path | None, text: str) -> None:
    """Emit one note.

    \b
    Example:
      ringbus emit --agent reviewer 'deployed to staging'
    """
    from ringbus.bus import Bus
    from ringbus.events import Note

    with usage_errors():
        bus = Bus(agent, state=state)
    with bus:
        bus.emit(Note(text))


VERBS = (run, pipe, emit)
