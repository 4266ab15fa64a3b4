"""What is stored in the scenarios of the history: places, events, and a persister to itself."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.environment import filesystem
from benchmarks.harness import require
from benchmarks.processes import Child, wait_until
from benchmarks.rings import RECORD_BYTES, fresh_ring
from ringbus.events import KINDS
from ringbus.history import History
from ringbus.persister.agent import AgentPersister
from ringbus.ring import HISTORY_GATE, Ring
from ringbus.ring.batch import Batch

TMPFS = Path("/dev/shm")
KIND = KINDS.index("stream") + 1  # what nearly all events of an agent are
HEAD, TAIL = b'{"kind":"stream","data":{"text":"', b'"}}'
CELL_BYTES = 64
CELLS = 5  # that an event of RECORD_BYTES takes with its header


def folders() -> dict[str, Path]:
    """By the kind of their file system: a temporary folder may be on tmpfs, which is no disk."""
    return {f"disk ({filesystem(disk())})": disk(), "tmpfs": TMPFS}


def disk() -> Path:
    """A folder that is not in memory, where there is one."""
    places = (Path(tempfile.gettempdir()), Path("/var/tmp"), Path.home())
    return next((place for place in places if filesystem(place) != "tmpfs"), places[0])


def event(number: int) -> bytes:
    """An event of RECORD_BYTES, each another."""
    return HEAD + b"%0*d" % (RECORD_BYTES - len(HEAD + TAIL), number) + TAIL


def fits(size: int) -> int:
    """How many events a ring of `size` bytes keeps at least."""
    return size // (CELLS * CELL_BYTES) * 9 // 10


def persist(link: Connection, agent: str, path: Path) -> None:
    """The process of a persister: told once, it begins; told again, it ends."""
    persister = AgentPersister(agent, path)
    thread = threading.Thread(target=persister.run)
    link.send(None)
    link.recv()
    thread.start()
    link.recv()
    persister.stop()
    thread.join()


@contextmanager
def stored_ring(folder: Path, size: int | None = None) -> Iterator[tuple[Ring, Path]]:
    """A ring, and the history in `folder` that a persister on the other core fills from it."""
    with (
        tempfile.TemporaryDirectory(dir=folder, prefix="ringbus-bench-") as place,
        fresh_ring(size=size, policy="block") as ring,
    ):
        path = Path(place, f"{ring.name}.sqlite")
        with Child(persist, ring.name, path, core=1) as child:
            child.hear()
            child.tell()
            yield ring, path
            child.tell()


def require_stored(ring: Ring, path: Path, count: int) -> None:
    """Waits until the history holds so many events, which are all."""
    wait_stored(ring, count)
    with History.open(path, ring.name) as history:
        require(history.count() == count, f"{history.count()} of {count} rows are stored")


def stored(ring: Ring) -> int:
    """The seq up to which the ring's persister has committed; 0 before it begins."""
    return max((gate.cursor for gate in ring.gates() if gate.name == HISTORY_GATE), default=0)


def wait_stored(ring: Ring, seq: int) -> None:
    """Blocks until all below `seq` is committed."""
    wait_until(lambda: stored(ring) >= seq, f"record {seq - 1} in the history")


def fill(ring: Ring, path: Path, rows: int, emit: Callable[[Ring, int], object]) -> None:
    """A history of so many events, written as the persister writes it; `emit` emits the n-th."""
    batch, number = Batch(), 0
    with History.open(path, ring.name, write=True) as history, ring.subscribe() as subscriber:
        history.begin_epoch(ring.epoch)
        while number < rows:
            for _ in range(min(batch.most_records, rows - number)):
                emit(ring, number)
                number += 1
            subscriber.fill(batch)
            history.append_batch(ring.epoch, batch)
            history.restart_log()
        require(history.count() == rows, "the history could not be filled")


def emit_event(ring: Ring, number: int) -> None:
    ring.emit(event(number), KIND)
