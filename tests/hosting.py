"""Other servers and proxies for the pages, set up by the very texts of ringbus/web/README.md."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from missing import go_without
from turns import DEADLINE_SECONDS, wait_until

README = Path(__file__).resolve().parent.parent / "ringbus/web/README.md"


def texts_of(language: str) -> list[str]:
    """The examples in that language."""
    return re.findall(rf"^```{language}\n(.*?)^```", README.read_text(), re.DOTALL | re.MULTILINE)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@dataclass
class Hosted:
    """A process that answers on a port of this machine, called by `host`."""

    process: subprocess.Popen[bytes]
    port: int
    host: str
    log: Path

    def open(
        self, path: str, method: str = "GET", body: str | None = None, **headers: str
    ) -> http.client.HTTPResponse:
        """A request whose answer may still be coming; `with` closes the connection."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_SECONDS)
        own = {"Host": self.host, "Connection": "close"}
        connection.request(method, path, body, own | named)
        return connection.getresponse()

    def text(self, path: str, **headers: str) -> str:
        with self.open(path, **headers) as response:
            return response.read().decode()

    def stop(self, number: int) -> int:
        """Ends it; its exit status."""
        self.process.send_signal(number)
        return self.process.wait(DEADLINE_SECONDS)


@contextlib.contextmanager
def hosted(
    arguments: Sequence[str], port: int, folder: Path, host: str = "", **variables: str
) -> Iterator[Hosted]:
    """The program, once it listens; killed at the end with all that it started."""
    log = folder / f"{Path(arguments[0]).name}.log"
    with (
        log.open("ab") as file,
        subprocess.Popen(
            arguments,
            cwd=folder,
            stdout=file,
            stderr=file,
            env=os.environ | variables,
            start_new_session=True,
        ) as process,
    ):
        try:
            wait_until(lambda: listens(port) or process.poll() is not None, f"port {port}")
            assert process.poll() is None, log.read_text()
            yield Hosted(process, port, host or f"127.0.0.1:{port}", log)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)


def listens(port: int) -> bool:
    """Whether somebody takes connections there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def program(name: str, package: str) -> str:
    """Where it is."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if path is None:
        go_without(f"there is no {name}: apt install {package}")
    return path


def events(response: http.client.HTTPResponse) -> Iterator[tuple[str, str]]:
    """Id and text of the notes that a stream brings, as soon as they are there."""
    id_ = ""
    while line := response.readline().decode():
        name, _, value = line.rstrip("\n").partition(": ")
        if name == "id":
            id_ = value
        elif name == "data":
            yield id_, json.loads(value).get("text", "")


# --- servers ------------------------------------------------------------------------------


def python(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", *arguments]


@contextlib.contextmanager
def flask_server(folder: Path, port: int, **variables: str) -> Iterator[Hosted]:
    """Flask's own."""
    with hosted(
        [*python("flask", "--app", "app:app", "run", "--port", str(port))],
        port,
        folder,
        **variables,
    ) as server:
        yield server


@contextlib.contextmanager
def gunicorn_server(folder: Path, port: int, **variables: str) -> Iterator[Hosted]:
    """gunicorn with our worker."""
    text = next(text for text in texts_of("python") if "worker_class" in text)
    (folder / "gunicorn.conf.py").write_text(text.replace("8765", str(port)))
    arguments = python("gunicorn", "-c", "gunicorn.conf.py", "app:app")
    with hosted(arguments, port, folder, **variables) as server:
        yield server


@contextlib.contextmanager
def waitress_server(folder: Path, port: int, **variables: str) -> Iterator[Hosted]:
    """waitress."""
    (text,) = (text for text in texts_of("sh") if "waitress-serve" in text)
    _, *arguments = shlex.split(text.replace("8765", str(port)))
    with hosted(python("waitress", *arguments), port, folder, **variables) as server:
        yield server


# --- proxies ------------------------------------------------------------------------------

HOST = "agents.example"

Change: TypeAlias = tuple[str, str]
NONE: Change = ("", "")

# What a whole configuration has around the text, so that it runs in a folder of its own.
_NGINX = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{text}
}}
"""


@contextlib.contextmanager
def nginx(folder: Path, port: int, to: int, change: Change = NONE) -> Iterator[Hosted]:
    """nginx on `port`, in front of a server."""
    path = program("nginx", "nginx-light")
    (text,) = texts_of("nginx")
    configuration = folder / "nginx.conf"
    configuration.write_text(_NGINX.format(folder=folder, text=_moved(text, port, to, change)))
    arguments = [path, "-c", str(configuration), "-p", str(folder), "-e", "stderr"]
    with hosted(arguments, port, folder, f"{HOST}:{port}") as proxy:
        yield proxy


@contextlib.contextmanager
def haproxy(folder: Path, port: int, to: int, change: Change = NONE) -> Iterator[Hosted]:
    """HAProxy on `port`, in front of a server."""
    path = program("haproxy", "haproxy")
    (text,) = texts_of("haproxy")
    configuration = folder / "haproxy.cfg"
    configuration.write_text(_moved(text, port, to, change))
    arguments = [path, "-db", "-f", str(configuration)]
    with hosted(arguments, port, folder, f"{HOST}:{port}") as proxy:
        yield proxy


def _moved(text: str, port: int, to: int, change: Change) -> str:
    """The text with other ports, and with the change, which is of its words."""
    assert "8080" in text
    assert "127.0.0.1:8765" in text
    moved = text.replace("8080", str(port)).replace("127.0.0.1:8765", f"127.0.0.1:{to}")
    assert change[0] in moved
    return moved.replace(*change)
