"""`python -m screenshots [FOLDER]`: takes all pictures; run by `make screenshots`."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from webserver import Server, serving

from screenshots.camera import DESKTOP, PHONE, Camera, camera
from screenshots.scenes import DEMO, EPOCH, FAILED, GAPPED, NAMES, bustling, team

if TYPE_CHECKING:
    from playwright.sync_api import Page

CHROMIUM = os.environ.get("CHROMIUM") or "/usr/bin/chromium"
FOLDER = Path(__file__).resolve().parent / "pictures"

# Other agents of this machine do not belong on the pictures.
OURS_ALONE = f"""
import ringbus.agents
found = ringbus.agents.agents
ringbus.agents.agents = lambda state: [name for name in found(state) if name in {NAMES!r}]
"""

# What this browser has looked at before, so that the rest is unread.
SEEN = {"review-418": 4, "inbox": 2, FAILED: 25, "deps-weekly": 1}


def main() -> None:
    from playwright.sync_api import sync_playwright

    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as state,
        team(Path(state)) as busses,
        serving(Path(state), before=OURS_ALONE) as server,
        bustling(busses),
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        for size in (DESKTOP, PHONE):
            for scheme in ("light", "dark"):
                prepare = remember(server, f"{busses[DEMO].epoch}-0")
                with camera(browser, folder, size, scheme, prepare) as looking:
                    for name, scene in SCENES.items():
                        scene(looking, server)
                        looking.take(name)
        browser.close()


def remember(server: Server, newest: str) -> Callable[[Page], None]:
    """Makes the browser know what it has looked at; of the one at work, all."""
    places = {name: f"{EPOCH}-{seq}" for name, seq in SEEN.items()} | {DEMO: newest}

    def prepare(page: Page) -> None:
        page.goto(server.address("/healthz"))
        for name, value in places.items():
            key = f"ringbus:seen:{name}"
            page.evaluate("([key, value]) => localStorage.setItem(key, value)", [key, value])

    return prepare


def dashboard(looking: Camera, server: Server) -> None:
    looking.page.goto(server.url)
    looking.page.locator("#tally [data-state=failed]").wait_for()
    looking.page.wait_for_timeout(1200)


def agent(name: str) -> Callable[[Camera, Server], None]:
    """The agent's page at its end."""

    def scene(looking: Camera, server: Server) -> None:
        looking.page.goto(server.address(f"/agents/{name}"))
        looking.page.locator("#connection-word", has_text="live").wait_for()
        looking.page.wait_for_timeout(600)

    return scene


def gap(looking: Camera, server: Server) -> None:
    agent(GAPPED)(looking, server)
    row = looking.page.locator(".row-gap")
    row.evaluate("row => scrollBy(0, row.getBoundingClientRect().top - innerHeight / 2)")
    looking.page.wait_for_timeout(600)


def search(looking: Camera, server: Server) -> None:
    agent(DEMO)(looking, server)
    if looking.page.locator("#bar-fold").is_visible():
        looking.page.locator("#bar-fold").click()
    looking.page.locator("#search").fill("clock")
    looking.page.locator("#found", has_text=re.compile("[1-9]")).wait_for()
    looking.page.keyboard.press("Shift+Enter")
    looking.page.wait_for_timeout(800)


SCENES = {
    "dashboard": dashboard,
    "running": agent(DEMO),
    "failed": agent(FAILED),
    "gap": gap,
    "search": search,
}


if __name__ == "__main__":
    main()
