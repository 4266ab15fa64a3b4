"""Records from an emitter process to a reader process: all of them, in order, and checked.

The clock runs from the first emit until the reader has compared the last record. The comparison
is with a table that both ends made before, and costs the same for every transport.
"""

from __future__ import annotations

from itertools import cycle, islice
from multiprocessing.connection import Connection
from time import monotonic_ns

from benchmarks.harness import WrongResultError, require
from benchmarks.processes import Child
from benchmarks.rings import PERIOD, records
from benchmarks.transports import Transport

READY = "ready"


def one_to_one(transport: Transport, count: int) -> float:
    """Records a second from one process, on the first core, to one on the second."""
    with Child(read_all, transport, count, core=1) as reader:
        require(reader.hear() == READY, "the reader did not come up")
        with Child(emit_all, transport, count, core=0) as emitter:
            require(emitter.hear() == READY, "the emitter did not come up")
            emitter.tell()
            start_ns = emitter.hear()
            end_ns = reader.hear()
    return float(count / (end_ns - start_ns) * 1e9)


def emit_all(link: Connection, transport: Transport, count: int) -> None:
    """The emitter process."""
    emit, table = transport.open_emitter(), records()
    link.send(READY)
    link.recv()
    start_ns = monotonic_ns()
    for payload in islice(cycle(table), count):
        emit(payload)
    link.send(start_ns)


def read_all(link: Connection, transport: Transport, count: int) -> None:
    """The reader process; its last word is when it had everything."""
    read, table = transport.open_reader(), records() * 2
    link.send(READY)
    done = 0
    while done < count:
        batch = read()
        if not batch:
            raise WrongResultError(f"{done} of {count} records were delivered")
        at = done % PERIOD
        if batch != table[at : at + len(batch)]:
            raise WrongResultError(f"wrong records were delivered after {done} of {count}")
        done += len(batch)
    end_ns = monotonic_ns()
    require(done == count, f"{done} records were delivered instead of {count}")
    link.send(end_ns)
