"""What a reader costs that waits for a record, and how much memory the two ends take.

    [emitter, silent] --> ring --> [reader, waiting]

Before the measurement a record comes through, so what is idle is known to wait; another one ends
it. Memory is what no other process shares, above that of a process that has imported the same
modules and opened nothing. A broker's own is not in it, nor what it uses.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection

from benchmarks.delivery import READY
from benchmarks.harness import (
    Figure,
    Options,
    Result,
    Scenario,
    Target,
    WrongResultError,
    require,
    round_robin,
)
from benchmarks.peers import absences, present
from benchmarks.processes import Child, cpu_seconds, private_bytes
from benchmarks.rings import records
from benchmarks.transports import RINGBUS, Peer, Shape, Transport

LIMIT = 0.1  # percent of a core
SETTLE_SECONDS = 0.3


@dataclass(frozen=True)
class Idle:
    percent: float  # of a core
    reader_mib: float
    emitter_mib: float


def run(options: Options) -> Result:
    seconds = options.pick(10, 3) / 10
    failures: dict[str, str] = {}
    with Child(do_nothing) as bare:
        require(bare.hear() == READY, "a process did not come up")
        floor = private_bytes(bare.pid)
        contenders = {
            peer.name: _contender(peer, seconds, floor, failures)
            for peer in present(Shape(), options)
        }
        measured = round_robin(contenders, options.pick(3, 1), warm_ups=0)
        bare.tell()
    found = {
        name: [one for one in of if one] for name, of in measured.items() if name not in failures
    }
    figures = []
    for name, of in found.items():
        figures += [
            Figure(name, "waiting reader", "% of a core", [one.percent for one in of]),
            Figure(name, "memory of the reader", "MiB", [one.reader_mib for one in of]),
            Figure(name, "memory of the emitter", "MiB", [one.emitter_mib for one in of]),
        ]
    used = next(one.median for one in figures if one.contender == RINGBUS.name)
    return Result(
        figures,
        [Target(f"{RINGBUS.name}: a waiting reader", used, LIMIT, "% of a core")],
        {"seconds_a_round": seconds},
        absences(options),
        [f"{name}: {why}" for name, why in failures.items()],
    )


def _contender(
    peer: Peer, seconds: float, floor: int, failures: dict[str, str]
) -> Callable[[], Idle | None]:
    def measure() -> Idle | None:
        if peer.name in failures:
            return None
        try:
            return _measure(peer, seconds, floor)
        except WrongResultError as error:
            if peer is RINGBUS:
                raise
            failures[peer.name] = str(error).strip().splitlines()[-1]
            return None

    return measure


def _measure(peer: Peer, seconds: float, floor: int) -> Idle:
    with (
        peer.open(Shape()) as transport,
        Child(read_two, transport) as reader,
    ):
        require(reader.hear() == READY, "the reader did not come up")
        with Child(emit_two, transport) as emitter:
            require(emitter.hear() == READY, "the emitter did not come up")
            emitter.tell()
            require(reader.hear() == records()[0], "the record before is not what was emitted")
            time.sleep(SETTLE_SECONDS)
            used, start = cpu_seconds([reader.pid]), time.monotonic()
            time.sleep(seconds)
            used = cpu_seconds([reader.pid]) - used
            passed = time.monotonic() - start
            memory = [(private_bytes(end.pid) - floor) / (1 << 20) for end in (reader, emitter)]
            emitter.tell()
            require(reader.hear() == records()[1], "the record after is not what was emitted")
            emitter.tell()
    return Idle(used / passed * 100, *memory)


def do_nothing(link: Connection) -> None:
    table = records()
    link.send(READY)
    link.recv()
    del table


def emit_two(link: Connection, transport: Transport) -> None:
    emitter, table = transport.open_emitter(0), records()
    link.send(READY)
    for payload in table[:2]:
        link.recv()
        emitter.emit(payload)
        emitter.finish()
    link.recv()


def read_two(link: Connection, transport: Transport) -> None:
    read, table = transport.open_reader(0), records()
    link.send(READY)
    for _ in range(2):
        batch = read()
        require(len(batch) == 1, f"{len(batch)} records were delivered")
        link.send(batch[0])
    del table


SCENARIO = Scenario("A reader that waits, and the memory of both ends", run)
