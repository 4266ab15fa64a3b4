"""pyzmq over Unix sockets: PUB/SUB, which sends each reader all, and PUSH/PULL.

PUB drops what a slow subscriber has no room for; with XPUB_NODROP it waits instead, and that is how
it runs here. Marks are ZeroMQ's own (1,000 messages at each end).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from benchmarks.baselines.multiprocessing_ends import to_all
from benchmarks.processes import PATIENCE
from benchmarks.transports import Emit, Emitter, Peer, Read, Shape, Transport, needs

MOST_READ = 256  # as ringbus's read()
SILENCE_MS = 500  # after which a stream that drops is over


def _socket(kind: str) -> Any:
    """Of the one context of this process."""
    zmq: Any = import_module("zmq")
    return zmq.Context.instance().socket(getattr(zmq, kind))


def _reader(socket: Any) -> Read:
    zmq: Any = import_module("zmq")
    socket.setsockopt(zmq.RCVTIMEO, int(PATIENCE * 1000))

    def read() -> list[bytes]:
        try:
            return [socket.recv()]
        except zmq.Again:
            return []

    return read


@dataclass(frozen=True)
class PublishTransport:
    """Each emitter has its address; readers subscribe to all, and emitters wait for them."""

    folder: str
    shape: Shape

    def _address(self, emitter: int) -> str:
        return f"ipc://{self.folder}/emitter-{emitter}"

    def open_emitter(self, number: int) -> Emitter:
        zmq: Any = import_module("zmq")
        socket = _socket("XPUB")
        socket.setsockopt(zmq.XPUB_NODROP, 1)
        socket.setsockopt(zmq.XPUB_VERBOSE, 1)
        socket.bind(self._address(number))
        for _ in range(self.shape.readers):
            socket.recv()  # a subscription
        return Emitter(socket.send)

    def open_reader(self, number: int) -> Read:
        zmq: Any = import_module("zmq")
        socket = _socket("SUB")
        socket.setsockopt(zmq.SUBSCRIBE, b"")
        socket.setsockopt(zmq.RECONNECT_IVL, 1)
        for emitter in range(self.shape.emitters):
            socket.connect(self._address(emitter))
        return _reader(socket)


@dataclass(frozen=True)
class PushTransport:
    """Each reader has its address: PUSH would share records out, so each gets a socket."""

    folder: str
    shape: Shape

    def _address(self, reader: int) -> str:
        return f"ipc://{self.folder}/reader-{reader}"

    def open_emitter(self, number: int) -> Emitter:
        return Emitter(to_all([self._connect(reader) for reader in range(self.shape.readers)]))

    def _connect(self, reader: int) -> Emit:
        socket = _socket("PUSH")
        socket.connect(self._address(reader))
        send: Emit = socket.send
        return send

    def open_reader(self, number: int) -> Read:
        socket = _socket("PULL")
        socket.bind(self._address(number))
        return _reader(socket)


@dataclass(frozen=True)
class DroppingTransport:
    """PUB/SUB as it is by default: a reader that has no room for a record does not get it."""

    folder: str

    def open_emitter(self, number: int) -> Emitter:
        socket = _socket("XPUB")
        socket.bind(f"ipc://{self.folder}/emitter")
        socket.recv()  # the reader's subscription
        return Emitter(socket.send)

    def open_reader(self, number: int) -> Callable[[], tuple[list[bytes], int]]:
        """What it returns gives what is there, and a zero: nothing tells what is missing."""
        zmq: Any = import_module("zmq")
        socket = _socket("SUB")
        socket.setsockopt(zmq.SUBSCRIBE, b"")
        socket.setsockopt(zmq.RECONNECT_IVL, 1)
        socket.connect(f"ipc://{self.folder}/emitter")

        def read() -> tuple[list[bytes], int]:
            found: list[bytes] = []
            while len(found) < MOST_READ and socket.poll(0 if found else SILENCE_MS):
                found.append(socket.recv())
            return found, 0

        return read


@contextmanager
def open_dropping(_: Shape) -> Iterator[Any]:
    with tempfile.TemporaryDirectory(prefix="ringbus-bench-") as folder:
        yield DroppingTransport(folder)


@contextmanager
def open_publish(shape: Shape) -> Iterator[Transport]:
    with tempfile.TemporaryDirectory(prefix="ringbus-bench-") as folder:
        yield PublishTransport(folder, shape)


@contextmanager
def open_push(shape: Shape) -> Iterator[Transport]:
    with tempfile.TemporaryDirectory(prefix="ringbus-bench-") as folder:
        yield PushTransport(folder, shape)


PUBLISH = Peer("pyzmq PUB/SUB", open_publish, 250_000, needs("zmq"), can_emit_alone=True)
DROPPING = Peer("pyzmq PUB/SUB, dropping", open_dropping, 1, needs("zmq"))
PUSH = Peer("pyzmq PUSH/PULL", open_push, 300_000, needs("zmq"))
PEERS = (PUBLISH, PUSH)
