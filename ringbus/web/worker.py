"""gunicorn's threaded worker, fit for event streams.

It ends the streams itself when it is to stop, since gunicorn would wait for them. It gives threads
to requests alone: a connection waits for its first byte without one, and has so long to say what
it wants. And it sees a connection to its end in the thread that served it: gunicorn does that in
the thread that serves all others, which a client that never hangs up would stop for two seconds.
"""

from __future__ import annotations

import logging
import selectors
import socket
import time
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import Any

from gunicorn.http.message import Request
from gunicorn.workers.gthread import TConn, ThreadWorker

from ringbus.web.streams import admit_at_most, stop_all

SPARE_THREADS = 24  # which streams leave to other requests
HEAD_SECONDS = 10.0  # for a client to say what it wants
LINGER_SECONDS = 2.0  # for a client to hang up, so that it gets the last bytes


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """Good for every application in which the pages are."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Connections that are saying what they want, and until when they may.
        self._heads: dict[TConn, float] = {}

    def init_process(self) -> None:
        logging.getLogger("gunicorn.error").addFilter(_is_worth_a_line)
        super().init_process()

    def load_wsgi(self) -> None:
        super().load_wsgi()
        threads = self.cfg.threads
        admit_at_most(threads - min(SPARE_THREADS, threads // 2))

    # Its end

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        stop_all()
        super().handle_exit(sig, frame)

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        # What Ctrl-C comes down to. gunicorn would cut connections off in mid-frame.
        self.handle_exit(sig, frame)

    def is_parent_alive(self) -> bool:
        is_alive = bool(super().is_parent_alive())
        if not is_alive:
            stop_all()
        return is_alive

    # Connections

    def enqueue_req(self, conn: TConn) -> None:
        if conn.initialized or conn.data_ready:
            super().enqueue_req(conn)
            return
        conn.sock.setblocking(False)
        conn.timeout = time.monotonic() + HEAD_SECONDS
        self.pending_conns.append(conn)
        on_readable = partial(self.on_pending_socket_readable, conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, on_readable)

    def handle(self, conn: TConn) -> object:
        self._heads[conn] = time.monotonic() + HEAD_SECONDS
        try:
            outcome: object = super().handle(conn)
        finally:
            self._heads.pop(conn, None)
        if outcome is False:  # it is not kept for another request
            _linger(conn.sock)
        return outcome

    def handle_request(self, req: Request, conn: TConn) -> object:
        if self.has_said_all(req):
            self._heads.pop(conn, None)
        return super().handle_request(req, conn)

    def has_said_all(self, req: Request) -> bool:  # noqa: ARG002  for those who know their requests
        """Whether the client need not hurry any more; a body may be long."""
        return True

    def murder_pending(self) -> None:
        """Called once a second: closes connections that have said nothing for too long."""
        if not self.alive:
            for conn in self.pending_conns:
                conn.timeout = 0.0
        now = time.monotonic()
        for conn, until in self._heads.copy().items():
            if until < now:
                with suppress(OSError):
                    conn.sock.shutdown(socket.SHUT_RD)  # its thread reads the end
        super().murder_pending()


def _linger(connection: socket.socket) -> None:
    """Waits until the client has hung up, or need not be waited for any more."""
    deadline = time.monotonic() + LINGER_SECONDS
    with suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
        while (left := deadline - time.monotonic()) > 0:
            connection.settimeout(left)
            if not connection.recv(4096):
                break
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)  # so that gunicorn need not wait again


def _is_worth_a_line(record: logging.LogRecord) -> bool:
    # A browser that stopped reading and was cut off is daily life, no error.
    raised = record.exc_info[1] if record.exc_info else None
    return not isinstance(raised, BlockingIOError | TimeoutError)
