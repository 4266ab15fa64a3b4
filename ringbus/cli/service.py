"""Verbs that stay: demo, up, persist, serve."""

import signal
from pathlib import Path

import click

from ringbus import settings
from ringbus._console import warn
from ringbus._open_files import raise_limit
from ringbus.cli.options import (
    agents_option,
    allow_host_option,
    host_option,
    ignore_events_db,
    parent_option,
    port_option,
    state_folder,
    state_option,
    usage_errors,
)


@click.command()
@port_option
@state_option
@click.pass_context
def demo(context: click.Context, port: int, state: Path | None) -> None:
    """Show the whole system at work on a recorded agent.

    Prints the address of the page, and runs until Ctrl-C. The history goes to a temporary
    folder unless --state names one to keep.

    \b
    Example:
      ringbus demo --port 0
    """
    from ringbus.demo import run_demo

    ignore_events_db()
    context.exit(run_demo(port=port, state=state, on_url=print_url))


@click.command()
@agents_option
@host_option
@port_option
@allow_host_option
@state_option
@click.pass_context
def up(
    context: click.Context,
    *,
    agents: tuple[str, ...],
    host: str,
    port: int,
    allow_hosts: tuple[str, ...],
    state: Path | None,
) -> None:
    """Keep histories and the web page going, until Ctrl-C.

    Runs `ringbus persist` and `ringbus serve` as processes and starts one again that dies.
    Prints the address of the page.

    \b
    Example:
      ringbus up --port 8765
    """
    from ringbus.supervisor import up as keep_up

    ignore_events_db()
    status = keep_up(
        agents=agents,
        host=host,
        port=port,
        state=state_folder(state),
        allow_hosts=allow_hosts,
        on_url=print_url,
    )
    context.exit(status)


@click.command()
@agents_option
@click.option("--wait", is_flag=True, help="Wait where another persister serves, and take over.")
@state_option
# A Bus starts its persister with these.
@click.option("--automatic", is_flag=True, hidden=True)
@click.option("--database", type=click.Path(path_type=Path), hidden=True)
@parent_option
@click.pass_context
def persist(
    context: click.Context,
    *,
    agents: tuple[str, ...],
    wait: bool,
    state: Path | None,
    automatic: bool,
    database: Path | None,
    parent: int | None,
) -> None:
    """Write what agents emit to their histories, until Ctrl-C.

    \b
    Example:
      ringbus persist --agent reviewer
    """
    from ringbus.history.schema import share_page_memory
    from ringbus.persister import Persister
    from ringbus.persister.agent import Outcome

    follow_parent(parent)
    if database is None:
        ignore_events_db()
    with usage_errors():
        settings.retention()
    raise_limit()  # five files an agent
    share_page_memory()
    persister = Persister(
        agents or None, state_folder(state), database=database, wait=wait, automatic=automatic
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: persister.stop())
    ended = persister.run(
        lambda agent, who: warn(
            f"another persister serves {agent}; --wait waits for its place. It is {who}"
        )
    )
    if Outcome.TAKEN in ended.values() and not automatic:
        context.exit(1)


@click.command()
@host_option
@port_option
@allow_host_option
@state_option
@parent_option
def serve(
    *,
    host: str,
    port: int,
    allow_hosts: tuple[str, ...],
    state: Path | None,
    parent: int | None,
) -> None:
    """Serve the web page of all agents, until Ctrl-C.

    Prints its address, one line, when it can be opened. On another address than a loopback
    one it needs RINGBUS_TOKEN.

    \b
    Example:
      ringbus serve --port 0
    """
    from ringbus.web.guard import host_names
    from ringbus.web.server import serve as serve_pages

    follow_parent(parent)
    ignore_events_db()
    with usage_errors():
        names, token = host_names(allow_hosts), settings.token()
    if names and token is None:
        warn(
            "--allow-host without RINGBUS_TOKEN: whoever reaches a proxy in front of this server "
            "sees all agents; set it to a long secret"
        )
    serve_pages(host, port, state_folder(state), names, token, print_url)


def print_url(url: str) -> None:
    """The one line of a serving verb on stdout."""
    click.echo(url)


def follow_parent(parent: int | None) -> None:
    """Ends with the supervisor that started us, if one did."""
    if parent is not None:
        from ringbus.supervisor.service import end_with_parent

        end_with_parent(parent)


VERBS = (demo, up, persist, serve)
