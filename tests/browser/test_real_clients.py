"""Clients from the registries and the browser's own, over a line that breaks."""

from __future__ import annotations

import contextlib
import os
import random
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sse_clients import (
    THE_END,
    BreakingLine,
    Chromium,
    Client,
    Given,
    Node,
    Reader,
    install_from_npm,
    use_httpx,
    use_requests_sse,
    use_sseclient,
)
from storing import persister_process, stored
from turns import Agent, is_alive, wait_until
from webserver import Server, serving

from ringbus.bus import Bus
from ringbus.events import Envelope, Event, Gap, Note, Stream, TurnEnd, TurnStart

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SEED = 20_261_122
EVENTS, BURST = 5_000, 100
RING_BYTES = 256 << 10  # keeps a quarter of them: who was away reads the history
LEAST_CUT, MOST_CUT = 100_000, 500_000
LEAD = 1_500


@pytest.fixture(scope="module")
def npm_clients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program that uses the clients from npm."""
    return install_from_npm(tmp_path_factory.mktemp("npm"))


class System:
    """A persister and a server as processes, which come back after they were killed."""

    def __init__(self, agent: Agent, stack: contextlib.ExitStack) -> None:
        self._agent = agent
        self._stack = stack
        self._persister = stack.enter_context(persister_process(agent))
        self.server = stack.enter_context(serving(agent.state))

    def kill_persister(self) -> None:
        self._persister.kill()
        self._persister = self._stack.enter_context(persister_process(self._agent))

    def kill_server(self) -> None:
        process = self.server.process
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        for pid in [process.pid, *map(int, children)]:
            os.kill(pid, signal.SIGKILL)
        process.wait()
        for pid in map(int, children):
            wait_until(lambda pid=pid: not is_alive(pid), "the end of the worker")
        self._serve_again()

    def stop_server(self) -> None:
        self.server.process.terminate()
        self.server.end()
        self._serve_again()

    def _serve_again(self) -> None:
        self.server = self._stack.enter_context(serving(self._agent.state, port=self.server.port))


def event(number: int) -> Event:
    """Of every kind, short and long, with all that could be taken for the end of a line."""
    kinds: Sequence[Callable[[], Event]] = (
        lambda: TurnStart("operator", f"go {number}\r\n\n"),
        lambda: Stream(b'{"n":%d,\r\n"text":"\xe2\x80\xa8\xc2\x85 id: 1\\n\\ndata: x"}' % number),
        lambda: Stream(b"%d" % number),
        lambda: Note(f"{number} " + "é" * (4_000 if number % 500 == 3 else 20)),
        lambda: TurnEnd(ok=number % 2 == 0),
    )
    return kinds[number % len(kinds)]()


def emit_and_disturb(bus: Bus, system: System, pace: Callable[[int], None]) -> None:
    """All events in bursts; between some of them somebody dies."""
    bursts = range(0, EVENTS, BURST)
    harm = [system.kill_persister, system.kill_server, system.stop_server, system.kill_persister]
    when = sorted(random.Random(SEED).sample(bursts[5:-5], len(harm)))
    for first in bursts:
        if first in when:
            harm[when.index(first)]()
        bus.emit_many([event(number) for number in range(first, first + BURST)])
        pace(first)
    bus.emit(Note(THE_END))


@pytest.mark.timeout(300)
def test_every_client_receives_exactly_what_is_stored(
    page: Page, agent: Agent, npm_clients: Path
) -> None:
    """Ids and data, each once and in order, whatever breaks, and nothing besides."""
    path = f"/agents/{agent.name}/events?last=100000"
    with contextlib.ExitStack() as stack:
        bus = stack.enter_context(agent.bus(size=RING_BYTES))
        system = System(agent, stack)
        line = stack.enter_context(breaking_line(system.server))
        origin = f"http://127.0.0.1:{line.port}"
        readers = {
            name: Reader(origin + path, use)
            for name, use in (
                ("sseclient-py", use_sseclient),
                ("httpx-sse", use_httpx),
                ("requests-sse", use_requests_sse),
            )
        }
        clients: dict[str, Client] = {
            **readers,
            "Chromium": Chromium(page, origin, path),
            **{
                name: stack.enter_context(Node(npm_clients, name, origin + path))
                for name in ("eventsource", "eventsource-parser")
            },
        }

        def pace(emitted: int) -> None:
            wait_until(
                lambda: max(len(one.events) for one in readers.values()) > emitted - LEAD,
                "a client that keeps up",
            )

        emit_and_disturb(bus, system, pace)
        assert bus.wait_stored(60)
        expected = [as_given(envelope) for envelope in stored(agent)]
        given = {}
        for name, client in clients.items():
            wait_until(lambda client=client: is_at_end(client.given()), f"the end of {name}")
            given[name] = client.given()
    assert len(expected) == EVENTS + 1
    for name, events in given.items():
        assert events == expected, name
    assert line.cuts > 2, "the line did break"


@contextlib.contextmanager
def breaking_line(server: Server) -> Iterator[BreakingLine]:
    """A line to the server, whichever process that is."""
    line = BreakingLine(server.port, SEED, LEAST_CUT, MOST_CUT)
    try:
        yield line
    finally:
        line.close()


def as_given(item: Envelope | Gap) -> Given:
    """What a client has to be given for it."""
    assert isinstance(item, Envelope), item
    return "message", item.position, item.json().decode()


def is_at_end(given: Sequence[Given]) -> bool:
    return bool(given) and f'"{THE_END}"' in given[-1][2]
