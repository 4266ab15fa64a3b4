"""Splits a byte stream into lines, in bounded memory.

Pieces go in, lines come out in order, each without its newline. A line longer than `limit` is
written to a file as it streams in and comes out as a `LongLine`: its head, its size and that
file. So a line of a gigabyte costs the memory of `limit` and one piece.
"""

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

HEAD_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class LongLine:
    """A line that no record holds: its first bytes, its size in bytes, and the file that holds
    all of it.

    `file` is None where it could not be written; `problem` says why.
    """

    head: bytes
    size: int
    file: Path | None
    problem: str | None = None


def keep_line(line: bytes, folder: Path) -> LongLine:
    """Writes a line that is already in memory to a file in `folder`."""
    keeper = _LineKeeper(folder)
    keeper.write(line)
    return keeper.finish()


class LineSplitter:
    """Cuts the pieces of a stream into lines; those over `limit` bytes go to files in `folder`."""

    def __init__(self, limit: int, folder: Path) -> None:
        self._limit = limit
        self._folder = folder
        self._begun: list[bytes] = []
        self._begun_size = 0
        self._keeper: _LineKeeper | None = None

    def feed(self, piece: bytes) -> Iterator[bytes | LongLine]:
        """The lines that end in `piece`. Go through all of them before the next call."""
        first, *others = piece.split(b"\n")
        self._add(first)
        if not others:
            return
        yield self._end_line()
        last = others.pop()
        for line in others:
            yield line if len(line) <= self._limit else keep_line(line, self._folder)
        self._add(last)

    def finish(self) -> Iterator[bytes | LongLine]:
        """The last line, where the stream ended without a newline."""
        if self._begun or self._keeper is not None:
            yield self._end_line()

    def _add(self, part: bytes) -> None:
        if self._keeper is not None:
            self._keeper.write(part)
        elif part:
            self._begun.append(part)
            self._begun_size += len(part)
            if self._begun_size > self._limit:
                self._move_to_file()

    def _move_to_file(self) -> None:
        self._keeper = _LineKeeper(self._folder)
        for part in self._begun:
            self._keeper.write(part)
        self._begun.clear()

    def _end_line(self) -> bytes | LongLine:
        keeper, self._keeper = self._keeper, None
        line = b"".join(self._begun) if keeper is None else keeper.finish()
        self._begun.clear()
        self._begun_size = 0
        return line


class _LineKeeper:
    """One over-long line on its way into a file.

    A disk that takes no more ends the file, never the stream.
    """

    def __init__(self, folder: Path) -> None:
        self._head = b""
        self._size = 0
        self._path: Path | None = None
        self._file: BinaryIO | None = None
        self._problem: str | None = None
        try:
            self._open(folder)
        except OSError as error:
            self._give_up(error)

    def _open(self, folder: Path) -> None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder, prefix="", suffix=".line")
        self._path = Path(name)
        self._file = os.fdopen(handle, "wb")

    def write(self, part: bytes) -> None:
        self._size += len(part)
        if len(self._head) < HEAD_BYTES:
            self._head += part[: HEAD_BYTES - len(self._head)]
        if self._file is not None:
            try:
                self._file.write(part)
            except OSError as error:
                self._give_up(error)

    def finish(self) -> LongLine:
        if self._file is not None:
            try:
                self._file.close()
            except OSError as error:
                self._give_up(error)
        return LongLine(self._head, self._size, self._path, self._problem)

    def _give_up(self, error: OSError) -> None:
        self._problem = error.strerror or str(error)
        file, self._file = self._file, None
        path, self._path = self._path, None
        if path is not None:
            path.unlink(missing_ok=True)
        if file is not None:
            _close_unflushed(file)


def _close_unflushed(file: BinaryIO) -> None:
    """Closes a file that refused bytes: it still buffers some, and refuses them once more."""
    try:
        file.close()
    except OSError:
        return
