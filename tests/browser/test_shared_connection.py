"""One connection for all tabs of a browser, in a real browser over real rings."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pages import has_count, has_text, show, taken
from turns import Agent, fresh_agent, wait_until
from webserver import Server, serving

from ringbus.events import Note, TurnStart

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

    from ringbus.bus import Bus

pytestmark = pytest.mark.browser

TABS = 10


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """Tabs that share what a browser's tabs share."""
    context = browser.new_context()
    yield context
    context.close()


@contextlib.contextmanager
def several(state: Path, number: int) -> Iterator[list[tuple[Agent, Bus]]]:
    """So many agents, each with a first note."""
    with contextlib.ExitStack() as stack:
        found = []
        for _ in range(number):
            agent = stack.enter_context(fresh_agent(state))
            bus = stack.enter_context(agent.bus(size=64 << 10))
            bus.emit(Note("first"))
            found.append((agent, bus))
        yield found


def clients(server: Server) -> str:
    """How many streams the server sends."""
    (line,) = [
        one
        for one in server.text("/metrics").splitlines()
        if one.startswith("ringbus_sse_clients ")
    ]
    return line.split()[1]


def notes(page: Page) -> list[str]:
    return page.locator(".row-note pre").all_text_contents()


def test_ten_tabs_and_two_dashboards_are_live_on_one_connection(
    context: BrowserContext, tmp_path: Path
) -> None:
    """Requests are answered at once; a server that comes back finds each tab at its place."""
    with several(tmp_path, TABS) as agents, serving(tmp_path) as server:
        tabs = [context.new_page() for _ in agents]
        for (agent, _), tab in zip(agents, tabs, strict=True):
            show(tab, server, agent)
        boards = [context.new_page(), context.new_page()]
        for board in boards:
            board.goto(server.url)
            has_text(board.locator("#connection-word"), "live")
        for number, (agent, bus) in enumerate(agents):
            bus.emit(TurnStart("operator", f"live {number}"))
            has_text(tabs[number].locator("#transcript"), f"live {number}")
            for board in boards:
                has_text(board.locator(f'[data-agent="{agent.name}"]'), "Working")
        assert boards[0].evaluate("fetch('/healthz').then(answer => answer.status)") == 200
        wait_until(lambda: clients(server) == "1.0", "the only connection")

        server.process.terminate()
        server.end()
        has_text(tabs[0].locator("#connection-word"), "reconnecting")
        for number, (_, bus) in enumerate(agents):
            bus.emit(Note(f"while away {number}"))
        with serving(tmp_path, port=server.port) as again:
            for number, tab in enumerate(tabs):
                has_text(tab.locator("#transcript"), f"while away {number}")
                assert notes(tab) == ["first", f"while away {number}"]
                has_text(tab.locator("#connection-word"), "live")
            for tab in tabs[1:] + boards:
                tab.close()
            wait_until(lambda: clients(again) == "1.0", "the only connection")
            agents[0][1].emit(Note("last"))
            has_count(tabs[0].locator(".row-note"), 3)


def test_tabs_of_one_agent_each_get_everything_once(
    context: BrowserContext, server: Server, agent: Agent
) -> None:
    """Also what comes while others come and go. So few that the page shows all at once."""
    with agent.bus() as bus:
        tabs = []
        for number in range(4):
            tabs.append(context.new_page())
            bus.emit_many([Note(f"{number} {each}") for each in range(5)])
            show(tabs[-1], server, agent)
            bus.emit_many([Note(f"{number} and {each}") for each in range(5)])
        tabs.pop().close()
        bus.emit(Note("last"))
        for tab in tabs:
            has_text(tab.locator(".row-note").last, "last")
            # Loaded; in the document is only what is near the screen.
            assert [event["text"] for event in taken(tab)] == [
                envelope.event.text for envelope in bus.history()
            ]


def test_a_browser_without_shared_workers_has_a_connection_a_tab(
    context: BrowserContext, server: Server, agent: Agent
) -> None:
    """As has one whose worker cannot be loaded."""
    without, broken = context.new_page(), context.new_page()
    without.add_init_script("delete window.SharedWorker")
    broken.add_init_script(
        "const Real = SharedWorker;"
        "window.SharedWorker = function (url, options) {"
        "  return new Real(url + '.missing', options);"
        "}"
    )
    with agent.bus() as bus:
        for tab in (without, broken):
            show(tab, server, agent)
        bus.emit(Note("hello"))
        for tab in (without, broken):
            has_text(tab.locator("#transcript"), "hello")
        assert clients(server) == "2.0"


