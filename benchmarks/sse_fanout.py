"""Many browsers at one server: most are idle, some follow a busy agent each.

    emitter --> 50 rings --> [ringbus serve] --> 50 active clients, who check every event
                 1 ring  -->       |   |     --> 1,000 idle clients
               (silent)            |
                         other requests, one at a time

All of it shares the machine: with two cores the clients and the emitter take from the server.
"""

from __future__ import annotations

import http.client
import re
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from benchmarks.harness import Figure, Options, Result, Scenario, Target, percentile, require
from benchmarks.idle_agents import agents
from benchmarks.processes import PATIENCE, Child, cpu_seconds, private_bytes, process_tree
from ringbus._open_files import raise_limit
from ringbus.bus import Bus
from ringbus.events import Note

SERVER = "ringbus serve"
TICKS = 200  # a second; each is one event of every busy agent
MOST_MS = 50.0
AT_REST = "processor, all at rest"
MOST_AT_REST = 2.0  # % of a core
PROBE_SECONDS = 0.05
LONG_PATIENCE = 120.0


def run(options: Options) -> Result:
    idle, active = options.pick(1_000, 50), options.pick(50, 10)
    seconds, rounds = options.pick(10, 2), options.pick(3, 1)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ringbus-bench-"))
        state = Path(folder)
        *busy, silent = [bus.name for bus in stack.enter_context(agents(active + 1, state))]
        server, port = stack.enter_context(serving(state))
        emitter = stack.enter_context(Child(emit, busy, state, core=1))
        before = _memory(server)
        clients = stack.enter_context(Child(read, port, busy, [silent] * idle, core=1))
        clients.hear(LONG_PATIENCE)
        per_client = (_memory(server) - before) / (idle + active) / 1024
        at_rest = _processor_at_rest(server, seconds)
        found = [_round(emitter, clients, port, server, busy, seconds) for _ in range(rounds)]
        with Bus(silent, state=state, persister=None) as bus:
            bus.emit(Note(str(0).zfill(200)))
        emitter.tell(None)
        clients.tell(None)
        require(clients.hear(LONG_PATIENCE) == idle, "an idle client missed the last event")
    return _result(found, at_rest, per_client, idle, active, seconds)


def _processor_at_rest(server: int, seconds: int) -> float:
    """What all the clients cost while nothing happens, in % of a core."""
    time.sleep(1)  # what they cost when they come is over by then
    pids = list(process_tree(server))
    used, start = cpu_seconds(pids), time.monotonic()
    time.sleep(seconds)
    return (cpu_seconds(pids) - used) / (time.monotonic() - start) * 100


def _result(  # noqa: PLR0917
    found: Sequence[dict[str, float]],
    at_rest: float,
    per_client: float,
    idle: int,
    active: int,
    seconds: int,
) -> Result:
    def figure(quantity: str, unit: str) -> Figure:
        return Figure(SERVER, quantity, unit, [one[quantity] for one in found])

    slowest = figure("other requests, slowest", "ms")
    return Result(
        [
            figure("events delivered", "events/s"),
            figure("processor", "% of a core"),
            figure("emit to client, p50", "ms"),
            figure("emit to client, p99", "ms"),
            figure("other requests, p50", "ms"),
            figure("other requests, p99", "ms"),
            slowest,
            Figure(SERVER, AT_REST, "% of a core", [at_rest]),
            Figure(SERVER, "private memory for a client", "KiB", [per_client]),
        ],
        [
            Target("other requests, slowest", max(slowest.values), MOST_MS, "ms"),
            Target(AT_REST, at_rest, MOST_AT_REST, "% of a core"),
        ],
        {"idle": idle, "active": active, "a second": active * TICKS, "seconds": seconds},
        ["Every active client got every event once and in order, and every idle one the last."],
    )


def _round(  # noqa: PLR0917
    emitter: Child, clients: Child, port: int, server: int, busy: Sequence[str], seconds: int
) -> dict[str, float]:
    pids = list(process_tree(server))
    used, start = cpu_seconds(pids), time.monotonic()
    with _Prober(port, f"/agents/{busy[0]}/history?limit=20") as prober:
        emitter.tell(seconds)
        total = emitter.hear(LONG_PATIENCE)
        clients.tell(total)
        took = sorted(clients.hear(LONG_PATIENCE))
        passed = time.monotonic() - start
    require(len(prober.took) > 0, "no other request was answered")
    return {
        "events delivered": len(took) / passed,
        "processor": (cpu_seconds(pids) - used) / passed * 100,
        "emit to client, p50": percentile(took, 50) / 1e6,
        "emit to client, p99": percentile(took, 99) / 1e6,
        "other requests, p50": percentile(prober.took, 50) * 1e3,
        "other requests, p99": percentile(prober.took, 99) * 1e3,
        "other requests, slowest": max(prober.took) * 1e3,
    }


