"""Signing in where a token is asked for: by the login link, and by entering the token."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pages import has_text
from turns import Agent
from webserver import serving

from ringbus.events import Note

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.browser, pytest.mark.slow]

TOKEN = "long enough and secret"  # noqa: S105


def test_a_browser_signs_in_by_link_and_another_by_the_token(
    browser: Browser, agent: Agent
) -> None:
    """From then on pages and streams work, and no script sees the cookie."""
    with serving(agent.state, token=TOKEN) as server, agent.bus() as bus:
        bus.emit(Note("hello"))
        place = f"http://127.0.0.1:{server.port}"
        first = browser.new_context().new_page()
        first.goto(server.url)
        first.wait_for_url(f"{place}/")
        has_text(first.locator("#agents"), agent.name)
        second = browser.new_context().new_page()
        response = second.goto(f"{place}/agents/{agent.name}")
        assert response is not None
        assert response.status == 401
        second.get_by_label("Token").fill("wrong")
        second.get_by_role("button", name="Sign in").click()
        has_text(second.locator("main"), "not the token")
        second.get_by_label("Token").fill(TOKEN)
        second.get_by_role("button", name="Sign in").click()
        second.wait_for_url(f"{place}/")
        second.goto(f"{place}/agents/{agent.name}")
        has_text(second.locator("#transcript"), "hello")
        has_text(second.locator("#connection"), "live")
        assert second.evaluate("document.cookie") == ""
        for page in (first, second):
            page.context.close()
