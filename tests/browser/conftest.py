"""A Chromium, an agent and a server for the tests of the pages.

The browser is the system's own: /usr/bin/chromium, or what CHROMIUM names. Where it or playwright
is missing the tests are skipped, which is a failure when CI is set.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from missing import go_without
from turns import Agent, fresh_agent
from webserver import Server, serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = os.environ.get("CHROMIUM") or "/usr/bin/chromium"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The one browser of a module's tests.

    It ends with them: playwright keeps an event loop in this thread, where asyncio wants its own.
    """
    try:
        from playwright.sync_api import expect, sync_playwright
    except ImportError:
        go_without("playwright is not installed: pip install 'ringbus[test]'")
    if not Path(CHROMIUM).exists():
        go_without(f"there is no {CHROMIUM}: install chromium, or set CHROMIUM to its path")
    # A minute: a busy machine may take longer than the usual 5 s to draw thousands of rows.
    expect.set_options(timeout=60_000)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield chromium
        chromium.close()


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    """An agent of this test alone."""
    with fresh_agent(tmp_path) as fresh:
        yield fresh


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server for the agent's state folder."""
    with serving(tmp_path) as running:
        yield running


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that fails its test when a script on it fails or the content policy is broken."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    opened = context.new_page()
    problems: list[str] = []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on(
        "console",
        lambda message: (
            problems.append(message.text)
            if "Content Security Policy" in message.text or "cannot draw" in message.text
            else None
        ),
    )
    yield opened
    context.close()
    assert problems == []
