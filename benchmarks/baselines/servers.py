"""Brokers: Redis with pub/sub and with streams, and NATS. Debian's servers, started for the run.

Redis is asked through a Unix socket, stores nothing on disk and drops no slow reader; NATS 2.9 has
no Unix sockets, so it listens on the loopback. Each emit is one command that is answered, as the
client's own method does it; NATS has no answer to wait for.
"""

from __future__ import annotations

import asyncio
import atexit
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.harness import require
from benchmarks.processes import PATIENCE, wait_until
from benchmarks.transports import Emitter, Peer, Read, Shape, Transport, needs

NAME = "bench"
MOST_READ = 256  # as ringbus's read()


@contextmanager
def serving(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(PATIENCE)


def _redis(path: str) -> Any:
    redis: Any = import_module("redis")
    return redis.Redis(unix_socket_path=path)


@contextmanager
def _redis_server() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="ringbus-bench-") as folder:
        path = str(Path(folder, "socket"))
        options = ["--port", "0", "--unixsocket", path, "--save", "", "--appendonly", "no"]
        options += ["--dir", folder, "--client-output-buffer-limit", "pubsub 0 0 0"]
        with serving("redis-server", *options) as process:
            wait_until(
                lambda: Path(path).exists() or process.poll() is not None,
                "redis-server",
                every=0.01,
            )
            require(process.poll() is None, "redis-server did not come up")
            yield path


@dataclass(frozen=True)
class RedisPubSub:
    path: str

    def open_emitter(self, number: int) -> Emitter:
        publish = _redis(self.path).publish
        return Emitter(lambda payload: publish(NAME, payload))

    def open_reader(self, number: int) -> Read:
        subscription = _redis(self.path).pubsub(ignore_subscribe_messages=True)
        subscription.subscribe(NAME)
        subscription.get_message(timeout=PATIENCE)  # that it is subscribed

        def read() -> list[bytes]:
            message = subscription.get_message(timeout=PATIENCE)
            return [message["data"]] if message else []

        return read


@dataclass(frozen=True)
class RedisStream:
    path: str

    def open_emitter(self, number: int) -> Emitter:
        add = _redis(self.path).xadd
        return Emitter(lambda payload: add(NAME, {b"p": payload}))

    def open_reader(self, number: int) -> Read:
        client = _redis(self.path)
        at: Any = "0"

        def read() -> list[bytes]:
            nonlocal at
            found = client.xread({NAME: at}, count=MOST_READ, block=int(PATIENCE * 1000))
            if not found:
                return []
            entries = next(iter(found.values())) if isinstance(found, dict) else found[0][1]
            entries = entries[0] if isinstance(entries[0], list) else entries
            at = entries[-1][0]
            return [fields[b"p"] for _, fields in entries]

        return read


@contextmanager
def _open_pubsub(_: Shape) -> Iterator[Transport]:
    with _redis_server() as path:
        yield RedisPubSub(path)


@contextmanager
def _open_stream(_: Shape) -> Iterator[Transport]:
    with _redis_server() as path:
        yield RedisStream(path)


@dataclass(frozen=True)
class Nats:
    """Its client is for asyncio: each end runs the loop as far as each record needs."""

    port: int

    def _connect(self, loop: asyncio.AbstractEventLoop) -> Any:
        nats: Any = import_module("nats")
        client = loop.run_until_complete(nats.connect(f"nats://127.0.0.1:{self.port}"))
        atexit.register(lambda: loop.run_until_complete(client.close()))
        return client

    def open_emitter(self, number: int) -> Emitter:
        loop = asyncio.new_event_loop()
        client = self._connect(loop)

        async def publish(payload: bytes) -> None:
            await client.publish(NAME, payload)
            await asyncio.sleep(0)  # so that what flushes has its turn

        return Emitter(
            lambda payload: loop.run_until_complete(publish(payload)),
            lambda: loop.run_until_complete(client.flush()),
        )

    def open_reader(self, number: int) -> Read:
        loop = asyncio.new_event_loop()
        client = self._connect(loop)
        subscription = loop.run_until_complete(
            client.subscribe(NAME, pending_msgs_limit=0, pending_bytes_limit=0)
        )
        loop.run_until_complete(client.flush())

        async def take() -> list[bytes]:
            found = [(await subscription.next_msg(timeout=PATIENCE)).data]
            while len(found) < MOST_READ and subscription.pending_msgs:
                found.append((await subscription.next_msg()).data)
            return found

        def read() -> list[bytes]:
            try:
                return loop.run_until_complete(take())
            except TimeoutError:
                return []

        return read


@contextmanager
def _open_nats(_: Shape) -> Iterator[Transport]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (
        tempfile.TemporaryDirectory(prefix="ringbus-bench-") as folder,
        _nats_config(folder) as config,
        serving("nats-server", "-a", "127.0.0.1", "-p", str(port), "-c", config) as process,
    ):
        wait_until(lambda: _answers(port) or process.poll() is not None, "nats-server", every=0.01)
        require(process.poll() is None, "nats-server did not come up")
        yield Nats(port)


@contextmanager
def _nats_config(folder: str) -> Iterator[str]:
    """With room for all that a reader has not taken: NATS would drop the reader."""
    path = Path(folder, "nats.conf")
    path.write_text("max_pending: 1GB\nwrite_deadline: '30s'\n")
    yield str(path)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


PEERS = (
    Peer(
        "Redis pub/sub",
        _open_pubsub,
        12_000,
        needs("redis", programs=("redis-server",)),
        can_emit_alone=True,
    ),
    Peer(
        "Redis streams",
        _open_stream,
        12_000,
        needs("redis", programs=("redis-server",)),
        can_emit_alone=True,
    ),
    Peer(
        "NATS",
        _open_nats,
        25_000,
        needs("nats", programs=("nats-server",)),
        can_emit_alone=True,
    ),
)
