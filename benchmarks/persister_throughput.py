"""How fast a full ring becomes rows.

    ring, full of events --> [persister] --> history          on disk, and on tmpfs

A first ringful has been stored by then: files, logs and mappings are there. While the persister is
stopped the ring is filled once more. The clock runs from letting it go on until it has moved its
gate past the last event, which it does when that is committed. Beside it: the same rows, from
memory, by `executemany()` and by a loop in C.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from time import monotonic_ns

import apsw

from benchmarks.baselines import apsw_executemany, bind_step
from benchmarks.baselines.apsw_executemany import ROWS_A_TRANSACTION, Row
from benchmarks.harness import (
    Figure,
    Options,
    Result,
    Scenario,
    Target,
    pinned,
    require,
    round_robin,
)
from benchmarks.processes import Child, cpu_seconds, private_bytes
from benchmarks.rings import RECORD_BYTES, fresh_ring
from benchmarks.storing import KIND, event, fits, folders, persist, stored, wait_stored
from ringbus.events import Envelope, Gap
from ringbus.history import History, schema
from ringbus.ring import Ring

PERSISTER = "persister"
EXECUTEMANY = "apsw executemany"
BIND_STEP = "bind and step in C"
RATIO = 1.8
MOST_MIB = 60

Prepare = Callable[[Sequence[Row]], Callable[[apsw.Connection], None]]


@dataclass(frozen=True)
class Stored:
    rate: float  # rows/s
    cpu_us: float  # of processor time for a row
    mib: float  # of private memory when all was stored


def run(options: Options) -> Result:
    size = options.pick(128 << 20, 2 << 20)
    contenders: dict[str, Callable[[Ring, Path, int], Stored]] = {
        PERSISTER: _by_persister,
        EXECUTEMANY: _by(apsw_executemany.prepare),
        BIND_STEP: _by(bind_step.prepare),
    }
    measured = {
        (name, place): _measure(folder, store, size, fits(size))
        for place, folder in folders().items()
        for name, store in contenders.items()
    }
    with pinned(0):
        stored = round_robin(measured, options.pick(5, 1), warm_ups=0)
    return Result(
        [figure for (name, place), of in stored.items() for figure in _figures(name, place, of)],
        _targets(stored),
        parameters={
            "payload_bytes": RECORD_BYTES,
            "rows_a_round": fits(size),
            "rows_a_transaction_of_the_others": ROWS_A_TRANSACTION,
        },
        notes=[
            "Every row was read back and compared, with the clock stopped.",
            "Only the persister reads a ring; the others have their rows in memory.",
        ],
    )


def _figures(name: str, place: str, of: Sequence[Stored]) -> list[Figure]:
    contender = f"{name}, {place}"
    figures = [
        Figure(contender, "stored", "rows/s", [each.rate for each in of]),
        Figure(contender, "processor", "us/row", [each.cpu_us for each in of]),
    ]
    if name == PERSISTER:
        figures.append(Figure(contender, "private memory", "MiB", [each.mib for each in of]))
    return figures


def _targets(stored: dict[tuple[str, str], list[Stored]]) -> list[Target]:
    ours = stored[PERSISTER, "tmpfs"]
    targets = []
    for other, limit in ((EXECUTEMANY, RATIO), (BIND_STEP, 1.0)):
        pairs = list(zip(ours, stored[other, "tmpfs"], strict=True))
        rate = median([our.rate / their.rate for our, their in pairs])
        work = median([their.cpu_us / our.cpu_us for our, their in pairs])
        targets += [
            Target(f"tmpfs: rows/s over {other}", rate, limit, "times", at_least=True),
            Target(f"tmpfs: rows a CPU-second over {other}", work, limit, "times", at_least=True),
        ]
    most = max(each.mib for (name, _), of in stored.items() if name == PERSISTER for each in of)
    return [*targets, Target("private memory of the persister", most, MOST_MIB, "MiB")]


def _measure(
    folder: Path, store: Callable[[Ring, Path, int], Stored], size: int, count: int
) -> Callable[[], Stored]:
    def measure() -> Stored:
        with (
            tempfile.TemporaryDirectory(dir=folder, prefix="ringbus-bench-") as place,
            fresh_ring(size=size, policy="block") as ring,
        ):
            path = Path(place, f"{ring.name}.sqlite")
            with History.open(path, ring.name, write=True) as history:
                history.begin_epoch(ring.epoch)
            stored = store(ring, path, count)
            _check(path, ring, 2 * count)
            return stored

    return measure


def _by_persister(ring: Ring, path: Path, count: int) -> Stored:
    with Child(persist, ring.name, path, core=1) as child:
        child.hear()
        child.tell()
        _emit(ring, range(count))
        wait_stored(ring, count)
        child.stop()
        _emit(ring, range(count, 2 * count))
        require(stored(ring) == count, "the persister did not stand still")
        return _time(child, child.go_on, lambda: wait_stored(ring, 2 * count), count)


def _emit(ring: Ring, numbers: range) -> None:
    for number in numbers:
        ring.emit(event(number), KIND)


def _by(prepare: Prepare) -> Callable[[Ring, Path, int], Stored]:
    def store(_ring: Ring, path: Path, count: int) -> Stored:
        with Child(insert, prepare, path, count, core=1) as child:
            child.hear()
            return _time(child, child.tell, child.hear, count)

    return store


def _time(
    child: Child, begin: Callable[[], None], wait: Callable[[], object], count: int
) -> Stored:
    """It works between these two, and then waits to be told that it may end."""
    cpu, start_ns = cpu_seconds([child.pid]), monotonic_ns()
    begin()
    wait()
    passed = (monotonic_ns() - start_ns) / 1e9
    cpu = cpu_seconds([child.pid]) - cpu
    memory = private_bytes(child.pid)
    child.tell()
    return Stored(count / passed, cpu / count * 1e6, memory / (1 << 20))


def insert(link: Connection, prepare: Prepare, path: Path, count: int) -> None:
    """The process of a baseline."""
    first, second = (prepare(_rows(range(n * count, (n + 1) * count))) for n in range(2))
    with closing(schema.open_writer(path, create=False)) as db:
        first(db)
        link.send(None)
        link.recv()
        second(db)
        link.send(None)
        link.recv()


def _rows(numbers: range) -> list[Row]:
    return [
        (number + 1, 1_700_000_000, "stream", event(number).decode(), 1_700_000_000 * 10**9)
        for number in numbers
    ]


def _check(path: Path, ring: Ring, count: int) -> None:
    """All rows are there, in order, with what was emitted."""
    done = 0
    with History.open(path, ring.name) as history:
        while page := history.read((ring.epoch, done), 5000).items:
            for item in page:
                require(_is_row(item, done), f"row {done} of {count} is wrong: {item}")
                done += 1
    require(done == count, f"{done} of {count} rows were stored")


def _is_row(item: Envelope | Gap, number: int) -> bool:
    return isinstance(item, Envelope) and item.seq == number and item.payload == event(number)


SCENARIO = Scenario("From a full ring to rows in the history", run, cores=2)
