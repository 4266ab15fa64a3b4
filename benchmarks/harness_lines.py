"""How many lines a second get from a program that prints them to those who read events.

    [program] --> stdout --> [harness] --> ring --> [persister]

Beside it the loop that one would write: lines of the same program, `json.loads`, and `put()` on a
`multiprocessing.Queue` that another process empties. Ours is over when the end of the turn is in
the ring, where every reader has it at once; theirs when the other process has the last line.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.queues import Queue
from pathlib import Path
from time import monotonic_ns
from typing import Any

from benchmarks.delivery import READY
from benchmarks.harness import (
    Figure,
    Options,
    Result,
    Scenario,
    Target,
    ratio,
    require,
    round_robin,
)
from benchmarks.processes import CONTEXT, PATIENCE, Child
from benchmarks.rings import fresh_ring
from benchmarks.storing import TMPFS, persist, require_stored
from ringbus._native import Record
from ringbus.bus import Bus
from ringbus.events import stream_payload
from ringbus.harness import run_turn

HARNESS = "ringbus's harness"
LOOP = "json.loads and a queue"
LINE_BYTES = 250
RATIO = 5
RING_BYTES = 64 << 20  # holds all lines, so that they can be compared afterwards


def run(options: Options) -> Result:
    count = options.pick(50_000, 2_000)
    lines = [_line(number) for number in range(count)]
    with tempfile.TemporaryDirectory(dir=TMPFS, prefix="ringbus-bench-") as folder:
        file = Path(folder, "lines")
        file.write_bytes(b"".join(line + b"\n" for line in lines))
        contenders: dict[str, Callable[[], float]] = {
            HARNESS: lambda: _harness(file, lines),
            LOOP: lambda: _loop(file, lines),
        }
        rates = round_robin(contenders, options.pick(5, 1), warm_ups=options.pick(1, 0))
    value = ratio(rates[HARNESS], rates[LOOP])
    return Result(
        [Figure(name, "lines", "lines/s", of) for name, of in rates.items()],
        [Target(f"{HARNESS} over {LOOP}", value, RATIO, "times", at_least=True)],
        {"line_bytes": LINE_BYTES, "lines_a_round": count, "program": "cat of a file on tmpfs"},
        ["Starting the program is part of both; comparing the lines is part of neither."],
    )


def _line(number: int) -> bytes:
    head = b'{"type":"assistant","message":{"role":"assistant","id":"%08d","text":"' % number
    return head + b"x" * (LINE_BYTES - len(head) - 3) + b'"}}'


def _harness(file: Path, lines: list[bytes]) -> float:
    with (
        tempfile.TemporaryDirectory(dir=TMPFS, prefix="ringbus-bench-") as folder,
        fresh_ring(size=RING_BYTES, policy="block") as ring,
        ring.subscribe() as subscriber,
        Bus(ring.name, state=folder, persister=None) as bus,
        Child(persist, ring.name, bus.database) as persister,
    ):
        persister.hear()
        persister.tell()
        status = run_turn(bus, ["cat", str(file)])
        require(status == 0, f"the turn ended with status {status}")
        found: list[Record] = []
        while len(found) < ring.tail:
            found += subscriber.read(timeout=PATIENCE)
        require_stored(ring, bus.database, len(found))
        persister.tell()
    wanted = [stream_payload(line)[1] for line in lines]
    require([record.payload for record in found[1 : len(lines) + 1]] == wanted, "wrong lines")
    return len(lines) / (found[-1].ts_ns - found[0].ts_ns) * 1e9


def _loop(file: Path, lines: list[bytes]) -> float:
    queue: Queue[Any] = CONTEXT.Queue()
    with Child(take, queue, lines) as taker:
        require(taker.hear() == READY, "the reader did not come up")
        start_ns = monotonic_ns()
        with subprocess.Popen(["cat", str(file)], stdout=subprocess.PIPE) as program:
            for line in program.stdout or ():
                queue.put(json.loads(line))
        end_ns = taker.hear()
    queue.close()
    return float(len(lines) / (end_ns - start_ns) * 1e9)


def take(link: Connection, queue: Queue[Any], lines: list[bytes]) -> None:
    """The other process."""
    link.send(READY)
    found = [queue.get(timeout=PATIENCE) for _ in lines]
    end_ns = monotonic_ns()
    require(found == [json.loads(line) for line in lines], "wrong lines")
    link.send(end_ns)


SCENARIO = Scenario("Lines of a program, on their way to readers", run, cores=2)