@contextmanager
def serving(state: Path) -> Iterator[tuple[int, int]]:
    """The server as people start it: its process and its port."""
    command = [sys.executable, "-m", "ringbus", "serve", "--state", str(state), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            url = process.stdout.readline().split()[-1] if process.stdout else ""
            port = urlsplit(url).port
            require(port is not None, "the server did not come up")
            yield process.pid, port or 0
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(PATIENCE)


def _memory(server: int) -> int:
    return sum(private_bytes(pid) for pid in process_tree(server))


class _Prober:
    """Other requests, one at a time, in a thread while inside; what each took, in seconds."""

    def __init__(self, port: int, path: str) -> None:
        self.took: list[float] = []
        self._port = port
        self._paths = ["/healthz", path]
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._is_over.wait(PROBE_SECONDS):
            path = self._paths[len(self.took) % 2]
            start = time.perf_counter()
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
            connection.request("GET", path)
            response = connection.getresponse()
            response.read()
            connection.close()
            if response.status == 200:
                self.took.append(time.perf_counter() - start)


# --- the emitter's process ----------------------------------------------------------------


def emit(link: Connection, names: Sequence[str], state: Path) -> None:
    """For so many seconds, each time it is told, at a steady rate; says how many each agent has."""
    with ExitStack() as stack:
        buses = [stack.enter_context(Bus(name, state=state, persister=None)) for name in names]
        number = 0
        while (seconds := link.recv()) is not None:
            start = time.monotonic()
            for tick in range(seconds * TICKS):
                time.sleep(max(0.0, start + tick / TICKS - time.monotonic()))
                for bus in buses:
                    bus.emit(Note(str(number).zfill(200)))
                number += 1
            link.send(number)


# --- the clients' process -----------------------------------------------------------------

_EVENT = re.compile(
    rb"id: [0-9a-f]{16}-(\d+)\n"
    rb'data: \{"epoch":"[0-9a-f]{16}","seq":\d+,"ts_ns":(\d+),"kind":"note","text":"(\d+)"\}\n\n'
)


class _Client:
    """An open stream; `next` is the seq that must come."""

    def __init__(self, port: int, agent: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        # 1.0: without chunks, whose sizes would stand between the events.
        self.socket.sendall(
            f"GET /agents/{agent}/events?live=1 HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n".encode()
        )
        self.next = 0
        self._waiting = b""

    def wait_open(self) -> None:
        """Returns when what is emitted from now on will come."""
        while b"\nretry: " not in self._waiting:
            piece = self.socket.recv(1 << 16)
            require(bool(piece), f"a stream did not open: {self._waiting!r:.300}")
            self._waiting += piece

    def take(self, took: list[int]) -> None:
        """Reads what is there; adds what each event took, in ns."""
        piece = self.socket.recv(1 << 16)
        now = time.time_ns()
        require(bool(piece), "a stream ended")
        self._waiting += piece
        end = 0
        for event in _EVENT.finditer(self._waiting):
            require(int(event[1]) == int(event[3]) == self.next, f"{event[0]!r} is out of order")
            self.next += 1
            took.append(now - int(event[2]))
            end = event.end()
        self._waiting = self._waiting[end:]
        require(b"event: gap" not in self._waiting, "a client was told of a gap")


def read(link: Connection, port: int, busy: Sequence[str], silent: Sequence[str]) -> None:
    """Told how many events each busy agent has: what every event since took, once all are here."""
    raise_limit()
    active = [_Client(port, name) for name in busy]
    idle = [_Client(port, name) for name in silent]
    with selectors.DefaultSelector() as selector:
        for client in active + idle:
            client.wait_open()
            selector.register(client.socket, selectors.EVENT_READ, client)
        selector.register(link, selectors.EVENT_READ)
        link.send(None)
        wanted, took = None, list[int]()
        while True:
            for key, _ in selector.select():
                if key.data is not None:
                    key.data.take(took)
                    continue
                wanted = link.recv()
                if wanted is None:
                    link.send(_read_last(selector, idle))
                    return
            if wanted is not None and all(client.next == wanted for client in active):
                link.send(took)
                wanted, took = None, []


def _read_last(selector: selectors.BaseSelector, idle: Sequence[_Client]) -> int:
    """How many idle clients got the one event that there was for them."""
    deadline = time.monotonic() + PATIENCE
    while any(client.next == 0 for client in idle) and time.monotonic() < deadline:
        for key, _ in selector.select(1):
            if key.data is not None:
                key.data.take([])
    return sum(client.next == 1 for client in idle)


SCENARIO = Scenario("One server: many idle clients, and some busy ones", run, cores=2)
