"""One turn: lines in, events out.

`run_turn` starts a program and publishes what it prints; `pipe_turn` does so with a stream that
somebody else fills. Both publish exactly one TurnStart and one TurnEnd, whatever happens in
between: a signal, a program that cannot be started, a ring that was removed.
"""

from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import BinaryIO

from ringbus._console import warn
from ringbus._signals import Signals, signal_name
from ringbus.bus import Bus
from ringbus.errors import RingbusError
from ringbus.events import Note, TurnEnd
from ringbus.harness.piped import PipedTurn
from ringbus.harness.program import Program
from ringbus.harness.streams import Publisher

STORE_SECONDS = 5.0

EXIT_FAILED = 1
EXIT_CANNOT_RUN = 126
EXIT_NOT_FOUND = 127
EXIT_SIGNAL = 128


def run_turn(
    bus: Bus,
    argv: Sequence[str],
    *,
    from_: str = "operator",
    body: str | None = None,
    unread: int = 0,
    keep_partial: bool = False,
) -> int:
    """Runs a program as one turn of the agent and returns its exit status as a shell would say it.

    Blocks until the program has exited, at most one second longer while a grandchild holds its
    output, and then at most five seconds until all is stored. `body` is what the program finds
    on its standard input, nothing without. Returns 128+n when signal n killed it, 127 or 126
    when it could not be started, and 1 in place of 0 when the ring refused a record. In the
    main thread SIGINT and SIGTERM are passed on to the program's process group; in other
    threads signals are left alone. Raises RingbusError, with nothing started, if the ring does
    not take the TurnStart.
    """
    publisher = Publisher(bus, keep_partial=keep_partial)
    program = Program(argv, body, publisher)

    def act() -> tuple[int, TurnEnd]:
        try:
            program.start()
        except OSError as error:
            return _not_started(argv[0], error)
        return _exited(argv[0], program.run(signals), publisher)

    with Signals(program.on_signal, starts_programs=True) as signals:
        publisher.begin(from_, body or "", unread)
        status = _to_its_end(act, publisher)
    return _after_turn(bus, publisher, status)


def pipe_turn(
    bus: Bus,
    source: BinaryIO,
    *,
    from_: str = "operator",
    body: str | None = None,
    unread: int = 0,
    keep_partial: bool = False,
    tee: BinaryIO | None = None,
) -> int:
    """Publishes the lines of a file as one turn; returns 0 at its end, 128+n after signal n.

    `source` needs a file descriptor, and nothing of it may have been read ahead. Its bytes are
    copied to `tee`, until that is closed at its other end. After a signal reading goes on for a
    second, for what programs in the same pipeline still have to say; the next signal ends it.
    Otherwise as `run_turn`.
    """
    publisher = Publisher(bus, keep_partial=keep_partial)
    turn = PipedTurn(source, publisher, tee)

    def act() -> tuple[int, TurnEnd]:
        return _piped(turn.run(signals))

    with Signals(turn.on_signal) as signals:
        publisher.begin(from_, body or "", unread)
        status = _to_its_end(act, publisher)
    return _after_turn(bus, publisher, status)


def _to_its_end(act: Callable[[], tuple[int, TurnEnd]], publisher: Publisher) -> int:
    """Publishes the TurnEnd that `act` returns, or one in its place when it fails."""
    try:
        status, end = act()
    except BaseException as error:
        publisher.end(TurnEnd(ok=False, note=f"harness failed: {error!r}"))
        raise
    publisher.end(end)
    return status


def _after_turn(bus: Bus, publisher: Publisher, status: int) -> int:
    try:
        is_stored = bus.wait_stored(STORE_SECONDS)
    except (KeyboardInterrupt, RingbusError):
        is_stored = False
    if not is_stored:
        warn(f"the history of agent {bus.name} does not hold all of this turn yet")
    if publisher.refused:
        warn(f"{publisher.refused} records of this turn were not published")
        return status or EXIT_FAILED
    return status


def _not_started(name: str, error: OSError) -> tuple[int, TurnEnd]:
    reason = f"cannot start {name}: {error.strerror}"
    warn(reason)
    is_missing = isinstance(error, FileNotFoundError)
    return EXIT_NOT_FOUND if is_missing else EXIT_CANNOT_RUN, TurnEnd(ok=False, note=reason)


def _exited(name: str, returncode: int, publisher: Publisher) -> tuple[int, TurnEnd]:
    if returncode < 0:
        ending = f"killed by {signal_name(-returncode)}"
        status, note = EXIT_SIGNAL - returncode, ending
    else:
        ending = f"exited {returncode}"
        status, note = returncode, f"exit status {returncode}"
    publisher.note(Note(f"{PurePath(name).name} {ending}"))
    return status, TurnEnd(ok=status == 0, note=None if status == 0 else note)


def _piped(number: int) -> tuple[int, TurnEnd]:
    if number == 0:
        return 0, TurnEnd(ok=True)
    return EXIT_SIGNAL + number, TurnEnd(ok=False, note=f"ended by {signal_name(number)}")
