"""What other web sites get of the pages, in a real browser that visits them: nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from pages import has_text, show
from turns import Agent
from webserver import Server, serving

from ringbus.events import Note

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

# Every name below localhost is this machine, in Chromium: as with a name that was rebound.
FOREIGN = "evil.localhost"

# What a script can try, and what came of each.
TRIES = """async ({ place, agent }) => {
    const element = (name, given) => new Promise((resolve, reject) => {
        const one = Object.assign(document.createElement(name), given);
        one.onload = () => resolve("loaded");
        one.onerror = () => reject(new Error());
        document.head.append(one);
    });
    const stream = (path) => new Promise((resolve, reject) => {
        const source = new EventSource(place + path);
        source.onopen = () => (source.close(), resolve("opened"));
        source.onerror = () => (source.close(), reject(new Error()));
    });
    const tries = {
        page: () => fetch(place).then((answer) => answer.ok),
        history: () => fetch(`${place}agents/${agent}/history`).then((answer) => answer.ok),
        blind: () => fetch(place, { mode: "no-cors" }).then((answer) => answer.ok),
        stream: () => stream(`agents/${agent}/events`),
        shared: () => stream(`follow?follow=1,${agent},last-1`),
        picture: () => element("img", { src: `${place}assets/icon.svg` }),
        style: () => element("link", { rel: "stylesheet", href: `${place}assets/base.css` }),
        module: () => import(`${place}assets/format.js`).then(() => "loaded"),
    };
    const came = {};
    for (const [name, attempt] of Object.entries(tries)) {
        came[name] = await attempt().then(String, () => "nothing");
    }
    return came;
}"""
FRAME = """place => new Promise((resolve) => {
    const frame = document.createElement("iframe");
    frame.onload = () => resolve(frame.contentDocument === null);
    frame.src = place;
    document.body.append(frame);
})"""


class _Page(BaseHTTPRequestHandler):
    """An empty page."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>another site</title>")

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def other_site() -> Iterator[str]:
    """The address of a site that is not ours."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Page) as site:
        threading.Thread(target=site.serve_forever, daemon=True).start()
        yield f"http://{FOREIGN}:{site.server_port}/"
        site.shutdown()


def tries(page: Page, server: Server, agent: Agent) -> dict[str, str]:
    """What a script on the page that is open gets of the server."""
    came: dict[str, str] = page.evaluate(TRIES, {"place": server.url, "agent": agent.name})
    return came


def test_a_site_that_somebody_visits_gets_nothing_of_the_pages(
    browser: Browser, server: Server, agent: Agent, other_site: str
) -> None:
    """No page, no stream, no picture, no frame; what its scripts try works on our own pages."""
    with agent.bus() as bus, browser.new_page() as page:  # a frame that is refused is in its log
        bus.emit(Note("not for everybody"))
        page.goto(other_site)
        assert set(tries(page, server, agent).values()) == {"nothing"}
        page.evaluate(FRAME, server.url)
        assert page.frames[1].locator("#agents").count() == 0
        assert "ringbus_sse_connects_total 0.0" in server.text("/metrics")
        page.goto(server.url)
        assert set(tries(page, server, agent).values()) == {"true", "opened", "loaded"}


def test_a_link_of_another_site_opens_a_page(
    page: Page, server: Server, agent: Agent, other_site: str
) -> None:
    """As one that a colleague wrote into a ticket."""
    with agent.bus() as bus:
        bus.emit(Note("hello"))
        page.goto(other_site)
        page.evaluate(
            "place => document.body.append(Object.assign(document.createElement('a'), "
            "{ href: place, textContent: 'there' }))",
            server.address(f"/agents/{agent.name}"),
        )
        page.get_by_text("there").click()
        has_text(page.locator(".row-note"), "hello")
        has_text(page.locator("#connection-word"), "live")


def test_a_name_that_was_rebound_to_this_machine_gets_nothing(
    page: Page, server: Server, agent: Agent
) -> None:
    """Neither does the page open, nor get its scripts, which are of the same origin, anything."""
    with agent.bus() as bus:
        bus.emit(Note("not for everybody"))
        rebound = server.url.replace("127.0.0.1", FOREIGN)
        opened = page.goto(rebound)
        assert opened is not None
        assert opened.status == 403
        has_text(page.locator("main"), f"{FOREIGN}:{server.port}")
        for path in ("", f"agents/{agent.name}/history", "metrics", "assets/base.css"):
            url = rebound + path
            status = page.evaluate("url => fetch(url).then(({ status }) => status)", url)
            assert status == 403, path


def test_an_allowed_name_shows_live_pages(page: Page, agent: Agent) -> None:
    """By the same road."""
    with serving(agent.state, allow_hosts=[FOREIGN]) as server, agent.bus() as bus:
        server.url = server.url.replace("127.0.0.1", FOREIGN)
        show(page, server, agent)
        has_text(page.locator("#connection-word"), "connected")
        bus.emit(Note("for those who were asked"))
        has_text(page.locator(".row-note"), "for those who were asked")
