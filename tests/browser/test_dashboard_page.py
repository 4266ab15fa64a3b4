"""The page of all agents, in a real browser over real rings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from turns import Agent, fresh_agent
from webserver import Server

from ringbus.events import TurnEnd, TurnStart

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Page

pytestmark = pytest.mark.browser


def test_each_agent_has_a_line_that_follows_what_it_does(
    page: Page, server: Server, agent: Agent
) -> None:
    """Working, then failed with the reason; the line leads to the agent's page."""
    from playwright.sync_api import expect

    with agent.bus() as bus:
        bus.emit(TurnStart("operator", "go"))
        page.goto(server.url)
        row = page.locator(f'[data-agent="{agent.name}"]')
        expect(row).to_contain_text("Working")
        bus.emit(TurnEnd(ok=False, note="exit status 3"))
        expect(row).to_contain_text("Failed")
        expect(row).to_contain_text("exit status 3")
        row.locator("a").click()
        expect(page.locator("h1")).to_have_text(agent.name)


def test_an_agent_that_appears_gets_a_line_without_a_reload(
    page: Page, server: Server, tmp_path: Path
) -> None:
    """The dashboard watches for new agents."""
    from playwright.sync_api import expect

    page.goto(server.url)
    expect(page.locator("#connection-word")).to_have_text("live")
    with fresh_agent(tmp_path) as late, late.bus() as bus:
        bus.emit(TurnStart("operator", "go"))
        expect(page.locator(f'[data-agent="{late.name}"]')).to_contain_text("Working")
