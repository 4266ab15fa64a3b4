"""The whole system as its users run it: real processes, real recordings, and no mercy."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import apsw
import pytest
from storing import persister_process
from turns import DEADLINE_SECONDS, Agent, is_alive, ringbus, wait_until
from webclient import messages
from webserver import serving
from workers import InOrder, acknowledged, all_ended, said, text_of, worker

from ringbus.events import Note
from ringbus.ring import list_rings

pytestmark = pytest.mark.slow

MEBIBYTE = 1 << 20


# --- many processes -----------------------------------------------------------------------


def payloads(agent: Agent) -> Iterator[tuple[int, bytes]]:
    """Id and payload of every row."""
    db = apsw.Connection(str(agent.database), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        yield from db.execute("SELECT id, CAST(payload_json AS BLOB) FROM events ORDER BY id")
    finally:
        db.close()


def count_rows(agent: Agent) -> int:
    db = apsw.Connection(str(agent.database), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return int(db.execute("SELECT count(*) FROM events").get)
    finally:
        db.close()


@pytest.mark.timeout(300)
def test_million_events_of_four_emitters_are_stored_once(agent: Agent) -> None:
    """A ring of 1 MiB, a persister, two lossy subscribers: in order, and all adds up."""
    emitters, each = 4, 250_000
    with agent.bus(size=MEBIBYTE) as bus, persister_process(agent):
        subscribers = [worker("subscribe", agent.name, emitters * each) for _ in range(2)]
        with all_ended(subscribers):
            assert [said(process) for process in subscribers] == ["ready", "ready"]
            running = [
                worker("emit", agent.name, agent.state, number, each, os.devnull)
                for number in range(emitters)
            ]
            with all_ended(running):
                assert [process.wait() for process in running] == [0] * emitters
            assert bus.wait_stored(60)
            sums = [[int(word) for word in said(process).split()] for process in subscribers]
    assert [sum(words) for words in sums] == [emitters * each] * 2
    checks = InOrder()
    for _, payload in payloads(agent):
        checks.take(payload)
    assert checks.next == dict.fromkeys(range(emitters), each)
    assert checks.received == emitters * each


def test_twenty_processes_open_one_new_bus_at_once(agent: Agent) -> None:
    """One ring, one persister, every event stored, and each reads what it just wrote."""
    processes, each = 20, 1_000
    running = [worker("open", agent.name, agent.state, number, each) for number in range(processes)]
    with all_ended(running):
        assert [said(process) for process in running] == ["ready"] * processes
        for process in running:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        told = [said(process) for process in running]
        assert [process.wait() for process in running] == [0] * processes
    assert len(set(told)) == 1, "one epoch, and one persister"
    assert list_rings().count(agent.name) == 1
    wait_until(lambda: len(persisters(agent)) == 1, "all persisters but one to leave")
    checks = InOrder()
    for _, payload in payloads(agent):
        checks.take(payload)
    assert checks.next == dict.fromkeys(range(processes), each)
    assert checks.received == processes * each


def persisters(agent: Agent) -> list[int]:
    """Processes that are there to store this agent."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            words = path.read_bytes().split(b"\0")
            if b"persist" in words and agent.name.encode() in words:
                found.append(int(path.parent.name))
    return found


