"""Reads the streams of a turn as they have something to give, and publishes their lines.

One thread waits for all of them: order within a stream is kept, no stream waits for another,
and nothing is read that the ring has not taken, apart from one piece.
"""

import array
import base64
import codecs
import fcntl
import os
import selectors
import termios
import time
from collections.abc import Callable, Iterable
from typing import Protocol

from ringbus._console import warn
from ringbus.bus import Bus
from ringbus.errors import BackPressure, RecordTooLarge, RingbusError
from ringbus.events import Event, Note, Source, TurnEnd, TurnStart
from ringbus.harness.lines import LineSplitter, LongLine, keep_line
from ringbus.history import lines_folder

PIECE = 256 << 10
PIPE_SIZE = 256 << 10
LINGER_SECONDS = 1.0
TURN_END_SECONDS = 5.0
RETRY_SECONDS = 0.05


def long_line_note(line: LongLine, head: bytes, source: Source) -> Note:
    """A note with the size of the line, its `head`, and the file that holds all of it."""
    reason = f"line of {line.size} bytes is longer than a record"
    if line.problem is not None:
        reason += f" and could not be kept whole: {line.problem}"
    file = None if line.file is None else str(line.file)
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        text = decoder.decode(head, final=len(head) == line.size)
    except UnicodeDecodeError:
        text = base64.b64encode(head).decode()
        return Note(text, source, reason, "base64", size=line.size, file=file)
    return Note(text, source, reason, size=line.size, file=file)


class Publisher:
    """Publishes what a turn is made of.

    A ring that refuses records never stops the turn: that is said once, and counted.
    """

    def __init__(self, bus: Bus, *, keep_partial: bool) -> None:
        self._bus = bus
        self._keep_partial = keep_partial
        self.folder = lines_folder(bus.database)
        self.refused = 0

    @property
    def max_line(self) -> int:
        return self._bus.max_line

    def begin(self, from_: str, body: str, unread: int) -> None:
        """Publishes the TurnStart, or raises RingbusError; a body too long for it is shortened."""
        shown = body
        while not self._fits(TurnStart(from_, shown, unread)):
            if not body:
                raise RecordTooLarge(f"the sender's name is too long: {from_[:100]!r}...")
            body = body[: len(body) // 2]
            shown = f"{body}\n[shortened]"

    def line(self, line: bytes | LongLine, source: Source) -> None:
        try:
            if isinstance(line, LongLine):
                self._emit_long(line, source)
            else:
                self._emit_short(line, source)
        except RingbusError as error:
            self._note_refusal(error)

    def note(self, note: Note) -> None:
        try:
            self._bus.emit(note)
        except RingbusError as error:
            self._note_refusal(error)

    def end(self, event: TurnEnd) -> None:
        """Publishes the TurnEnd; tries for five seconds: a turn without it looks busy for ever."""
        deadline = time.monotonic() + TURN_END_SECONDS
        while True:
            try:
                self._bus.emit(event)
                return
            except RingbusError as error:
                if not isinstance(error, BackPressure) or time.monotonic() >= deadline:
                    self._note_refusal(error)
                    return
            time.sleep(RETRY_SECONDS)

    def _emit_short(self, line: bytes, source: Source) -> None:
        try:
            self._bus.emit_line(line, source=source, keep_partial=self._keep_partial)
        except RecordTooLarge:
            # Escapes and base64 make a note longer than its line.
            self._emit_long(keep_line(line, self.folder), source)

    def _emit_long(self, line: LongLine, source: Source) -> None:
        head = line.head
        try:
            while not self._fits(long_line_note(line, head, source)):
                head = head[: len(head) // 2]
        except RingbusError:
            if line.file is not None:
                line.file.unlink(missing_ok=True)
            raise

    def _fits(self, event: Event) -> bool:
        try:
            self._bus.emit(event)
        except RecordTooLarge:
            return False
        return True

    def _note_refusal(self, error: RingbusError) -> None:
        self.refused += 1
        if self.refused == 1:
            warn(f"{error}; the turn goes on without being recorded")


class Stream:
    """One stream of bytes; its lines go to `publisher` as they end."""

    def __init__(
        self,
        handle: int,
        source: Source,
        publisher: Publisher,
        copy: Callable[[bytes], None] | None = None,
    ) -> None:
        self.handle = handle
        self._source = source
        self._publisher = publisher
        self._copy = copy
        self._splitter = LineSplitter(publisher.max_line, publisher.folder)

    def read(self, size: int = PIECE) -> int:
        """Reads a piece and publishes the lines that end in it; its size, 0 at the stream's end."""
        piece = os.read(self.handle, size)
        self._publish(self._splitter.feed(piece))
        if self._copy is not None and piece:
            self._copy(piece)
        return len(piece)

    def read_rest(self) -> None:
        """Reads what a pipe holds now, and no more: somebody may go on writing for ever."""
        rest = min(_readable_bytes(self.handle), PIPE_SIZE)
        while rest > 0:
            size = self.read(min(rest, PIECE))
            if size == 0:
                return
            rest -= size

    def finish(self) -> None:
        """Publishes a last line without a newline."""
        self._publish(self._splitter.finish())

    def _publish(self, lines: Iterable[bytes | LongLine]) -> None:
        for line in lines:
            self._publisher.line(line, self._source)


class _Watched(Protocol):
    def fileno(self) -> int: ...


class Pump:
    """The streams of a turn, and whatever else may end the waiting for them."""

    def __init__(self, streams: Iterable[Stream]) -> None:
        # Not epoll: it refuses regular files, and standard input may be one.
        self._selector = selectors.PollSelector()
        self._open = list(streams)
        for stream in self._open:
            self._selector.register(stream.handle, selectors.EVENT_READ, stream)

    @property
    def is_open(self) -> bool:
        """Some stream has not ended yet."""
        return bool(self._open)

    def watch(
        self, file: int | _Watched, react: Callable[[], None], events: int = selectors.EVENT_READ
    ) -> None:
        """Calls `react` whenever `file` is ready."""
        self._selector.register(file, events, react)

    def unwatch(self, file: int | _Watched) -> None:
        self._selector.unregister(file)

    def wait(self, timeout: float | None) -> None:
        """Waits `timeout` seconds at most, and takes one piece of each stream that is ready."""
        for key, _ in self._selector.select(timeout):
            if not isinstance(key.data, Stream):
                key.data()
            elif key.data.read() == 0:
                self._end(key.data)

    def linger(self, seconds: float) -> None:
        """Goes on for `seconds` while a stream is open, then closes."""
        deadline = time.monotonic() + seconds
        while self._open and (left := deadline - time.monotonic()) > 0:
            self.wait(left)
        self.close()

    def close(self) -> None:
        """Reads what the streams hold now and publishes their last lines."""
        for stream in tuple(self._open):
            stream.read_rest()
            self._end(stream)
        self._selector.close()

    def _end(self, stream: Stream) -> None:
        self._selector.unregister(stream.handle)
        self._open.remove(stream)
        stream.finish()


def widen(handle: int) -> None:
    """Gives a pipe more room, so that a burst of lines takes fewer turns between the processes."""
    try:
        fcntl.fcntl(handle, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
    except OSError:
        return  # No pipe, or the user's pipes hold all they may: it works as it is.


def _readable_bytes(handle: int) -> int:
    count = array.array("i", [0])
    try:
        fcntl.ioctl(handle, termios.FIONREAD, count)
    except OSError:
        return 0  # A device that cannot tell, such as /dev/zero.
    return count[0]
