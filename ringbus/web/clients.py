"""Who reads a stream: noticed when gone, and given up when it reads nothing.

One thread of the process looks after all connections, and wakes the streams whose clients have
gone.
"""

from __future__ import annotations

import math
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from ringbus.web.waiting import Waker

SEND_SECONDS = 30
_POLL_SECONDS = 0.5


class Client:
    """The other end of a request's connection, as far as the server shows it.

    Under gunicorn and Flask's own server a write to a client that reads nothing fails after
    `SEND_SECONDS`, and so does one to a client that has vanished without a word. waitress says
    whether its client has gone, when asked. Elsewhere the next write that fails ends a stream.
    """

    def __init__(self, environ: dict[str, Any]) -> None:
        connection = environ.get("gunicorn.socket") or environ.get("werkzeug.socket")
        self._connection = connection if isinstance(connection, socket.socket) else None
        self._asked: Callable[[], bool] | None = environ.get("waitress.client_disconnected")
        self._is_gone = False
        #: How often `is_gone()` wants to be asked though nothing woke the stream, in seconds.
        self.rest = math.inf if self._asked is None else _POLL_SECONDS
        if self._connection is not None:
            _limit_writes(self._connection)

    def is_gone(self) -> bool:
        """Whether there is nobody any more to write to."""
        return self._is_gone or (self._asked is not None and self._asked())

    @contextmanager
    def watched(self, waker: Waker) -> Iterator[None]:
        """While inside, the waker is woken when the client goes."""
        if self._connection is None:
            yield
            return

        def gone() -> None:
            self._is_gone = True
            waker.wake()

        with _lookout().watch(self._connection, gone):
            yield


def _limit_writes(connection: socket.socket) -> None:
    limit = struct.pack("ll", SEND_SECONDS, 0)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
    if connection.family in (socket.AF_INET, socket.AF_INET6):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SEND_SECONDS * 1_000)


class Lookout:
    """A thread that calls for each connection whose other end has closed it."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watched: dict[int, tuple[socket.socket, Callable[[], None]]] = {}
        threading.Thread(target=self._run, name="ringbus-lookout", daemon=True).start()

    @contextmanager
    def watch(self, connection: socket.socket, on_gone: Callable[[], None]) -> Iterator[None]:
        """While inside."""
        fd = connection.fileno()
        self._watched[fd] = connection, on_gone
        self._epoll.register(fd, select.EPOLLRDHUP | select.EPOLLONESHOT)
        try:
            yield
        finally:
            del self._watched[fd]
            self._epoll.unregister(fd)

    def _run(self) -> None:
        while True:
            for fd, _ in self._epoll.poll():
                watched = self._watched.get(fd)
                # The number may be another connection's by now.
                if watched is not None and _is_closed(watched[0]):
                    watched[1]()


@cache
def _lookout() -> Lookout:
    return Lookout()


def _is_closed(connection: socket.socket) -> bool:
    try:
        # Of the plain class: under TLS it is what comes over the line.
        found = socket.socket.recv(connection, 1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return found == b""
