"""What happens to a reader that is too slow, where nobody waits for it.

    [emitter, flat out] --> ring --> [reader, resting after each read]

A subscriber without a gate is overtaken; it is told how many records it missed, exactly, and reads
on. Every record says its number, so what a reader lost is known however little it was told. Beside
it PUB/SUB of ZeroMQ as it is by default, which drops what a slow subscriber has no room for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from time import monotonic_ns
from typing import Any

from benchmarks.baselines.zeromq import DROPPING
from benchmarks.delivery import READY
from benchmarks.harness import Figure, Options, Result, Scenario, Target, require, round_robin
from benchmarks.processes import Child, hear_each
from benchmarks.rings import fresh_ring
from benchmarks.transports import Emitter, Peer, Shape
from ringbus.errors import Lapped
from ringbus.ring import Ring

RING_BYTES = 1 << 20
RECORD = b"%08d" * 32  # 256 bytes that are its number
REST_SECONDS = 0.002
SILENCE_SECONDS = 0.5  # after which a peer's reader takes the stream to be over

Told = tuple[list[bytes], int]  # records, and how many are said to be missing before them


@dataclass(frozen=True)
class LappingRing:
    """Emitters that push on, and a reader without a gate."""

    ring: str

    def open_emitter(self, _: int) -> Emitter:
        ring = Ring.open(self.ring, policy="drop")
        ring._open_emitter()
        return Emitter(ring.emit)

    def open_reader(self, _: int) -> Callable[[], Told]:
        subscriber = Ring.open(self.ring).subscribe()

        def read() -> Told:
            try:
                return [record.payload for record in subscriber.read(timeout=SILENCE_SECONDS)], 0
            except Lapped as lapped:
                return [], lapped.missed

        return read


@contextmanager
def _open_ring(_: Shape) -> Iterator[Any]:
    with fresh_ring(size=RING_BYTES) as ring:
        yield LappingRing(ring.name)


OURS = Peer("ringbus", _open_ring, rate=1)


@dataclass(frozen=True)
class Outcome:
    emits_a_second: float
    delivered: int
    told: int  # missing records that the reader was told of
    count: int


def run(options: Options) -> Result:
    count = options.pick(200_000, 20_000)
    peers = [OURS]
    if not DROPPING.lack() and options.wants(DROPPING.name):
        peers.append(DROPPING)
    contenders = {peer.name: _contender(peer, count) for peer in peers}
    found = round_robin(contenders, options.pick(5, 1), warm_ups=0)
    for one in found[OURS.name]:
        lost = one.count - one.delivered
        require(lost == one.told, f"{lost} records were lost, and {one.told} are said to be")
    figures = [figure for name, of in found.items() for figure in _figures(name, of)]
    unsaid = max(one.count - one.delivered - one.told for one in found[OURS.name])
    return Result(
        figures,
        [Target(f"{OURS.name}: lost records that nobody tells of", unsaid, 0, "records")],
        {"records_a_round": count, "payload_bytes": 256, "ring_bytes": RING_BYTES},
        [f"Without {DROPPING.name}: {DROPPING.lack()}."] if DROPPING.lack() else [],
    )


def _contender(peer: Peer, count: int) -> Callable[[], Outcome]:
    def measure() -> Outcome:
        with peer.open(Shape()) as transport, Child(read_some, transport, count, core=1) as reader:
            require(reader.hear() == READY, "the reader did not come up")
            with Child(emit_all, transport, count, core=0) as emitter:
                require(emitter.hear() == READY, "the emitter did not come up")
                emitter.tell()
                passed_ns, (delivered, told) = hear_each([emitter, reader])
                emitter.tell()
        return Outcome(count / passed_ns * 1e9, delivered, told, count)

    return measure


def emit_all(link: Connection, transport: LappingRing, count: int) -> None:
    emit = transport.open_emitter(0).emit
    payloads = [RECORD % ((number,) * 32) for number in range(count)]
    link.send(READY)
    link.recv()
    start_ns = monotonic_ns()
    for payload in payloads:
        emit(payload)
    link.send(monotonic_ns() - start_ns)
    link.recv()


def read_some(link: Connection, transport: LappingRing, count: int) -> None:
    """Reads, and rests, until the last record or silence; each record is whole and newer."""
    read = transport.open_reader(0)
    link.send(READY)
    last, delivered, told = -1, 0, 0
    while last < count - 1:
        batch, missed = read()
        told += missed
        if not batch and not missed:
            if last >= 0:
                break
            continue
        last = _check(batch, last)
        delivered += len(batch)
        time.sleep(REST_SECONDS)
    link.send((delivered, told))


def _check(batch: Sequence[bytes], last: int) -> int:
    for payload in batch:
        number = int(payload[:8])
        require(payload == RECORD % ((number,) * 32), "a record is torn")
        require(number > last, f"record {number} came after record {last}")
        last = number
    return last


def _figures(name: str, of: list[Outcome]) -> list[Figure]:
    lost = [one.count - one.delivered for one in of]
    return [
        Figure(name, "emitter beside it", "emits/s", [one.emits_a_second for one in of]),
        Figure(name, "delivered", "% of records", [100 * one.delivered / one.count for one in of]),
        Figure(
            name,
            "told of what is lost",
            "%",
            [100 * one.told / gone if gone else 100 for one, gone in zip(of, lost, strict=True)],
        ),
    ]


SCENARIO = Scenario("A reader too slow for its emitter, which does not wait", run, cores=2)
