"""One process that the supervisor keeps running: how it is started, noticed dead, and ended.

It leads a process group of its own, so a Ctrl-C at the terminal is the supervisor's to
translate. It ends with the supervisor whatever way that ends, because it asks the kernel for a
signal at its parent's death (`end_with_parent`).
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

FIRST_BACKOFF_SECONDS = 0.2
LONGEST_BACKOFF_SECONDS = 5.0
SETTLED_SECONDS = 30.0

READ_BYTES = 64 << 10
EXIT_USAGE = 2
PR_SET_PDEATHSIG = 1


def end_with_parent(parent: int) -> None:
    """Asks the kernel for SIGTERM when our parent dies.

    Exits if the parent is not process `parent` any more: it died before we could ask.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:
        sys.exit(0)


class Service:
    """A process to keep running: `python -P -m <module> <arguments> --parent <our pid>`."""

    def __init__(self, name: str, module: str, arguments: Sequence[str]) -> None:
        self.name = name
        self.start_at = 0.0
        self._module = module
        self._arguments = list(arguments)
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._backoff = FIRST_BACKOFF_SECONDS

    @property
    def is_running(self) -> bool:
        """It was started, and `take_death` has not told of its end."""
        return self._process is not None

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    @property
    def output(self) -> int | None:
        """A file to wait for, None if there is none: when it is readable, call `listen`."""
        if self._process is None or self._process.stdout is None:
            return None
        return self._process.stdout.fileno()

    def start(self) -> None:
        command = [sys.executable, "-P", "-m", self._module, *self.arguments()]
        self._process = subprocess.Popen(
            [*command, "--parent", str(os.getpid())],
            bufsize=0,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            process_group=0,
        )
        self._started_at = time.monotonic()

    def arguments(self) -> list[str]:
        return self._arguments

    def listen(self) -> None:
        """Reads what the process wrote to its stdout."""
        if self._process is None or self._process.stdout is None:
            return
        said = os.read(self._process.stdout.fileno(), READ_BYTES)
        if said:
            self.hear(said)
        else:
            self._process.stdout.close()
            self._process.stdout = None

    def hear(self, said: bytes) -> None:
        """Takes what `listen` read; most processes have nothing to say."""

    def take_death(self) -> int | None:
        """The return code of a process that has died, told once. Sets when it is to start again."""
        process = self._process
        if process is None or not _has_exited(process):
            return None
        # What it left behind in its group may still hold its port. It is not reaped yet, so the
        # number of the group cannot be somebody else's.
        os.killpg(process.pid, signal.SIGKILL)
        with process:
            status = process.wait()
        self._process = None
        self.put_off()
        return status

    def is_hopeless(self, status: int) -> bool:
        """It ended in a way that a new start would only repeat."""
        return status == EXIT_USAGE

    def terminate(self) -> None:
        if self._process is not None:
            self._process.terminate()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()

    def put_off(self) -> None:
        """Sets the time of the next start, further away each time."""
        now = time.monotonic()
        if now - self._started_at >= SETTLED_SECONDS:
            self._backoff = FIRST_BACKOFF_SECONDS
        self.start_at = now + self._backoff
        self._backoff = min(2 * self._backoff, LONGEST_BACKOFF_SECONDS)


class WebService(Service):
    """The web process. It says its address when it is ready, and keeps its port ever after.

    The address is told each time it is another: a login link lives as long as the process that
    made it.
    """

    def __init__(
        self,
        *,
        host: str,
        port: int,
        state: Path,
        allow_hosts: Sequence[str],
        on_url: Callable[[str], None],
    ) -> None:
        arguments = ["serve", "--host", host, "--state", str(state)]
        for allowed in allow_hosts:
            arguments += ["--allow-host", allowed]
        super().__init__("web", "ringbus", arguments)
        self._port = port
        self._on_url = on_url
        self._url: str | None = None
        self._said = b""

    def start(self) -> None:
        self._said = b""  # half a line of one that died
        super().start()

    def arguments(self) -> list[str]:
        return [*super().arguments(), "--port", str(self._port)]

    def hear(self, said: bytes) -> None:
        *lines, self._said = (self._said + said).split(b"\n")
        if lines and (url := lines[0].decode()) != self._url:
            self._port = urlsplit(url).port or self._port
            self._url = url
            self._on_url(url)

    def is_hopeless(self, status: int) -> bool:
        # It never got as far as its address: the port is taken, or the address is not ours.
        return super().is_hopeless(status) or (status > 0 and self._url is None)


def persister_service(agents: Sequence[str], state: Path) -> Service:
    """The persister of `agents`, of all if none is named; takes over from one that runs."""
    arguments = ["persist", "--wait", "--state", str(state)]
    for agent in agents:
        arguments += ["--agent", agent]
    return Service("persister", "ringbus", arguments)


def _has_exited(process: subprocess.Popen[bytes]) -> bool:
    """Without reaping it."""
    flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PID, process.pid, flags) is not None
