"""Tools for tests with real processes: children, deadlines, payloads that prove themselves."""

from __future__ import annotations

import os
import select
import signal
import struct
import threading
import time
import traceback
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ringbus import BackPressure, Lapped, Record, Ring, Subscriber

DEADLINE = 60.0  # seconds; generous, because nothing passes by being slow

HEAD = struct.Struct("<IIQ")  # crc of the rest, emitter, number


def wait_until(condition: Callable[[], object], deadline: float = DEADLINE) -> None:
    """Looks again and again until the condition holds; fails after the deadline."""
    end = time.monotonic() + deadline
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not so within {deadline} s: {condition}")
        time.sleep(0.002)


def payload(emitter: int, number: int, size: int) -> bytes:
    """`size` bytes (16 at least) that prove themselves, see `check()`."""
    pattern = bytes((emitter + number + i) & 0xFF for i in range(251))
    rest = (struct.pack("<IQ", emitter, number) + pattern * (size // 251 + 1))[: size - 4]
    return struct.pack("<I", zlib.crc32(rest)) + rest


def check(data: bytes) -> tuple[int, int]:
    """The emitter and number of a payload whose bytes are those that were emitted."""
    crc, emitter, number = HEAD.unpack_from(data)
    assert zlib.crc32(data[4:]) == crc, f"a torn record of {len(data)} bytes: {data[:40]!r}"
    return emitter, number


def fill(ring: Ring, laps: float, size: int = 200) -> int:
    """Emits until so many times the ring's size is out; returns the number of records."""
    count = int(laps * ring.size / size) + 1
    for number in range(count):
        ring.emit(payload(0, number, size))
    return count


def fill_to_the_gate(ring: Ring, size: int = 500) -> int:
    """Emits until a gate is in the way; returns the tail."""
    with Ring.open(ring.name, policy="fail") as other:
        for number in range(100_000):
            try:
                other.emit(payload(1, number, size))
            except BackPressure:
                return ring.tail
    raise AssertionError("no gate was in the way")


def read_all(subscriber: Subscriber) -> tuple[list[Record], int]:
    """What can be read now, and how many records were reported as missed."""
    records: list[Record] = []
    missed = 0
    while True:
        try:
            more = subscriber.read(timeout=0)
        except Lapped as lapped:
            missed += lapped.missed
            continue
        if not more:
            return records, missed
        records += more


def seqs(records: Iterable[Record]) -> list[int]:
    return [record.seq for record in records]


class Child:
    """A forked process that runs `function(child)`; killed at the end, whatever happens.

    In the child `say()` sends a line and `hear()` waits for one; in the parent `said()` waits for
    the next line and `tell()` sends one.
    """

    def __init__(self, function: Callable[[Child], object]) -> None:
        up, down = os.pipe(), os.pipe()
        self._said = b""
        self.status: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            self._in, self._out = down[0], up[1]
            self._run(function)
        self._in, self._out = up[0], down[1]
        os.close(up[1])
        os.close(down[0])

    def _run(self, function: Callable[[Child], object]) -> None:
        status = 1
        try:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            function(self)
            status = 0
        except BaseException:  # noqa: BLE001  the parent shows it
            self.say("failed: " + traceback.format_exc().replace("\n", "\r"))
        finally:
            os._exit(status)

    def say(self, text: object = "") -> None:
        os.write(self._out, f"{text}\n".encode())

    tell = say

    def _line(self, deadline: float) -> str:
        end = time.monotonic() + deadline
        while b"\n" not in self._said:
            readable, _, _ = select.select([self._in], [], [], max(0, end - time.monotonic()))
            assert readable, f"nothing said within {deadline} s"
            piece = os.read(self._in, 1 << 16)
            assert piece, "the other side is gone"
            self._said += piece
        line, self._said = self._said.split(b"\n", 1)
        return line.decode()

    def hear(self, deadline: float = 60) -> str:
        return self._line(deadline)

    def said(self, deadline: float = DEADLINE) -> str:
        line = self._line(deadline)
        assert not line.startswith("failed: "), line.replace("\r", "\n")
        return line

    def is_asleep(self) -> bool:
        """Whether it sleeps in the kernel."""
        return Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "S"

    def stop(self) -> None:
        """SIGSTOP, and returns when it stands still."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitpid(self.pid, os.WUNTRACED)

    def go_on(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def interrupt(self) -> None:
        os.kill(self.pid, signal.SIGINT)

    def kill(self) -> None:
        """SIGKILL, and returns when it is dead; again is fine."""
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            self.status = os.waitpid(self.pid, 0)[1]

    def end(self) -> None:
        """Waits for its end, which is a good one or its own SIGKILL."""
        self.status = os.waitpid(self.pid, 0)[1]
        assert self.status in (0, signal.SIGKILL), self._last_words()

    def finish(self, deadline: float = DEADLINE) -> None:
        """Waits for its end, which must be a good one."""

        def has_ended() -> bool:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = status
            return pid != 0

        if self.status is None:
            wait_until(has_ended, deadline)
        assert self.status == 0, self._last_words()

    def _last_words(self) -> str:
        os.set_blocking(self._in, False)
        try:
            rest = os.read(self._in, 1 << 16)
        except BlockingIOError:
            rest = b""
        return f"status {self.status}: " + (self._said + rest).decode().replace("\r", "\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
        os.close(self._in)
        os.close(self._out)


def is_asleep(thread: threading.Thread) -> bool:
    """Whether the thread sleeps in the kernel, in a futex."""
    try:
        with open(f"/proc/self/task/{thread.native_id}/syscall") as file:  # noqa: PTH123
            return file.read().split()[0] in {"202", "98"}
    except FileNotFoundError:
        return False


def all_free(ring: Ring) -> bool:
    """No emitter has a block."""
    stats = ring.stats()
    return stats.blocks_free == stats.blocks


def run_all(functions: Iterable[Callable[[Child], Any]], deadline: float = 60) -> None:
    """Runs them at the same time, each in a process of its own; all must end well."""
    children = [Child(function) for function in functions]
    try:
        for child in children:
            child.finish(deadline)
    finally:
        for child in children:
            child.__exit__(None, None, None)


def block_size(ring: Ring) -> int:
    """In bytes."""
    return ring.size // ring.stats().blocks
