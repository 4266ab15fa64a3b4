"""Processes that take part in a run: fresh interpreters, each on a core of its own.

A child talks with us through a pipe. What goes wrong in it fails the run, and so does silence.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.harness import WrongResultError, pin

CONTEXT = multiprocessing.get_context("spawn")
PATIENCE = 30.0  # seconds


class Failure(str):
    """The traceback of a child."""

    __slots__ = ()


class Child:
    """Runs `body(link, *arguments)` in a process, on the n-th core if `core` says so."""

    def __init__(
        self, body: Callable[..., None], *arguments: object, core: int | None = None
    ) -> None:
        self.link, theirs = CONTEXT.Pipe()
        self._process = CONTEXT.Process(
            target=_run, args=(body, theirs, core, arguments), daemon=True
        )
        self._process.start()
        theirs.close()

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    def tell(self, what: object = None) -> None:
        self.link.send(what)

    def stop(self) -> None:
        """It stands still until `go_on()`."""
        os.kill(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def hear(self, patience: float = PATIENCE) -> Any:
        """The next thing it says."""
        if not self.link.poll(patience):
            raise WrongResultError(f"a process said nothing for {patience:.0f} s")
        try:
            said = self.link.recv()
        except EOFError:
            raise WrongResultError("a process ended before it was done") from None
        if isinstance(said, Failure):
            raise WrongResultError(said)
        return said

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self._process.kill()
        self._process.join()
        self.link.close()


def hear_each(children: Sequence[Child]) -> list[Any]:
    """The next thing that each says, in their order; what goes wrong in one fails at once."""
    said: dict[Connection, Any] = {}
    waiting = {child.link: child for child in children}
    while waiting:
        ready = wait(list(waiting), PATIENCE)
        if not ready:
            raise WrongResultError(f"{len(waiting)} processes said nothing for {PATIENCE:.0f} s")
        for link in ready:
            if isinstance(link, Connection):
                said[link] = waiting.pop(link).hear()
    return [said[child.link] for child in children]


def _run(
    body: Callable[..., None], link: Connection, core: int | None, arguments: tuple[object, ...]
) -> None:
    if core is not None:
        pin(core)
    try:
        body(link, *arguments)
    except BaseException:
        link.send(Failure(traceback.format_exc()))
        raise


def process_tree(root: int) -> dict[int, str]:
    """The process and all that descend from it: their ids and command lines."""
    parents: dict[int, int] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(status.parent.name)] = int(_fields(status)[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
    tree = [root]
    for pid in tree:
        tree += sorted(child for child, parent in parents.items() if parent == pid)
    return {pid: _command(pid) for pid in tree}


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time that the processes have used, those threads included that ended."""
    return sum(time.clock_gettime(_cpu_clock(pid)) for pid in pids)


def _cpu_clock(pid: int) -> int:
    """The id of the clock that counts a process's time, as clock_getcpuclockid(3) makes it."""
    return ~pid << 3 | 2


def private_bytes(pid: int) -> int:
    """Memory that is this process's alone: what would be free without it."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Private_"))


def wait_until(holds: Callable[[], object], what: str, *, every: float = 0.001) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > deadline:
            raise WrongResultError(f"never came: {what}")
        time.sleep(every)


def _fields(status: Path) -> list[str]:
    """The fields from the third on; the second, a name, may hold anything."""
    return status.read_text().rpartition(")")[2].split()


def _command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