class Browser:
    """A client that comes back where it was: a thread, until `enough`."""

    def __init__(self, agent: Agent, port: int, enough: Callable[[bytes], bool]) -> None:
        self.found: list[tuple[str, bytes]] = []
        self.connects = 0
        self._path = f"/agents/{agent.name}/events"
        self._port = port
        self._enough = enough
        self._thread = threading.Thread(target=self._run)
        self._is_over = threading.Event()

    def _run(self) -> None:
        while not self._is_over.is_set():
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self._read():
                    return

    def _read(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
        headers = {"Last-Event-ID": self.found[-1][0]} if self.found else {}
        with contextlib.closing(connection):
            connection.request("GET", self._path, headers=headers)
            response = connection.getresponse()
            self.connects += 1
            for message in messages(response):
                self.found.append(message)
                if self._enough(message[1]):
                    return True
        return False

    def __enter__(self) -> Self:
        self._thread.start()
        wait_until(lambda: self.connects, "the browser to be connected")
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def join(self) -> None:
        """Waits until it has enough."""
        wait_until(lambda: not self._thread.is_alive(), "the last event in the browser")


def kill_with_children(process: subprocess.Popen[str]) -> None:
    """As whoever supervises it does: a child would still hold its port."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for pid in [process.pid, *map(int, children)]:
        os.kill(pid, signal.SIGKILL)
    process.wait()
    for pid in map(int, children):
        wait_until(lambda pid=pid: not is_alive(pid), "the end of a child")


@pytest.mark.timeout(300)
def test_killed_in_the_middle_nothing_acknowledged_is_missing_or_double(
    agent: Agent, tmp_path: Path
) -> None:
    """An emitter, the persister and the web process, each killed under load and started again."""
    each = 40_000
    files = [tmp_path / f"acknowledged-{number}" for number in range(4)]
    running: list[subprocess.Popen[str]] = []

    def start(number: int) -> subprocess.Popen[str]:
        files[number].touch()
        running.append(worker("emit", agent.name, agent.state, number, each, files[number]))
        return running[-1]

    def size(path: Path) -> int:
        return path.stat().st_size

    with contextlib.ExitStack() as stack:
        bus = stack.enter_context(agent.bus(size=MEBIBYTE))
        persister = stack.enter_context(persister_process(agent))
        server = stack.enter_context(serving(agent.state))
        browser = stack.enter_context(
            Browser(agent, server.port, lambda data: b'"the end"' in data)
        )
        stack.enter_context(all_ended(running))
        victim, *others = [start(number) for number in range(3)]

        wait_until(lambda: size(files[0]) > 10_000, "the first emitter at work")
        victim.kill()
        others.append(start(3))

        wait_until(lambda: count_rows(agent) > 10_000, "10,000 rows")
        persister.kill()
        assert all(process.poll() is None for process in others)
        stack.enter_context(persister_process(agent))

        wait_until(lambda: len(browser.found) > 20_000, "20,000 events in the browser")
        kill_with_children(server.process)
        assert all(process.poll() is None for process in others)
        stack.enter_context(serving(agent.state, port=server.port))

        assert [process.wait() for process in others] == [0, 0, 0]
        bus.emit(Note("the end"))
        assert bus.wait_stored(60)
        browser.join()

    rows = dict(payloads(agent))
    base = min(rows)
    assert sorted(rows) == list(range(base, base + len(rows))), "dense"
    assert b'"the end"' in rows.pop(max(rows))
    checks = InOrder()
    for payload in rows.values():
        checks.take(payload)
    for number, path in enumerate(files):
        for seq, count in acknowledged(path):
            expected = b'{"kind":"note","text":"%b"}' % text_of(number, count).encode()
            assert rows[base + seq] == expected
    assert [checks.next[number] for number in (1, 2, 3)] == [each] * 3
    assert checks.next[0] - len(acknowledged(files[0])) in {0, 1}, "at most the one in hand"

    assert browser.connects >= 2
    assert [position for position, _ in browser.found] == [
        f"{bus.epoch}-{seq}" for seq in range(len(rows) + 1)
    ]


# --- files that are no rings --------------------------------------------------------------

VERSION_AT = 8


def shorten(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def cut_to_a_stump(path: Path) -> None:
    os.truncate(path, 100)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def make_newer(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(VERSION_AT)
        (version,) = struct.unpack("<I", file.read(4))
        file.seek(VERSION_AT)
        file.write(struct.pack("<I", version + 1))


def fill_with_noise(path: Path) -> None:
    path.write_bytes(os.urandom(path.stat().st_size))


def fill_with_noise_behind_the_magic(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: VERSION_AT + 4] + os.urandom(len(content) - VERSION_AT - 4))


@pytest.mark.parametrize(
    "damage",
    [
        shorten,
        cut_to_a_stump,
        empty,
        make_newer,
        fill_with_noise,
        fill_with_noise_behind_the_magic,
    ],
    ids=lambda damage: damage.__name__,
)
def test_file_that_is_no_ring_is_refused_by_every_verb(
    agent: Agent, damage: Callable[[Path], None]
) -> None:
    """One clear line and status 1; `rm` takes it away as that line advises."""
    agent.bus(size=64 << 10).close()
    path = Path(f"/dev/shm/ringbus.{agent.name}")
    damage(path)
    verbs = [
        ["emit", *agent.place, "text"],
        ["run", *agent.place, "--", "true"],
        ["history", *agent.place],
        ["tail", *agent.place, "--no-follow"],
        ["stats", agent.name],
        ["persist", *agent.place],
    ]
    running = [(verb, ringbus_started(*verb)) for verb in verbs]
    for verb, process in running:
        _, told = process.communicate(timeout=DEADLINE_SECONDS)
        assert process.returncode == 1, (verb, told)
        assert f"{path} cannot be used as a ring" in told.splitlines()[-1], verb
        assert "Traceback" not in told, verb
    removed = ringbus("rm", agent.name, "--state", str(agent.state))
    assert (removed.returncode, removed.stderr) == (0, b"")
    with agent.bus() as bus:
        assert bus.emit(Note("new")) == 0


def ringbus_started(*arguments: str) -> subprocess.Popen[str]:
    """The running command."""
    return subprocess.Popen(
        [sys.executable, "-m", "ringbus", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
