"""Middleware without a broker: iceoryx2, which shares memory, and Eclipse zenoh, over sockets.

Both are told to make the emitter wait and not to drop. An iceoryx2 subscriber has nothing to sleep
on by itself: either it polls and keeps a core busy, or every emit notifies a listener as well.
"""

from __future__ import annotations

import ctypes
import json
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

from benchmarks.harness import require
from benchmarks.processes import PATIENCE, wait_until
from benchmarks.transports import Emitter, Peer, Read, Shape, Transport, needs

BUFFERED = 1024  # records between an iceoryx2 publisher and a subscriber
MOST_READ = 256  # as ringbus's read()


@dataclass(frozen=True)
class IceoryxTransport:
    name: str
    shape: Shape
    notifies: bool

    def _open(self) -> tuple[Any, Any]:
        iceoryx: Any = import_module("iceoryx2")
        iceoryx.set_log_level(iceoryx.LogLevel.Error)
        node = iceoryx.NodeBuilder.new().create(iceoryx.ServiceType.Ipc)
        service = (
            node.service_builder(iceoryx.ServiceName.new(self.name))
            .publish_subscribe(iceoryx.Slice[ctypes.c_uint8])
            .enable_safe_overflow(False)
            .subscriber_max_buffer_size(BUFFERED)
            .subscriber_max_borrowed_samples(4)
            .max_publishers(8)
            .open_or_create()
        )
        event = (
            node.service_builder(iceoryx.ServiceName.new(self.name))
            .event()
            .max_notifiers(8)
            .open_or_create()
        )
        return service, event

    def open_emitter(self, number: int) -> Emitter:
        iceoryx: Any = import_module("iceoryx2")
        service, event = self._open()
        publisher = (
            service.publisher_builder()
            .initial_max_slice_len(self.shape.size)
            .backpressure_strategy(iceoryx.BackpressureStrategy.RetryUntilDelivered)
            .create()
        )
        notify = event.notifier_builder().create().notify if self.notifies else None
        loan, move = publisher.loan_slice_uninit, ctypes.memmove

        readers = self.shape.readers

        def send(payload: bytes) -> int:
            sample = loan(len(payload))
            move(sample.payload().as_ptr(), payload, len(payload))
            return int(sample.assume_init().send())

        def emit(payload: bytes) -> None:
            # Told to wait, it drops all the same where a reader's buffer is full (0.10), and says
            # how many readers have the record: to try again is right only if that is none.
            while (reached := send(payload)) < readers:
                require(reached == 0, f"{readers - reached} of {readers} readers were left out")
                time.sleep(0)
            if notify is not None:
                notify()

        return Emitter(emit)

    def open_reader(self, number: int) -> Read:
        iceoryx: Any = import_module("iceoryx2")
        service, event = self._open()
        subscriber = service.subscriber_builder().buffer_size(BUFFERED).create()
        if not self.notifies:
            return _polling(subscriber)
        listener = event.listener_builder().create()
        patience = iceoryx.Duration.from_secs(int(PATIENCE))

        def read() -> list[bytes]:
            deadline = time.monotonic() + PATIENCE
            while not (found := _receive(subscriber)) and time.monotonic() < deadline:
                listener.timed_wait(patience)  # may end with nothing, and early
            return found

        return read


def _receive(subscriber: Any) -> list[bytes]:
    found: list[bytes] = []
    while len(found) < MOST_READ and (sample := subscriber.receive()) is not None:
        payload = sample.payload()
        found.append(ctypes.string_at(payload.as_ptr(), payload.len()))
    return found


def _polling(subscriber: Any) -> Read:
    def read() -> list[bytes]:
        deadline = time.monotonic() + PATIENCE
        while not (found := _receive(subscriber)) and time.monotonic() < deadline:
            time.sleep(0)
        return found

    return read


@contextmanager
def _open_iceoryx(shape: Shape, *, notifies: bool) -> Iterator[Transport]:
    yield IceoryxTransport(f"bench-{uuid.uuid4().hex}", shape, notifies)


@dataclass(frozen=True)
class ZenohTransport:
    """Each reader listens at an address, and emitters connect to all of them."""

    folder: str
    shape: Shape

    def _session(self, **config: object) -> Any:
        zenoh: Any = import_module("zenoh")
        settings = {
            "mode": "peer",
            "scouting": {"multicast": {"enabled": False}},
            "transport": {"shared_memory": {"enabled": False}},  # only for buffers made in it
            **config,
        }
        return zenoh.open(zenoh.Config.from_json5(json.dumps(settings)))

    def _address(self, reader: int) -> str:
        return f"unixsock-stream/{self.folder}/reader-{reader}"

    def open_emitter(self, number: int) -> Emitter:
        zenoh: Any = import_module("zenoh")
        addresses = [self._address(reader) for reader in range(self.shape.readers)]
        session = self._session(connect={"endpoints": addresses}, listen={"endpoints": []})
        publisher = session.declare_publisher(
            "bench",
            congestion_control=zenoh.CongestionControl.BLOCK,
            reliability=zenoh.Reliability.RELIABLE,
        )
        if addresses:
            wait_until(lambda: len(session.info.peers_zid()) == len(addresses), "zenoh's readers")
            wait_until(lambda: publisher.matching_status.matching, "a zenoh subscriber")
            time.sleep(0.2)  # matching says that one of them subscribed, and nothing of the others
        return Emitter(publisher.put, lambda: session)  # which ends with its last reference

    def open_reader(self, number: int) -> Read:
        zenoh: Any = import_module("zenoh")
        session = self._session(listen={"endpoints": [self._address(number)]})
        subscriber = session.declare_subscriber("bench", zenoh.handlers.FifoChannel(BUFFERED))
        return _receiving(session, subscriber)


def _receiving(session: object, subscriber: Any) -> Read:
    """Waits for one, then takes what else is there."""

    def read(_: object = session) -> list[bytes]:  # the session ends with its last reference
        found = [bytes(subscriber.recv().payload)]
        while len(found) < MOST_READ and (sample := subscriber.try_recv()) is not None:
            found.append(bytes(sample.payload))
        return found

    return read


@contextmanager
def _open_zenoh(shape: Shape) -> Iterator[Transport]:
    with tempfile.TemporaryDirectory(prefix="ringbus-bench-") as folder:
        yield ZenohTransport(folder, shape)


PEERS = (
    Peer(
        "iceoryx2, polled",
        partial(_open_iceoryx, notifies=False),
        100_000,
        needs("iceoryx2"),
        can_emit_alone=True,
    ),
    Peer("iceoryx2, notified", partial(_open_iceoryx, notifies=True), 50_000, needs("iceoryx2")),
    Peer("zenoh", _open_zenoh, 100_000, needs("zenoh"), can_emit_alone=True),
)
