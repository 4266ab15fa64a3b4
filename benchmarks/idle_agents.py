"""What a persister costs that serves many agents, of which none does anything.

200 rings <-- [persister]
"""

from __future__ import annotations

import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.harness import Figure, Options, Result, Scenario, Target, require
from benchmarks.processes import PATIENCE, Child, cpu_seconds, private_bytes
from ringbus.bus import Bus
from ringbus.errors import RingNotFound
from ringbus.events import Note
from ringbus.persister import Persister
from ringbus.removal import remove_agent

NAME = "persister"
MOST_PERCENT = 0.5
SETTLE_SECONDS = 20.0  # sleeps have grown to their full length


def run(options: Options) -> Result:
    count, seconds = options.pick(200, 5), options.pick(10, 2)
    rounds = options.pick(5, 1)
    with tempfile.TemporaryDirectory(prefix="ringbus-bench-") as folder:
        state = Path(folder)
        with agents(count, state) as buses:
            names = [bus.name for bus in buses]
            with Child(serve, names, state) as child:
                child.hear()
                _store_one(buses)
                time.sleep(options.pick(int(SETTLE_SECONDS), 0))
                used = [_percent(child.pid, seconds) for _ in range(rounds)]
                memory = private_bytes(child.pid) / (1 << 20)
                files = len(list(Path(f"/proc/{child.pid}/fd").iterdir()))
                _store_one(buses)
                child.tell()
    processor = Figure(NAME, "processor", "% of a core", used)
    return Result(
        [
            processor,
            Figure(NAME, "private memory", "MiB", [memory]),
            Figure(NAME, "open files", "files", [files]),
        ],
        [
            Target(f"{count} idle agents: processor", processor.median, MOST_PERCENT, "%"),
        ],
        {"agents": count, "seconds_a_round": seconds},
        ["Before and after, an event of every agent was stored: the persister was alive."],
    )


@contextmanager
def agents(count: int, state: Path) -> Iterator[list[Bus]]:
    """Silent ones, gone at the end."""
    group = uuid.uuid4().hex[:8]
    with ExitStack() as stack:
        buses = []
        for number in range(count):
            name = f"bench-{group}-{number}"
            stack.callback(_remove, name, state)
            buses.append(stack.enter_context(Bus(name, state=state, persister=None)))
        yield buses


def _remove(name: str, state: Path) -> None:
    with suppress(RingNotFound):
        remove_agent(name, state, purge=True)


def serve(link: Connection, names: Sequence[str], state: Path) -> None:
    """The process of the persister."""
    persister = Persister(names, state)
    thread = threading.Thread(target=persister.run)
    thread.start()
    link.send(None)
    link.recv()
    persister.stop()
    thread.join()


def _store_one(buses: Sequence[Bus]) -> None:
    for bus in buses:
        bus.emit(Note("here"))
    for bus in buses:
        require(bus.wait_stored(PATIENCE), f"an event of {bus.name} was not stored")


def _percent(pid: int, seconds: float) -> float:
    before, start = cpu_seconds([pid]), time.monotonic()
    time.sleep(seconds)
    return (cpu_seconds([pid]) - before) / (time.monotonic() - start) * 100


SCENARIO = Scenario("A persister of many idle agents", run)
