"""The program of a turn: started, fed, listened to, and reached by the user's signals.

It has a process group of its own, so a Ctrl-C at the terminal reaches it only through us, once.
The first signal is passed on to the group; the next one, or five seconds after SIGTERM, kills
the group.
"""

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Sequence
from typing import IO

from ringbus._console import warn
from ringbus._signals import Signals, signal_name
from ringbus.events import Source
from ringbus.harness.streams import LINGER_SECONDS, PIECE, Publisher, Pump, Stream, widen

TERM_SECONDS = 5.0
POLL_SECONDS = 0.05


class Program:
    """One run of a program; its stdout and stderr go to `publisher` line by line."""

    def __init__(self, argv: Sequence[str], body: str | None, publisher: Publisher) -> None:
        self._argv = list(argv)
        self._has_body = body is not None
        self._unwritten = memoryview((body or "").encode())
        self._publisher = publisher
        self._process: subprocess.Popen[bytes] | None = None
        self._waiting_signals: list[int] = []
        self._passed_signals: list[int] = []
        self._kill_at: float | None = None

    def start(self) -> None:
        """OSError if the program cannot be started."""
        self._process = subprocess.Popen(
            self._argv,
            bufsize=0,
            stdin=subprocess.PIPE if self._has_body else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            process_group=0,
        )

    def run(self, signals: Signals) -> int:
        """Attends to the started program; returns its exit status, or -n after signal n.

        Reading stops one second after the exit though a grandchild may hold the pipes; what is
        in them by then is read.
        """
        if self._process is None:
            raise RuntimeError("the program has not been started")
        with self._process as process:
            try:
                self._attend(process, signals)
            except BaseException:
                _signal_group(process, signal.SIGKILL)
                raise
            return process.returncode

    def on_signal(self, number: int) -> None:
        """Passes a signal on once there is a program; comes between any two steps of `run`."""
        self._waiting_signals.append(number)
        if self._process is not None:
            self._pass_signals(self._process)

    def _attend(self, process: subprocess.Popen[bytes], signals: Signals) -> None:
        pump = self._connect(process)
        pump.watch(signals, signals.clear)
        self._pass_signals(process)
        while process.poll() is None:
            pump.wait(self._patience(signals))
            self._kill_if_due(process)
        pump.linger(LINGER_SECONDS)

    def _connect(self, process: subprocess.Popen[bytes]) -> Pump:
        pipes: list[tuple[IO[bytes] | None, Source]] = [
            (process.stdout, "stdout"),
            (process.stderr, "stderr"),
        ]
        streams = [
            Stream(pipe.fileno(), source, self._publisher)
            for pipe, source in pipes
            if pipe is not None
        ]
        for stream in streams:
            widen(stream.handle)
        pump = Pump(streams)
        if process.stdin is not None:
            os.set_blocking(process.stdin.fileno(), False)
            pump.watch(
                process.stdin, lambda: self._write_body(process, pump), selectors.EVENT_WRITE
            )
        return pump

    def _write_body(self, process: subprocess.Popen[bytes], pump: Pump) -> None:
        pipe = process.stdin
        if pipe is None:
            return
        try:
            self._unwritten = self._unwritten[os.write(pipe.fileno(), self._unwritten[:PIECE]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._unwritten = memoryview(b"")  # A program need not read its input.
        if not self._unwritten:
            pump.unwatch(pipe)
            pipe.close()

    def _patience(self, signals: Signals) -> float | None:
        if not signals.works:
            return POLL_SECONDS
        if self._kill_at is None:
            return None
        return max(self._kill_at - time.monotonic(), 0.0)

    def _kill_if_due(self, process: subprocess.Popen[bytes]) -> None:
        if self._kill_at is not None and time.monotonic() >= self._kill_at:
            self._kill_at = None
            _signal_group(process, signal.SIGKILL)

    def _pass_signals(self, process: subprocess.Popen[bytes]) -> None:
        while self._waiting_signals:
            number = self._waiting_signals.pop(0)
            _signal_group(process, self._signal_for(number))
            self._passed_signals.append(number)

    def _signal_for(self, number: int) -> int:
        """The signal that the program gets when we get this one."""
        if number in self._passed_signals or self._kill_at is not None:
            return signal.SIGKILL
        if number == signal.SIGINT:
            return signal.SIGINT
        self._kill_at = time.monotonic() + TERM_SECONDS
        return signal.SIGTERM


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    if process.returncode is not None:
        return  # Reaped: its number may be somebody else's by now.
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        process.send_signal(number)  # It moved to another group.
    except PermissionError:
        warn(f"{signal_name(number)} may not be sent to process {process.pid}: it has other rights")
