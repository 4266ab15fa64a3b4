"""Clients of event streams as people have them, and a line to the server that breaks.

Each client collects what it is given until the end is told. Those that do not connect again by
themselves are used as their documentation says: anew, with the id of the last event.
"""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

import httpx
import httpx_sse
import npm
import requests
import requests_sse
import sseclient
from missing import go_without
from turns import DEADLINE_SECONDS

if TYPE_CHECKING:
    from playwright.sync_api import Page

THE_END = "the end"
FOLDER = Path(__file__).parent / "clients"
NO_RETRIES = 0.05

Given = tuple[str, str, str]
"""Name, id and data of an event, as a client gives it."""


class Client(Protocol):
    """A client at work."""

    def given(self) -> list[Given]:
        """What it has been given so far."""


# --- from PyPI ----------------------------------------------------------------------------


class Torn(Exception):
    """The client gave an event that was cut off, which the standard forbids."""


class Reader:
    """A thread that reads with a Python client."""

    def __init__(self, url: str, read: Callable[[str, Reader], None]) -> None:
        self.events: list[Given] = []
        self._read = read
        self._thread = threading.Thread(target=self._run, args=(url,), daemon=True)
        self._thread.start()

    @property
    def is_over(self) -> bool:
        return bool(self.events) and f'"{THE_END}"' in self.events[-1][2]

    @property
    def headers(self) -> dict[str, str]:
        return {"Last-Event-ID": self.events[-1][1]} if self.events else {}

    def given(self) -> list[Given]:
        return list(self.events)

    def take(self, name: str, id_: str, data: str) -> bool:
        """Whether it goes on."""
        self.events.append((name, id_, data))
        return not self.is_over

    def _run(self, url: str) -> None:
        while not self.is_over:
            with contextlib.suppress(requests.RequestException, httpx.TransportError, Torn):
                self._read(url, self)
            time.sleep(NO_RETRIES)


def use_sseclient(url: str, reader: Reader) -> None:
    with requests.get(
        url, stream=True, headers=reader.headers, timeout=DEADLINE_SECONDS
    ) as response:
        for event in sseclient.SSEClient(response).events():
            check_whole(event.data)
            if not reader.take(event.event, event.id, event.data):
                return


def check_whole(data: str) -> None:
    """sseclient-py gives what stands before a break of the connection as if it were an event."""
    try:
        json.loads(data)
    except ValueError:
        raise Torn(data) from None


def use_httpx(url: str, reader: Reader) -> None:
    with (
        httpx.Client(timeout=DEADLINE_SECONDS) as client,
        httpx_sse.connect_sse(client, "GET", url, headers=reader.headers) as source,
    ):
        for event in source.iter_sse():
            if not reader.take(event.event, event.id, event.data):
                return


def use_requests_sse(url: str, reader: Reader) -> None:
    source = requests_sse.EventSource(
        url, reconnection_time=timedelta(seconds=0.1), timeout=DEADLINE_SECONDS
    )
    with source:
        for event in source:
            if not reader.take(event.type or "message", event.last_event_id, event.data):
                return


# --- from npm -----------------------------------------------------------------------------


def install_from_npm(folder: Path) -> Path:
    """The program that uses the clients, with them beside it."""
    if shutil.which("node") is None:
        go_without("there is no node: apt install nodejs npm")
    npm.install(FOLDER, folder)
    return folder / "client.mjs"


class Node:
    """A process that reads with a client from npm; killed at the end."""

    def __init__(self, program: Path, which: str, url: str) -> None:
        self._path = program.with_name(f"{which}.jsonl")
        with self._path.open("wb") as file:
            self.process = subprocess.Popen(["node", str(program), which, url], stdout=file)

    def given(self) -> list[Given]:
        lines = self._path.read_bytes().split(b"\n")[:-1]
        return [(name, id_, data) for name, id_, data in map(json.loads, lines)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


# --- the browser's own --------------------------------------------------------------------

_COLLECT = """([url, types]) => {
    window.given = [];
    const source = new EventSource(url);
    for (const type of types) {
        source.addEventListener(type, ({ lastEventId, data }) => {
            window.given.push([type, lastEventId, data]);
            if (data.includes('"the end"')) source.close();
        });
    }
}"""


class Chromium:
    """An EventSource in a page of the same origin. For the thread that has the browser."""

    def __init__(self, page: Page, origin: str, path: str) -> None:
        self._page = page
        page.goto(f"{origin}/healthz")
        page.evaluate(_COLLECT, [path, ["message", "gap", "reset", "busy", "cursor"]])

    def given(self) -> list[Given]:
        return [(name, id_, data) for name, id_, data in self._page.evaluate("window.given")]


# --- a line that breaks -------------------------------------------------------------------


class BreakingLine:
    """A relay to the server that cuts each connection after so many bytes, in mid-frame.

    While the server is down a connection waits for it.
    """

    def __init__(self, port: int, seed: int, least: int, most: int) -> None:
        self.cuts = 0
        self._to = port
        self._random = random.Random(seed)
        self._range = least, most
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        # Only this wakes a thread that waits in accept().
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            limit = self._random.randint(*self._range)
            is_hard = self._random.random() < 0.5
            threading.Thread(target=self._relay, args=(client, limit, is_hard), daemon=True).start()

    def _relay(self, client: socket.socket, limit: int, is_hard: bool) -> None:
        with client, contextlib.suppress(OSError), self._connect() as server:
            request = b""
            while not request.endswith(b"\r\n\r\n"):
                piece = client.recv(4096)
                if not piece:
                    return
                request += piece
            server.sendall(request)
            while limit > 0 and (piece := server.recv(min(limit, 16_384))):
                client.sendall(piece)
                limit -= len(piece)
            self.cuts += limit == 0
            if is_hard:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _connect(self) -> socket.socket:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            try:
                return socket.create_connection(("127.0.0.1", self._to))
            except ConnectionRefusedError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(0.05)
