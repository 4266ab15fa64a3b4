"""The core alone: the same ring and the same records, without Python around each of them.

Emitters hand the core a whole table at a time, readers have it fill a block of memory, which is
then compared as one. That is what a program in C gets, and more than a Python program can.
"""

from __future__ import annotations

import ctypes
from multiprocessing.connection import Connection
from time import monotonic, monotonic_ns

from benchmarks.core_emitter import CoreEmitter
from benchmarks.delivery import READY, Delivered, count_for, deliver
from benchmarks.harness import require
from benchmarks.processes import PATIENCE
from benchmarks.rings import records
from benchmarks.transports import Peer, RingTransport, Shape, open_ring
from ringbus._native import address, ffi
from ringbus.ring import Ring
from ringbus.ring.batch import Batch
from ringbus.ring.subscriber import Subscriber

NAME = "the core in C"
MOST_BYTES = 512 << 10  # of a batch: more leave the processor's nearer caches
CORE = Peer(NAME, open_ring, rate=4_000_000)

_memcmp = ctypes.CDLL(None).memcmp
_memcmp.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


def deliver_by_core(shape: Shape, seconds: float) -> Delivered:
    count = count_for(CORE, shape, seconds)
    return deliver(CORE, shape, count, emit_body=emit_by_core, read_body=read_by_core)


def emit_by_core(
    link: Connection, transport: RingTransport, number: int, shape: Shape, count: int
) -> None:
    """Each emitter's records are all the same, so that a reader can tell many emitters' apart."""
    payloads = _payloads(shape, number)
    with CoreEmitter(transport.ring, limit_ns=int(PATIENCE * 1e9)) as core:
        items = core.items(payloads)
        link.send(READY)
        link.recv()
        start_ns = monotonic_ns()
        for done in range(0, count, len(payloads)):
            core.emit_all(items, min(len(payloads), count - done))
        link.send((start_ns, monotonic_ns()))
        link.recv()


def read_by_core(
    link: Connection, transport: RingTransport, number: int, shape: Shape, count: int
) -> None:
    batch = Batch(most_bytes=MOST_BYTES // 2)  # of which the last record may go over
    with Ring.open(transport.ring).subscribe(gate=f"reader-{number}") as subscriber:
        checker = _Checker(shape)
        link.send(READY)
        total, done = shape.emitters * count, 0
        while done < total:
            is_there = _fill(subscriber, batch)
            require(is_there, f"{done} of {total} records were delivered")
            subscriber.advance(batch.next_seq)
            require(checker.holds(batch), f"wrong records were delivered after {done} of {total}")
            done += len(batch)
        link.send(monotonic_ns())


def _fill(subscriber: Subscriber, batch: Batch) -> bool:
    """A sleep may end with nothing: when another reader leaves, all are woken."""
    deadline = monotonic() + PATIENCE
    while not subscriber.fill(batch, PATIENCE):
        if monotonic() > deadline:
            return False
    return True


def _payloads(shape: Shape, number: int) -> list[bytes]:
    """Of one emitter its table; of several, which mix, the same record again and again."""
    table = records(shape.size, number)
    return table if shape.emitters == 1 else table[:1] * len(table)


class _Checker:
    """Compares a batch with what was emitted."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        table = b"".join(_payloads(shape, 0))
        # A batch begins anywhere in the table, and is compared as one piece however long.
        self._expected = table * (2 + MOST_BYTES // len(table))
        self._start = ctypes.cast(ctypes.c_char_p(self._expected), ctypes.c_void_p).value or 0
        self._table = len(table)
        self._at = 0
        self._records = [records(shape.size, number)[0] for number in range(shape.emitters)]

    def holds(self, batch: Batch) -> bool:
        payloads = batch._content.payloads
        if self._shape.emitters == 1:
            differs = _memcmp(address(payloads), self._start + self._at, batch.size)
            self._at = (self._at + batch.size) % self._table
            return int(differs) == 0
        block = bytes(ffi.buffer(payloads, batch.size))
        counts = sum(block.count(record) for record in self._records)
        return counts == len(batch)
