"""How fast a full ring becomes rows.

    ring, full of events --> [persister] --> history          on disk, and on tmpfs

The clock runs from the order to begin until the persister has moved its gate past the last event,
which it does when that is committed. Beside it: the same rows, from memory, by `executemany()`.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from time import monotonic_ns

from benchmarks.baselines.apsw_executemany import ROWS_A_TRANSACTION, Row, insert_rows
from benchmarks.environment import filesystem
from benchmarks.harness import (
    Figure,
    Options,
    Result,
    Scenario,
    pinned,
    require,
    round_robin,
)
from benchmarks.processes import Child, cpu_seconds, wait_until
from benchmarks.rings import RECORD_BYTES, fresh_ring
from ringbus.events import KINDS, Envelope, Gap, Note, encode
from ringbus.history import History
from ringbus.persister.agent import AgentPersister
from ringbus.ring import HISTORY_GATE, Ring

PERSISTER = "persister"
BASELINE = "apsw executemany"
TMPFS = Path("/dev/shm")
CELL_BYTES = 64
CELLS = 5  # that an event of RECORD_BYTES takes with its header


@dataclass(frozen=True)
class Stored:
    rate: float  # rows/s
    cpu_us: float  # of processor time for a row


def run(options: Options) -> Result:
    size = options.pick(32 << 20, 2 << 20)
    count = size // (CELLS * CELL_BYTES) * 9 // 10  # the ring keeps them all
    measured: dict[str, Callable[[], Stored]] = {}
    for kind, folder in _folders().items():
        for name, store in ((PERSISTER, _by_persister), (BASELINE, _by_executemany)):
            measured[f"{name}, {kind}"] = _measure(folder, store, size, count)
    with pinned(0):
        stored = round_robin(measured, options.pick(5, 1), warm_ups=0)
    figures = []
    for name, of in stored.items():
        figures.append(Figure(name, "stored", "rows/s", [each.rate for each in of]))
        figures.append(Figure(name, "processor", "us/row", [each.cpu_us for each in of]))
    return Result(
        figures,
        parameters={
            "payload_bytes": RECORD_BYTES,
            "rows_a_round": count,
            "rows_a_transaction_of_executemany": ROWS_A_TRANSACTION,
        },
        notes=["Every row was read back and compared, with the clock stopped."],
    )


def _folders() -> dict[str, Path]:
    """By the kind of their file system: a temporary folder may be on tmpfs, which is no disk."""
    places = (Path(tempfile.gettempdir()), Path("/var/tmp"), Path.home())
    disks = [place for place in places if filesystem(place) != "tmpfs"]
    return {f"disk ({filesystem(disk)})": disk for disk in disks[:1]} | {"tmpfs": TMPFS}


def _measure(
    folder: Path, store: Callable[[Ring, Path, int], Stored], size: int, count: int
) -> Callable[[], Stored]:
    def measure() -> Stored:
        with (
            tempfile.TemporaryDirectory(dir=folder, prefix="ringbus-bench-") as place,
            fresh_ring(size=size) as ring,
        ):
            for number in range(count):
                ring.emit(_payload(number), KIND)
            require(ring.floor == 0, "the ring is too small to keep all events")
            path = Path(place, f"{ring.name}.sqlite")
            with History.open(path, ring.name, write=True) as history:
                history.begin_epoch(ring.epoch)
            stored = store(ring, path, count)
            _check(path, ring, count)
            return stored

    return measure


KIND = KINDS.index("note") + 1
HEAD, TAIL = encode(Note("|"))[1].split(b"|")


def _payload(number: int) -> bytes:
    """An event of RECORD_BYTES, each another."""
    return HEAD + b"%0*d" % (RECORD_BYTES - len(HEAD + TAIL), number) + TAIL


def _by_persister(ring: Ring, path: Path, count: int) -> Stored:
    def is_stored() -> bool:
        return any(gate.name == HISTORY_GATE and gate.cursor >= count for gate in ring.gates())

    with Child(persist, ring.name, path, core=1) as child:
        return _time(child, lambda: wait_until(is_stored, "the last row"), count)


def _by_executemany(_ring: Ring, path: Path, count: int) -> Stored:
    with Child(insert, path, count, core=1) as child:
        return _time(child, child.hear, count)


def _time(child: Child, wait: Callable[[], object], count: int) -> Stored:
    """The child is ready, works, and then waits to be told that it may end."""
    child.hear()
    cpu, start_ns = cpu_seconds([child.pid]), monotonic_ns()
    child.tell()
    wait()
    passed = (monotonic_ns() - start_ns) / 1e9
    cpu = cpu_seconds([child.pid]) - cpu
    child.tell()
    return Stored(count / passed, cpu / count * 1e6)


def persist(link: Connection, agent: str, path: Path) -> None:
    """The process of the persister."""
    persister = AgentPersister(agent, path)
    thread = threading.Thread(target=persister.run)
    link.send(None)
    link.recv()
    thread.start()
    link.recv()
    persister.stop()
    thread.join()


def insert(link: Connection, path: Path, count: int) -> None:
    """The process of the baseline."""
    rows: list[Row] = [
        (number + 1, 1_700_000_000, "note", _payload(number).decode(), 1_700_000_000 * 10**9)
        for number in range(count)
    ]
    link.send(None)
    link.recv()
    with closing(insert_rows(path, rows)):
        link.send(None)
        link.recv()


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
    return isinstance(item, Envelope) and item.seq == number and item.payload == _payload(number)


SCENARIO = Scenario("From a full ring to rows in the history", run, cores=2)
