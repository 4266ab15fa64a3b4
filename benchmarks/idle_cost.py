"""What a system costs that has nothing to do.

    emitter (silent)  ring <-- [ringbus up: supervisor, persister, web] --> one open page

The page is its event stream, which is what a browser keeps open. After the measurement one event
goes the whole way, so what was idle is known to have been alive.
"""

from __future__ import annotations

import http.client
import select
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from benchmarks.harness import Figure, Options, Result, Scenario, require
from benchmarks.processes import PATIENCE, cpu_seconds, process_tree
from ringbus.bus import Bus
from ringbus.errors import RingNotFound
from ringbus.events import Note
from ringbus.removal import remove_agent

ALL = "all processes"
SETTLE_SECONDS = 3.0  # imports and the first page are over


def run(options: Options) -> Result:
    seconds, rounds = options.pick(10, 2), options.pick(3, 1)
    agent = f"bench-{uuid.uuid4().hex[:12]}"
    with tempfile.TemporaryDirectory(prefix="ringbus-bench-") as folder:
        state = Path(folder)
        with (
            agent_ring(agent, state) as bus,
            running(agent, state) as (root, url),
            Page(url, agent) as page,
        ):
            page.expect(bus, "before")
            time.sleep(SETTLE_SECONDS)
            used = [_measure(root, page, seconds) for _ in range(rounds)]
            page.expect(bus, "after")
    names = list(used[0])
    return Result(
        [Figure(name, "processor", "% of a core", [each[name] for each in used]) for name in names],
        parameters={"seconds_a_round": seconds, "pages": 1, "agents": 1},
    )


@contextmanager
def agent_ring(agent: str, state: Path) -> Iterator[Bus]:
    """The ring of an agent that is attached and silent; gone at the end."""
    try:
        with Bus(agent, state=state, persister=None) as bus:
            yield bus
    finally:
        with suppress(RingNotFound):
            remove_agent(agent, state, purge=True)


@contextmanager
def running(agent: str, state: Path) -> Iterator[tuple[int, str]]:
    """`ringbus up` on a free port, for this agent alone: its process and its address."""
    place = ["--agent", agent, "--state", str(state), "--port", "0"]
    command = [sys.executable, "-m", "ringbus", "up", *place]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            url = process.stdout.readline().strip() if process.stdout else ""
            require(url.startswith("http"), "ringbus up did not come up")
            yield process.pid, url
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(PATIENCE)


class Page:
    """An open event stream."""

    def __init__(self, url: str, agent: str) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(
            parts.hostname or "", parts.port, timeout=PATIENCE
        )
        self._path = f"/agents/{agent}/events"

    def __enter__(self) -> Self:
        self._connection.request("GET", self._path)
        self._response = self._connection.getresponse()
        require(self._response.status == 200, f"the page answered {self._response.status}")
        return self

    def __exit__(self, *_: object) -> None:
        self._response.close()
        self._connection.close()

    def expect(self, bus: Bus, text: str) -> None:
        """Emits a note and reads until it comes; the persister has it, too."""
        bus.emit(Note(text))
        require(bus.wait_stored(PATIENCE), "the persister stores nothing")
        while line := self._response.readline():
            if line.startswith(b"data:") and f'"{text}"'.encode() in line:
                return
        require(False, "the stream of the page ended")

    def drain(self) -> bytes:
        """What came since, without waiting."""
        came = b""
        while select.select([self._response], [], [], 0)[0]:
            piece = self._response.read1()
            require(bool(piece), "the stream of the page ended")
            came += piece
        return came


def _measure(root: int, page: Page, seconds: float) -> dict[str, float]:
    """Percent of a core that each process, and all of them, used."""
    before = process_tree(root)
    used = {pid: cpu_seconds([pid]) for pid in before}
    start = time.monotonic()
    page.drain()
    time.sleep(seconds)
    came = page.drain()
    passed = time.monotonic() - start
    require(process_tree(root) == before, "processes came or went while nothing happened")
    require(b"data:" not in came, f"events came while nothing happened: {came!r:.200}")
    percent = {_name(before[pid]): 0.0 for pid in before}
    for pid, command in before.items():
        percent[_name(command)] += (cpu_seconds([pid]) - used[pid]) / passed * 100
    return {ALL: sum(percent.values())} | percent


def _name(command: str) -> str:
    """The verb of `python -m ringbus VERB ...`."""
    words = command.split()
    return f"ringbus {words[words.index('ringbus') + 1]}" if "ringbus" in words else command


SCENARIO = Scenario("`ringbus up` with one open page and no events", run)
