"""The command line: arguments, printing, exit statuses. Data go to stdout, talk to stderr.

What a verb needs is imported when it runs, so that `ringbus run` does not wait for the web.
"""

import os
import signal
import sys
from typing import Any

import click

from ringbus._console import warn
from ringbus.cli import rings, run, service, sql, transfer, watch
from ringbus.errors import RingbusError

EPILOG = """\b
Exit status: 0 fine, 1 failed, 2 wrong usage; `run` ends with the status of its program.

\b
Environment, where an empty value counts as unset:
  RINGBUS_STATE          folder of the histories (default ~/.local/state/ringbus)
  RINGBUS_EVENTS_DB      history file of the one agent that run, pipe and emit write
  HYPERHIVE_EVENTS_DB    the same, if RINGBUS_EVENTS_DB is unset
  RINGBUS_HISTORY        rows that a history keeps (default 10000000)
  RINGBUS_HISTORY_DAYS   days that it keeps (default 30)
  RINGBUS_HISTORY_BYTES  bytes that it keeps (default 2G)
  RINGBUS_SIZE           bytes of a new ring, a power of two (default 4M)
  RINGBUS_MODE           its permissions in octal: 640 lets its group read (default 600)
  RINGBUS_GROUP          its group, by name or number (default: the user's own)
  RINGBUS_POLICY         block, drop or fail: when the history is a whole ring behind
  RINGBUS_TOKEN          what the web page asks of browsers on other machines
"""


class Failure(click.ClickException):
    """Something that did not work: one line on stderr, exit status 1."""

    def show(self, file: Any = None) -> None:
        del file
        warn(self.message)


class Verbs(click.Group):
    """The verbs; what the layers below raise becomes one line and an exit status here."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except BrokenPipeError:
            _leave_stdout()
            ctx.exit(0)
        except KeyboardInterrupt:
            ctx.exit(128 + signal.SIGINT)
        except (RingbusError, OSError) as error:
            raise Failure(str(error)) from error


@click.group(cls=Verbs, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ringbus")
def cli() -> None:
    """A shared-memory event ring for many processes, with a history and a live page per agent.

    \b
    Try it:
      ringbus demo
      ringbus up &
      ringbus run --agent my-agent -- claude -p 'hello' --output-format stream-json --verbose
    """


for verbs in (run, watch, service, rings, sql, transfer):
    for verb in verbs.VERBS:
        cli.add_command(verb)


def main() -> None:
    """The console script."""
    _fill_standard_files()
    cli(prog_name="ringbus")


def _fill_standard_files() -> None:
    """Opens those of 0, 1 and 2 that are closed.

    A ring or a database would get their numbers, and then what is meant for the terminal.
    """
    for handle in range(3):
        try:
            os.fstat(handle)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def _leave_stdout() -> None:
    """Whoever read it has gone; what is still buffered must not be tried again at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
