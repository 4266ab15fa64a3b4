"""An application's own style sheet and template, in a real browser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hosting import flask_server, free_port, texts_of
from pages import has_text
from turns import Agent

from ringbus.events import TurnStart

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SHEET = """
app.config["RINGBUS_STYLESHEET"] = "/static/own.css"
"""
LOOKS = """() => {
    const style = getComputedStyle(document.body);
    return [style.getPropertyValue("--accent"), style.fontFamily.split(",")[0],
        getComputedStyle(document.querySelector("[data-state=working] .dot")).backgroundColor];
}"""


def test_colours_and_faces_of_ones_own_win_and_the_pages_stay_live(
    page: Page, agent: Agent, tmp_path: Path
) -> None:
    """By the very words of the README, in both schemes, on both pages."""
    folder = tmp_path / "application"
    (folder / "static").mkdir(parents=True)
    (folder / "templates/ringbus").mkdir(parents=True)
    (text,) = (text for text in texts_of("python") if "RingbusWeb" in text)
    before, registered, after = text.partition("RingbusWeb(app,")
    (folder / "app.py").write_text(before + SHEET.strip() + "\n" + registered + after)
    (folder / "static/own.css").write_text(*texts_of("css"))
    (folder / "templates/ringbus/layout.html").write_text(*texts_of("jinja"))
    port = free_port()
    with agent.bus() as bus, flask_server(folder, port, RINGBUS_STATE=str(agent.state)):
        bus.emit(TurnStart("operator", "go"))
        for path in ("/live/", f"/live/agents/{agent.name}"):
            page.emulate_media(color_scheme="light")
            page.goto(f"http://127.0.0.1:{port}{path}")
            has_text(page.locator("#connection-word"), "live")
            page.locator("[data-state=working] .dot").first.wait_for()
            assert page.evaluate(LOOKS) == ["#7a3e9d", "Inter", "rgb(122, 62, 157)"]
            page.emulate_media(color_scheme="dark")
            assert page.evaluate(LOOKS) == ["#c79be0", "Inter", "rgb(199, 155, 224)"]
            assert page.locator("link[rel=author]").count() == 1
