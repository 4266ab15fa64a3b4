"""The whole system as its users run it: real processes, real recordings, and no mercy."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import apsw
import pytest
from recordings import MISSING, recorded_files
from storing import has_gate, persister_process, stored
from turns import DEADLINE_SECONDS, Agent, fresh_agent, is_alive, ringbus, wait_until
from webserver import Server, serving
from workers import InOrder, acknowledged, all_ended, said, text_of, worker

from ringbus.events import Envelope, Gap, Note, TurnEnd, TurnStart
from ringbus.follow import Follow
from ringbus.ring import list_rings

pytestmark = pytest.mark.slow

MEBIBYTE = 1 << 20


# --- recordings ---------------------------------------------------------------------------


def needs_recordings(files: list[Path]) -> list[object]:
    """One case for each file; without any, one that is skipped and says why."""
    return [pytest.param(path, id=path.stem) for path in files] or [
        pytest.param(None, marks=pytest.mark.skip(reason=MISSING), id="none")
    ]


@dataclass(frozen=True)
class Line:
    """A line of a recording, judged without the code under test."""

    data: bytes
    is_json: bool
    is_partial: bool

    def check(self, envelope: Envelope) -> None:
        """The envelope holds exactly this line."""
        if self.is_json:
            assert envelope.payload == b'{"kind":"stream","data":' + self.data + b"}"
        else:
            assert envelope.event == Note(self.data.decode(), source="stdout", reason=ANY)
        assert envelope.transient in {False, self.is_partial}


class _Any:
    """Equal to everything."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return True


ANY: str = _Any()  # type: ignore[assignment]


def lines_of(path: Path) -> list[Line]:
    return [judged(data) for data in path.read_bytes().removesuffix(b"\n").split(b"\n")]


def judged(data: bytes) -> Line:
    try:
        value = json.loads(data.decode(), parse_constant=lambda _: 1 / 0)
    except (ValueError, ZeroDivisionError):
        return Line(data, is_json=False, is_partial=False)
    kind = (value.get("type"), value.get("subtype")) if isinstance(value, dict) else (None, None)
    is_partial = kind[0] == "stream_event" or kind == ("system", "thinking_tokens")
    return Line(data, is_json=True, is_partial=is_partial)


class Reading:
    """A thread that collects what a source gives until so many turns have ended."""

    def __init__(self, source: Iterator[Envelope], turns: int) -> None:
        self.found: list[Envelope] = []
        self._source = source
        self._turns = turns
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        left = self._turns
        for envelope in self._source:
            self.found.append(envelope)
            left -= envelope.kind == "turn_end"
            if not left:
                return

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(DEADLINE_SECONDS)
        assert not self._thread.is_alive(), f"no end after {len(self.found)} events"


def followed(follow: Follow) -> Iterator[Envelope]:
    """What a live follower gets; it must be events alone."""
    for item in follow:
        assert isinstance(item, Envelope)
        yield item


def streamed(response: http.client.HTTPResponse) -> Iterator[Envelope]:
    """What a browser gets, read from the bytes of the stream."""
    for position, data in messages(response):
        placed = json.loads(data)
        assert position == f"{placed['epoch']}-{placed['seq']}"
        head, payload = data.split(b'"kind":', 1)
        assert head == b'{"epoch":"%b","seq":%d,"ts_ns":%d,' % (
            placed["epoch"].encode(),
            placed["seq"],
            placed["ts_ns"],
        )
        yield Envelope(placed["epoch"], placed["seq"], placed["ts_ns"], b'{"kind":' + payload)


def messages(response: http.client.HTTPResponse) -> Iterator[tuple[str, bytes]]:
    """Id and data of each plain message; none of these tests expects a gap or a reset."""
    fields: dict[bytes, bytes] = {}
    while line := response.readline():
        name, _, value = line.removesuffix(b"\n").partition(b": ")
        if name:
            fields[name] = value
        elif b"data" in fields:
            if fields.get(b"event") != b"cursor":
                assert b"event" not in fields, fields
                yield fields[b"id"].decode(), fields[b"data"]
            fields = {}


def same(one: Envelope, other: Envelope) -> bool:
    """Place and bytes; that it is transient is not sent."""
    return (one.position, one.ts_ns, one.payload) == (other.position, other.ts_ns, other.payload)


def check_turn(lines: list[Line], envelopes: Sequence[Envelope | Gap]) -> None:
    """One turn: its start, each line in order, how the program ended, its end; no gap."""
    start, *middle, note, end = envelopes
    assert start.event == TurnStart("operator", "", 0)
    assert len(middle) == len(lines)
    for line, envelope in zip(lines, middle, strict=True):
        line.check(envelope)
    assert note.event == Note("cat exited 0")
    assert end.event == TurnEnd(ok=True)


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One state folder for all recordings."""
    return tmp_path_factory.mktemp("recordings") / "state"


@pytest.fixture(scope="module")
def server(state: Path) -> Iterator[Server]:
    """One web process for all of them."""
    with serving(state) as server:
        yield server


@pytest.mark.parametrize("path", needs_recordings(recorded_files()))
def test_recording_survives_unchanged(path: Path, state: Path, server: Server) -> None:
    """Follower, browser and history agree: each JSON line's bytes, each other line in a note.

    Partial messages go to those who are there, and into history only if they are asked for.
    """
    with (
        fresh_agent(state) as agent,
        agent.bus() as bus,
        agent.persisted(),
        bus.follow(live=True) as follow,
        server.open(f"/agents/{agent.name}/events?live=1") as response,
        Reading(followed(follow), turns=2) as live,
        Reading(streamed(response), turns=2) as browser,
    ):
        wait_until(lambda: has_gate(agent.name), "the gate of the persister")
        for options in ([], ["--keep-partial"]):
            ran = ringbus("run", *agent.place, *options, "--", "cat", str(path))
            assert (ran.returncode, ran.stderr) == (0, b"")
        kept = stored(agent)

    lines = lines_of(path)
    lasting = [line for line in lines if not line.is_partial]
    check_turn(lines, live.found[: len(lines) + 3])
    check_turn(lines, live.found[len(lines) + 3 :])
    check_turn(lasting, kept[: len(lasting) + 3])
    check_turn(lines, kept[len(lasting) + 3 :])
    assert kept == [envelope for envelope in live.found if not envelope.transient]
    assert len(live.found) == len(browser.found)
    assert all(map(same, live.found, browser.found))


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
