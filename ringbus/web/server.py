"""The server behind `ringbus serve`: gunicorn's threaded worker, embedded.

One worker process with many threads, an open page holding one. The application is built in the
worker, after the fork, so nothing of a ring or a database crosses it. gunicorn's own process
restarts the worker if it dies and ends it when told to stop.
"""

from __future__ import annotations

import gc
import ipaddress
import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.http.message import Request

from ringbus import settings
from ringbus._open_files import raise_limit
from ringbus.errors import RingbusError
from ringbus.web import create_app
from ringbus.web.guard import LoginLink, host_names
from ringbus.web.streams import DEFAULT_MAX_STREAMS
from ringbus.web.worker import SPARE_THREADS, Worker

# What a worker that is told to stop gives its last responses, and after how long it is killed. It
# looks once a second, so the second has to be longer by more than that.
LAST_WORDS_SECONDS = 1
KILL_SECONDS = 3
KEPT_ALIVE = 256
RARELY = (10_000, 10, 10)  # when garbage is looked for that refers to itself
BACKLOG = 1_024


def serve(  # noqa: PLR0917  a call names them all
    host: str,
    port: int,
    state: Path,
    allow_hosts: Sequence[str],
    token: str | None,
    on_ready: Callable[[str], None],
) -> None:
    """Serves the pages until SIGTERM or SIGINT; main thread only.

    Port 0 takes any free one. `on_ready` is called once with the address to open, from when on
    connections are taken; with a token that is a login link for one browser.

    Raises `RingbusError`, naming the remedy, if the address cannot be bound, or if other
    machines reach it and no token is given; `ValueError` for an `allow_hosts` that is no name, and
    for a token that is too short.
    """
    allow_hosts, token = host_names(allow_hosts), settings.check_token(token)
    listener = _listen(host, port)
    if token is None and not _is_loopback(listener):
        listener.close()
        raise RingbusError(
            f"other machines reach {host}: set RINGBUS_TOKEN to a long secret that they must "
            "show, or listen on 127.0.0.1"
        )
    state.mkdir(parents=True, exist_ok=True)
    raise_limit()  # each stream holds a connection, a ring and a database: three to five files
    link = LoginLink() if token else None
    config = {
        "RINGBUS_STATE": state,
        "RINGBUS_ALLOW_HOSTS": allow_hosts,
        "RINGBUS_LOGIN_LINK": link,
        "RINGBUS_TOKEN": token,
        "RINGBUS_MAX_STREAMS": DEFAULT_MAX_STREAMS,
    }
    url = _address(listener, link)

    # gunicorn takes the bound socket over, and closes it.
    server = _Server(config, listener.detach(), lambda _arbiter: on_ready(url))
    own_pid = os.getpid()
    try:
        Arbiter(server).run()
    except SystemExit as stop:
        if os.getpid() != own_pid:
            # The worker comes back here, too; what our caller has still to do is not its business.
            os._exit(stop.code if isinstance(stop.code, int) else 1)
        if stop.code:
            raise


class _Server(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    def __init__(
        self, config: dict[str, Any], fd: int, when_ready: Callable[[Arbiter], None]
    ) -> None:
        self._config = config
        self._settings = {
            "bind": f"fd://{fd}",
            "worker_class": _OwnWorker,
            "workers": 1,
            "threads": DEFAULT_MAX_STREAMS + SPARE_THREADS,
            "worker_connections": DEFAULT_MAX_STREAMS + SPARE_THREADS + KEPT_ALIVE,
            "graceful_timeout": KILL_SECONDS,
            "timeout": 60,
            "loglevel": "warning",
            "when_ready": when_ready,
            "control_socket_disable": True,
            # Whoever comes by loopback could say with these which page he asked for.
            "forwarder_headers": "",
        }
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._settings.items():
            if name in self.cfg.settings:  # older gunicorns do not know every one
                self.cfg.set(name, value)

    def load(self) -> Flask:
        return create_app(self._config)


class _OwnWorker(Worker):
    """Has nothing but pages to serve, so it need not wait for long."""

    def init_process(self) -> None:
        self.cfg.set("graceful_timeout", LAST_WORDS_SECONDS)
        super().init_process()

    def has_said_all(self, req: Request) -> bool:
        # The only body that there is to read is a form of one field.
        return not any(name in {"CONTENT-LENGTH", "TRANSFER-ENCODING"} for name, _ in req.headers)

    def load_wsgi(self) -> None:
        super().load_wsgi()
        # A thousand streams are two hundred thousand objects that hardly any garbage refers to: to
        # look through all of them halts everybody, for longer than a request may take.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*RARELY)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        raise RingbusError(
            f"cannot listen on {host} port {port}: {error.strerror}. "
            "Choose another port with --port (0 takes any free one) or another --host",
        ) from error


def _is_loopback(listener: socket.socket) -> bool:
    return ipaddress.ip_address(listener.getsockname()[0]).is_loopback


def _address(listener: socket.socket, link: LoginLink | None) -> str:
    name, port = listener.getsockname()[:2]
    address = ipaddress.ip_address(name)
    if address.is_unspecified:
        name = "127.0.0.1" if address.version == 4 else "::1"
    shown = f"[{name}]" if ":" in name else name
    url = f"http://{shown}:{port}/"
    return f"{url}login?once={link.secret}" if link else url
