"""Recordings of agents through the whole system: what is stored and sent is what they printed."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest
from recordings import MISSING, recorded_files
from storing import has_gate, stored
from turns import DEADLINE_SECONDS, fresh_agent, ringbus, wait_until
from webclient import messages
from webserver import Server, serving

from ringbus.events import Envelope, Gap, Note, TurnEnd, TurnStart
from ringbus.follow import Follow


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
