"""Records from emitter processes to reader processes: all of them, in order, and checked.

The clock runs from the first emit until the last reader has compared its last record. The
comparison is with tables that both ends made before, and costs the same for every transport.
With one emitter and one reader each has a core of its own; more processes go where the kernel
puts them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import cycle, islice
from multiprocessing.connection import Connection
from operator import itemgetter, ne
from time import monotonic_ns

from benchmarks.harness import WrongResultError, require
from benchmarks.processes import Child, hear_each
from benchmarks.rings import period, records
from benchmarks.transports import Peer, Shape, Transport

READY = "ready"
Body = Callable[..., None]
MOST_BYTES = 256 << 20  # of one run


@dataclass(frozen=True)
class Delivered:
    rate: float  # records/s that each reader got
    emit_ns: float  # from one emit to the next, in an emitter's process


def count_for(peer: Peer, shape: Shape, seconds: float) -> int:
    """Records of each emitter for a run of about so long, and of a bounded size."""
    work = shape.emitters * max(1, shape.readers) * (1 + shape.size / 8192)
    most = MOST_BYTES // shape.size // shape.emitters
    return max(100, min(int(peer.rate * seconds / work), most))


def deliver(
    peer: Peer,
    shape: Shape,
    count: int,
    *,
    emit_body: Body | None = None,
    read_body: Body | None = None,
) -> Delivered:
    """`count` records from each emitter to all readers.

    A body is what a process does in place of `emit_all` or `read_all`, and says the same things.
    """
    with peer.open(shape) as transport, ExitStack() as stack:
        is_pair = shape.emitters == shape.readers == 1
        readers = [
            stack.enter_context(
                Child(
                    read_body or read_all,
                    transport,
                    number,
                    shape,
                    count,
                    core=1 if is_pair else None,
                )
            )
            for number in range(shape.readers)
        ]
        _require_ready(readers)
        emitters = [
            stack.enter_context(
                Child(
                    emit_body or emit_all,
                    transport,
                    number,
                    shape,
                    count,
                    core=0 if is_pair else None,
                )
            )
            for number in range(shape.emitters)
        ]
        _require_ready(emitters)
        for emitter in emitters:
            emitter.tell()
        said = hear_each([*emitters, *readers])
        times, ends = said[: shape.emitters], said[shape.emitters :]
        for emitter in emitters:
            emitter.tell()
    start_ns = min(start for start, _ in times)
    passed_ns = max(end for end in ends or [end for _, end in times]) - start_ns
    emit_ns = sum(end - start for start, end in times) / len(times) / count
    return Delivered(shape.emitters * count / passed_ns * 1e9, emit_ns)


def _require_ready(children: Sequence[Child]) -> None:
    require(hear_each(children) == [READY] * len(children), "a process did not come up")


def emit_all(link: Connection, transport: Transport, number: int, shape: Shape, count: int) -> None:
    """An emitter process; stays until all is read, for what it holds may not be sent yet."""
    emitter = transport.open_emitter(number)
    emit, table = emitter.emit, records(shape.size, number)
    if emitter.wants_fresh:
        table = [bytes(bytearray(payload)) for payload in islice(cycle(table), count)]
    link.send(READY)
    link.recv()
    start_ns = monotonic_ns()
    for payload in islice(cycle(table), count):
        emit(payload)
    end_ns = monotonic_ns()
    emitter.finish()
    link.send((start_ns, end_ns))
    link.recv()


def read_all(link: Connection, transport: Transport, number: int, shape: Shape, count: int) -> None:
    """A reader process; its last word is when it had everything."""
    read = transport.open_reader(number)
    check = ManyChecker(shape) if shape.emitters > 1 else OneChecker(shape)
    total, done = shape.emitters * count, 0
    link.send(READY)
    while done < total:
        batch = read()
        if not batch:
            raise WrongResultError(f"{done} of {total} records were delivered")
        if not check.holds(batch):
            raise WrongResultError(f"wrong records were delivered after {done} of {total}")
        done += len(batch)
    end_ns = monotonic_ns()
    require(done == total, f"{done} records were delivered instead of {total}")
    link.send(end_ns)


class OneChecker:
    """Compares with the one emitter's table, at the speed of memcmp()."""

    def __init__(self, shape: Shape) -> None:
        self._table = records(shape.size)
        self._period = period(shape.size)
        self._at = 0

    def holds(self, batch: list[bytes]) -> bool:
        while self._at + len(batch) > len(self._table):
            self._table += self._table  # so that a batch is one slice, however long
        is_right = batch == self._table[self._at : self._at + len(batch)]
        self._at = (self._at + len(batch)) % self._period
        return is_right


class ManyChecker:
    """Compares with the table of each record's emitter: each one's records are in order."""

    def __init__(self, shape: Shape) -> None:
        self._next = [cycle(records(shape.size, number)) for number in range(shape.emitters)]

    def holds(self, batch: list[bytes]) -> bool:
        emitters = map(self._next.__getitem__, map(itemgetter(0), batch))
        return not any(map(ne, batch, map(next, emitters)))
