"""Options that several verbs share, and the checks of what they are given."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from ringbus import settings
from ringbus._console import warn

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8765

Function = TypeVar("Function", bound=Callable[..., Any])
Decorator = Callable[[Function], Function]


@contextmanager
def usage_errors() -> Iterator[None]:
    """A setting with a bad value is wrong usage, wherever it is read."""
    try:
        yield
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def state_folder(state: Path | None) -> Path:
    """The folder that `--state` names, or the environment, or the user's own."""
    with usage_errors():
        return settings.state_dir(state)


def ignore_events_db() -> None:
    """One file cannot be the history of many agents: says so, once, if a variable names one."""
    with usage_errors():
        path = settings.events_db_override()
    if path is not None:
        warn(f"{path} is ignored: RINGBUS_EVENTS_DB is for one agent, this serves many")


def _agent(_context: click.Context, _option: click.Parameter, value: str) -> str:
    try:
        return settings.check_agent_name(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _agents(
    context: click.Context, option: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...]:
    return tuple(_agent(context, option, value) for value in values)


def _text(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    try:
        (value or "").encode()
    except UnicodeEncodeError as error:
        raise click.BadParameter("this is not UTF-8") from error
    return value


agent_option = click.option(
    "--agent", required=True, metavar="NAME", callback=_agent, help="The agent."
)
agents_option = click.option(
    "--agent",
    "agents",
    multiple=True,
    metavar="NAME",
    callback=_agents,
    help="An agent to serve; may come many times. Default: all, later ones too.",
)
name_argument = click.argument("name", metavar="A", callback=_agent)
state_option = click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder of the histories. Default: $RINGBUS_STATE, else ~/.local/state/ringbus.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
host_option = click.option(
    "--host", default=DEFAULT_HOST, show_default=True, metavar="H", help="Address to listen on."
)
port_option = click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=DEFAULT_PORT,
    show_default=True,
    metavar="P",
    help="Port to listen on; 0 takes any free one.",
)
allow_host_option = click.option(
    "--allow-host",
    "allow_hosts",
    multiple=True,
    metavar="NAME",
    help="A name that browsers may call this server by; may come many times.",
)
# The supervisor's processes end with it.
parent_option = click.option("--parent", type=int, hidden=True)


def turn_options(function: Function) -> Function:
    """What a turn is about: `--from`, `--body`, `--unread`, `--keep-partial`."""
    options: list[Decorator[Function]] = [
        click.option(
            "--from",
            "from_",
            default="operator",
            show_default=True,
            metavar="WHO",
            callback=_text,
            help="Who sent the message that this turn answers.",
        ),
        click.option("--body", metavar="TEXT", callback=_text, help="The message."),
        click.option(
            "--unread",
            type=click.IntRange(min=0),
            default=0,
            metavar="N",
            help="How many other messages wait.",
        ),
        click.option(
            "--keep-partial",
            is_flag=True,
            help="Keep partial messages in the history too; else they are only shown live.",
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function
