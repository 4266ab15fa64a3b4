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

    Under gunicorn, Flask's own server and waitress what a client that reads nothing was sent ends
    its connection after `SEND_SECONDS`, and so does what was sent to a client that has vanished
    without a word. waitress says whether its client has gone, when asked. Elsewhere the next write
    that fails ends a stream.
    """

    def __init__(self, environ: dict[str, Any]) -> None:
        self._connection = _as_socket(
            environ.get("gunicorn.socket") or environ.get("werkzeug.socket")
        )
        self._asked: Callable[[], bool] | None = environ.get("waitress.client_disconnected")
        self._is_gone = False
        #: How often `is_gone()` wants to be asked though nothing woke the stream, in seconds.
        self.rest = math.inf if self._asked is None else _POLL_SECONDS
        limited = self._connection or _socket_behind(self._asked)
        if limited is not None:
            _limit_writes(limited)

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


def _as_socket(found: object) -> socket.socket | None:
    return found if isinstance(found, socket.socket) else None


def _socket_behind(asked: object) -> socket.socket | None:
    """That of waitress, whose thread alone may close it: ours only to set a limit."""
    # It waits for a client to read as long as that is there, and the stream's thread with it.
    return _as_socket(getattr(getattr(asked, "__self__", None), "socket", None))


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
