"""A web server process for tests: started on a free port, asked, stopped."""

from __future__ import annotations

import contextlib
import http.client
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from turns import DEADLINE_SECONDS

_SERVE = """
import sys
from pathlib import Path
from ringbus.web.server import serve

host, port, state, token, *allow_hosts = sys.argv[1:]
serve(host, int(port), Path(state), allow_hosts, token or None, lambda url: print(url, flush=True))
print("stopped", flush=True)
"""


@dataclass
class Server:
    """The process, and the address it printed; `end()` after a signal."""

    process: subprocess.Popen[str]
    url: str

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or 0

    def address(self, path: str) -> str:
        return self.url.rstrip("/") + path

    def open(self, path: str, **headers: str) -> http.client.HTTPResponse:
        """A GET whose body may still be coming; `with` closes the connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_SECONDS)
        # Then the socket is the response's, and goes with it.
        connection.request("GET", path, headers=headers | {"Connection": "close"})
        return connection.getresponse()

    def text(self, path: str) -> str:
        with self.open(path) as response:
            return response.read().decode()

    def workers(self) -> list[int]:
        """Its processes."""
        pid = self.process.pid
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def end(self) -> tuple[int, str, str]:
        """Waits for it: exit status, the rest of stdout, and stderr."""
        out, err = self.process.communicate(timeout=DEADLINE_SECONDS)
        return self.process.returncode, out, err


def command(
    state: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    token: str = "",
    allow_hosts: Sequence[str] = (),
    before: str = "",
) -> list[str]:
    """The command line of a server on its own; `before` is code that it runs first."""
    return [sys.executable, "-c", before + _SERVE, host, str(port), str(state), token, *allow_hosts]


@contextlib.contextmanager
def serving(
    state: Path,
    *,
    port: int = 0,
    token: str = "",
    allow_hosts: Sequence[str] = (),
    before: str = "",
) -> Iterator[Server]:
    """A server that is ready; killed at the end unless it was stopped."""
    arguments = command(state, port=port, token=token, allow_hosts=allow_hosts, before=before)
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            if not url:
                _refuse(process)
            yield Server(process, url)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(DEADLINE_SECONDS)


def _refuse(process: subprocess.Popen[str]) -> None:
    """Says what the server said instead of its address."""
    _, err = process.communicate(timeout=DEADLINE_SECONDS)
    raise AssertionError(f"the server did not start: {err}")
