"""Processes for the tests of many: emitters whose events prove themselves, and lossy subscribers.

python workers.py emit AGENT STATE WORKER COUNT ACKNOWLEDGED
python workers.py open AGENT STATE WORKER COUNT
python workers.py subscribe AGENT TOTAL
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from ringbus.bus import Bus
from ringbus.errors import Lapped
from ringbus.events import Note
from ringbus.ring import Ring

SHORTEST, LONGEST = 20, 2_000
"""Bytes of a text that a worker emits."""

PREFIX = b'{"kind":"note","text":"'


def text_of(worker: int, number: int) -> str:
    """Tells who emitted it and as which of its events; its length follows from both."""
    size = SHORTEST + (number * 7_919 + worker * 104_729) % (LONGEST - SHORTEST + 1)
    return f"{worker} {number} ".ljust(size, "x")


def check_payload(payload: bytes) -> tuple[int, int]:
    """Worker and number of an event; fails unless it is whole."""
    worker, number, filler = payload.removeprefix(PREFIX).split(b" ", 2)
    found = int(worker), int(number)
    size = SHORTEST + (found[1] * 7_919 + found[0] * 104_729) % (LONGEST - SHORTEST + 1)
    length = len(worker) + len(number) + 2 + len(filler.rstrip(b"}").rstrip(b'"'))
    assert length == max(size, len(worker) + len(number) + 2), payload[:60]
    return found


class InOrder:
    """Checks that what each worker emitted comes in its order, each event at most once."""

    def __init__(self) -> None:
        self.received = 0
        self.next: dict[int, int] = {}

    def take(self, payload: bytes) -> None:
        worker, number = check_payload(payload)
        assert number >= self.next.get(worker, 0), f"{worker} {number}: a double, or out of order"
        self.next[worker] = number + 1
        self.received += 1


def emit(agent: str, state: str, worker: str, count: str, acknowledged: str) -> None:
    """Emits `count` events; writes each seq that it got to a file before it goes on."""
    with (
        Bus(agent, state=state, persister=None) as bus,
        Path(acknowledged).open("ab", buffering=0) as file,
    ):
        for number in range(int(count)):
            seq = bus.emit(Note(text_of(int(worker), number)))
            file.write(b"%d %d\n" % (seq, number))


def open_and_emit(agent: str, state: str, worker: str, count: str) -> None:
    """When told to go: opens the Bus, emits, and reads back; says which ring and persister."""
    print("ready", flush=True)
    sys.stdin.readline()
    with Bus(agent, state=state) as bus:
        for number in range(int(count)):
            seq = bus.emit(Note(text_of(int(worker), number)))
            if number % 500 == 0:
                assert seq in {envelope.seq for envelope in bus.history(limit=20_000)}
        assert bus.wait_stored(60)
        with Ring.open(agent, observer=True) as ring:
            print(ring.epoch, *(gate.pid for gate in ring.gates()), flush=True)


def subscribe(agent: str, total: str) -> None:
    """Reads until `total` records are out; received and missed must add up."""
    checks = InOrder()
    with Ring.open(agent) as ring, ring.subscribe("latest") as subscriber:
        print("ready", flush=True)
        while checks.received + subscriber.missed < int(total):
            try:
                records = subscriber.read(timeout=30)
            except Lapped:
                continue
            assert records
            for record in records:
                checks.take(record.payload)
        assert checks.received + subscriber.missed == int(total)
    print(checks.received, subscriber.missed, flush=True)


# --- starting them ------------------------------------------------------------------------


def worker(*arguments: object, **options: object) -> subprocess.Popen[str]:
    """A process of `workers.py`."""
    command = [sys.executable, __file__, *map(str, arguments)]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options
    )  # type: ignore[call-overload,no-any-return]


@contextlib.contextmanager
def all_ended(processes: list[subprocess.Popen[str]]) -> Iterator[None]:
    """None is left running, whatever happens."""
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def said(process: subprocess.Popen[str]) -> str:
    """Its next line."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def acknowledged(path: Path) -> list[tuple[int, int]]:
    """Seq and number of what an emitter knows to be out; the last line may be torn."""
    whole = path.read_text().rpartition("\n")[0]
    return [(int(seq), int(number)) for seq, number in map(str.split, whole.splitlines())]


if __name__ == "__main__":
    verb, *arguments = sys.argv[1:]
    {"emit": emit, "open": open_and_emit, "subscribe": subscribe}[verb](*arguments)