HUB = """async (follow) => {
    const { Hub } = await import("/assets/hub.js");
    window.positions = [];
    const port = { postMessage({ batch = [] }) {
        for (const [, , position] of batch) window.positions.push(position);
    } };
    new Hub(new URL("/follow", location.href)).meet(port);
    port.onmessage({ data: { follow } });
    window.read = () => {
        const { length } = window.positions.splice(0);
        port.onmessage({ data: { read: length } });
    };
}"""


def test_a_tab_that_does_not_read_holds_nothing_up_and_gets_the_rest_later(
    page: Page, server: Server, agent: Agent
) -> None:
    """A frozen one: so much waits for it and no more, and then it goes on where it was."""
    count, most = 24_000, 20_001
    with agent.bus(size=16 << 20) as bus:
        bus.emit_many([Note(str(number)) for number in range(1 + count)])
        page.goto(server.address("/healthz"))
        # After a position: without one there is a limit to what comes.
        page.evaluate(HUB, {"agent": agent.name, "where": f"{bus.epoch}-0", "kinds": ""})
        wait_until(lambda: page.evaluate("positions.length") == most, "what waits for the tab")
        bus.emit(Note("meanwhile"))
        # It is asked for anew without the tab.
        wait_until(lambda: clients(server) == "0.0", "the end of the connection")
        first = page.evaluate("positions")
        page.evaluate("read()")
        wait_until(lambda: page.evaluate("positions.length") == count + 1 - most, "the rest")
        rest = page.evaluate("positions")
    assert first + rest == [f"{bus.epoch}-{number}" for number in range(1, count + 2)]


MANY = """async ({ agent, tabs }) => {
    const { Hub } = await import("/assets/hub.js");
    const hub = new Hub(new URL("/follow", location.href));
    window.told = Array.from({ length: tabs }, () => []);
    window.ports = window.told.map((told) => ({ postMessage: (said) => told.push(said) }));
    for (const port of window.ports) {
        hub.meet(port);
        port.onmessage({ data: { follow: { agent, where: "last-1", kinds: "" } } });
    }
    window.got = (type) => window.told.map(
        (told) => told.flatMap(({ batch = [] }) => batch).filter(([one]) => one === type).length);
}"""


def test_one_tab_too_many_is_told_and_comes_in_when_another_closes(
    page: Page, server: Server, agent: Agent
) -> None:
    """The others are as live as before."""
    with agent.bus() as bus:
        bus.emit(Note("hello"))
        page.goto(server.address("/healthz"))
        page.evaluate(MANY, {"agent": agent.name, "tabs": 33})
        wait_until(lambda: page.evaluate("got('message')") == [1] * 32 + [0], "all but one tab")
        assert page.evaluate("got('busy')") == [0] * 32 + [1]
        bus.emit(Note("more"))
        wait_until(lambda: page.evaluate("got('message')") == [2] * 32 + [0], "the next event")
        page.evaluate("ports[0].onmessage({ data: { close: true } })")
        wait_until(lambda: page.evaluate("got('message')[32]") == 1, "the last tab")
        bus.emit(Note("last"))
        wait_until(
            lambda: page.evaluate("got('message')") == [2] + [3] * 31 + [2], "the last event"
        )
        assert page.evaluate("got('gap')") == [0] * 33


def test_a_browser_is_told_when_the_server_has_no_place(
    context: BrowserContext, tmp_path: Path, agent: Agent
) -> None:
    """In words, on every tab; the page itself is there."""
    small = "from ringbus.web import server; server.DEFAULT_MAX_STREAMS = 1"
    with serving(tmp_path, before=small) as server, agent.bus() as bus:
        bus.emit(Note("hello"))
        with server.open(f"/agents/{agent.name}/events") as taken:
            taken.readline()
            tab = context.new_page()
            show(tab, server, agent)
            has_text(
                tab.locator("#connection-word"), "all 1 event streams of this server are taken"
            )
        has_text(tab.locator("#transcript"), "hello")
