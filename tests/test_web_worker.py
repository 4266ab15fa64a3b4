"""Clients that are slow, silent or never hang up: they hold up nobody else."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from webserver import Server, serving

pytestmark = pytest.mark.slow

FEW_THREADS = "from ringbus.web import server, worker; server.DEFAULT_MAX_STREAMS = 1"


@contextmanager
def connections(server: Server, number: int, said: bytes) -> Iterator[list[socket.socket]]:
    """So many, each of which has sent that."""
    with ExitStack() as stack:
        opened = []
        for _ in range(number):
            connection = socket.create_connection(("127.0.0.1", server.port), 60)
            opened.append(stack.enter_context(connection))
            connection.sendall(said)
        yield opened


def test_connections_that_say_nothing_take_no_thread(tmp_path: Path) -> None:
    """Browsers open some ahead."""
    for_ever = "; worker.HEAD_SECONDS = 1e6; from gunicorn.workers import gthread"
    for_ever += "; gthread.DEFAULT_WORKER_DATA_TIMEOUT = 1e6"
    with (
        serving(tmp_path, before=FEW_THREADS + for_ever) as server,
        connections(server, 100, b"") as opened,
    ):
        assert "ok" in server.text("/healthz")
        opened[0].sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert opened[0].recv(1 << 16).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"G",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n",
        b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\ntoken=",
        b"POST /login HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_who_does_not_say_what_he_wants_is_given_up(tmp_path: Path, said: bytes) -> None:
    """However many: others are answered then."""
    with (
        serving(tmp_path, before=f"{FEW_THREADS}; worker.HEAD_SECONDS = 0.5") as server,
        connections(server, 60, said) as opened,
    ):
        assert "ok" in server.text("/healthz")
        for connection in opened:
            assert connection.recv(1 << 16)[9:12] in {b"", b"400", b"401"}


def test_a_client_cannot_say_where_it_was_sent_by_a_proxy(tmp_path: Path) -> None:
    """Some proxies pass on every header, and allow or refuse by path."""
    request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nPATH_INFO: /metrics\r\n\r\n"
    with serving(tmp_path) as server, connections(server, 1, request) as (connection,):
        assert b"ringbus_sse_clients" not in connection.recv(1 << 16)


def test_clients_that_never_hang_up_hold_up_nobody(tmp_path: Path) -> None:
    """They have got their answer, whole."""
    request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    with serving(tmp_path) as server, connections(server, 100, request) as opened:
        assert "ok" in server.text("/healthz")
        for connection in opened:
            answer = b""
            while piece := connection.recv(1 << 16):
                answer += piece
            assert answer.endswith(b'{"status":"ok"}')


@pytest.mark.parametrize(
    "request_line",
    [
        b"GET /" + b"x" * 10_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 20_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)) + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
        b"GET http://evil.example/ HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
    ],
)
def test_requests_no_browser_sends_are_refused(tmp_path: Path, request_line: bytes) -> None:
    """Too long, not HTTP, of two minds, or for nobody: with a status, and nothing of a page."""
    with serving(tmp_path) as server, connections(server, 1, request_line) as (connection,):
        status = connection.recv(1 << 16).split()[1]
        assert 400 <= int(status) < 500
        assert "ok" in server.text("/healthz")
