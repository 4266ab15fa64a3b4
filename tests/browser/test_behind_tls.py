"""The pages behind proxies that end TLS and speak HTTP/2 with a real browser."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hosting import Hosted, free_port, haproxy, nginx, program
from pages import has_text
from turns import Agent
from webserver import serving

from ringbus.events import Note

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.browser, pytest.mark.slow]

Proxy = Callable[..., AbstractContextManager[Hosted]]
NAME = "agents.localhost"
TOKEN = "long enough and secret"  # noqa: S105
NEXT_HOP = "performance.getEntriesByType('navigation')[0].nextHopProtocol"

# What the words of the README about TLS come to.
PAIR = "ssl_certificate {pem}; ssl_certificate_key {pem};"
TLS = {
    nginx: ("listen {port};", f"listen {{port}} ssl http2; {PAIR}"),
    haproxy: ("bind :{port}", "bind :{port} ssl crt {pem} alpn h2,http/1.1"),
}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that nobody else trusts, with its key."""
    folder = tmp_path_factory.mktemp("certificate")
    key, made, both = (folder / name for name in ("key", "made", "both.pem"))
    request = ["req", "-x509", "-nodes", "-newkey", "rsa:2048", "-days", "2"]
    subprocess.run(
        [program("openssl", "openssl"), *request, "-subj", f"/CN={NAME}",
         "-keyout", str(key), "-out", str(made)],
        check=True, capture_output=True,
    )  # fmt: skip
    both.write_text(made.read_text() + key.read_text())
    return both


@pytest.mark.parametrize("proxy", [nginx, haproxy], ids=["nginx", "haproxy"])
def test_a_browser_signs_in_and_sees_events_over_tls(
    browser: Browser, agent: Agent, tmp_path: Path, certificate: Path, proxy: Proxy
) -> None:
    """By HTTP/2, with a cookie for TLS alone, and as soon as they are emitted."""
    port = free_port()
    change = tuple(text.format(port=port, pem=certificate) for text in TLS[proxy])
    with (
        serving(agent.state, token=TOKEN, allow_hosts=[NAME]) as server,
        proxy(tmp_path, port, server.port, change=change),
        agent.bus() as bus,
        browser.new_context(ignore_https_errors=True) as context,
    ):
        bus.emit(Note("before"))
        page = context.new_page()
        page.goto(f"https://{NAME}:{port}/agents/{agent.name}")
        page.get_by_label("Token").fill(TOKEN)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(f"https://{NAME}:{port}/")
        assert page.evaluate(NEXT_HOP) == "h2"
        (cookie,) = context.cookies()
        assert (cookie["secure"], cookie["httpOnly"]) == (True, True)
        assert cookie["sameSite"] == "Strict"
        page.goto(f"https://{NAME}:{port}/agents/{agent.name}")
        has_text(page.locator(".row-note"), "before")
        has_text(page.locator("#connection-word"), "live")
        bus.emit(Note("after"))
        has_text(page.locator(".row-note").last, "after")
