"""The turn of a stream that somebody else fills: standard input, copied on the way if asked."""

import os
import select
import time
from typing import BinaryIO

from ringbus._signals import Signals
from ringbus.harness.streams import LINGER_SECONDS, Publisher, Pump, Stream, widen


class _Stopped(Exception):
    """A signal came while the copy was stuck."""


class PipedTurn:
    """Reads `source` to its end or to a signal. Lines are published before bytes go to `tee`."""

    def __init__(self, source: BinaryIO, publisher: Publisher, tee: BinaryIO | None) -> None:
        self._stream = Stream(
            source.fileno(), "stdout", publisher, None if tee is None else self._copy
        )
        self._tee = -1 if tee is None else tee.fileno()
        self._is_copying = False
        self._signals: list[int] = []
        self._stop_at: float | None = None

    def run(self, signals: Signals) -> int:
        """Returns 0 at the end of the stream, or the number of the signal that ended the turn."""
        widen(self._stream.handle)
        pump = Pump([self._stream])
        pump.watch(signals, signals.clear)
        while pump.is_open and self._time_left() != 0:
            pump.wait(self._time_left())
        pump.close()
        return self._signals[0] if self._signals else 0

    def on_signal(self, number: int) -> None:
        """Ends the turn in a second, next time at once; comes between any two steps of `run`."""
        now = time.monotonic()
        self._stop_at = now if self._signals else now + LINGER_SECONDS
        self._signals.append(number)
        if self._is_copying:
            self._is_copying = False
            raise _Stopped

    def _time_left(self) -> float | None:
        return None if self._stop_at is None else max(self._stop_at - time.monotonic(), 0.0)

    def _copy(self, piece: bytes) -> None:
        """Copies a piece to `tee`, until its reader has gone or is stuck at the end of the turn."""
        if self._tee < 0:
            return
        try:
            try:
                self._is_copying = True
                self._write(memoryview(piece))
            finally:
                self._is_copying = False
        except (_Stopped, BrokenPipeError):
            self._tee = -1

    def _write(self, rest: memoryview) -> None:
        while rest:
            part = rest
            if self._signals:
                # No signal need come any more to free us, so nothing here may block.
                part = rest[: select.PIPE_BUF]
                if not select.select([], [self._tee], [], self._time_left())[1]:
                    raise _Stopped
            rest = rest[os.write(self._tee, part) :]
