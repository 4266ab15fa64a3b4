"""The pages against axe-core's rules for people who see, hear or move otherwise.

The rules come from npm, in the version that tests/axe locks, or from where AXE names `axe.min.js`.
Where there is neither npm nor a registry the test is skipped, which is a failure when CI is set.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import npm
import pytest
from pages import calls, gives, has_count, has_text, line, says, show
from turns import Agent, fresh_agent
from webserver import Server

from ringbus.bus import Bus
from ringbus.events import Event, Note, TurnEnd, TurnStart

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

PACKAGE = Path(__file__).parents[1] / "axe"

RUN = """async () => {
    const { violations } = await axe.run(document, { resultTypes: ["violations"] });
    const place = node => `${node.html.slice(0, 160)} (${node.any[0]?.message})`;
    return violations.map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map(place).join(" | ")}`);
}"""


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The text of axe-core."""
    named = os.environ.get("AXE")
    if named:
        return Path(named).read_text()
    folder = tmp_path_factory.mktemp("axe")
    npm.install(PACKAGE, folder)
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_no_rule_of_axe_is_broken(
    browser: Browser, server: Server, agent: Agent, axe: str, scheme: str, width: int
) -> None:
    """Roles, names, contrast: all agents, an agent at work, a search, a chosen row, the help."""
    with agent.bus() as bus, agents_in_every_state(agent.state):
        emit_all_sorts(bus)
        # Past the content policy: the rules are ours to run, not the page's.
        with browser.new_context(
            viewport={"width": width, "height": 844}, color_scheme=scheme, bypass_csp=True
        ) as context:
            page = context.new_page()
            page.goto(server.url)
            has_text(page.locator("#tally [data-state=failed]"), "failed")
            assert broken_rules(page, axe) == []
            show(page, server, agent)
            has_text(page.locator(".row-turn").last, "second")
            assert broken_rules(page, axe) == []
            page.keyboard.press("/")
            page.keyboard.type("word")
            has_text(page.locator("#found"), "2")
            page.keyboard.press("Enter")
            has_count(page.locator(".is-current"), 1)
            page.locator("[data-show=text]").click()
            has_count(page.locator(".row-tool"), 0)
            assert broken_rules(page, axe) == []
            page.locator("[data-do=help]").click()
            has_count(page.locator("dialog[open]"), 1)
            assert broken_rules(page, axe) == []


@contextmanager
def agents_in_every_state(state: Path) -> Iterator[None]:
    """Failed, done, idle, limited and waiting, each with a ring of its own."""
    request = {"subtype": "can_use_tool", "tool_name": "Write", "input": {}}
    go = TurnStart("operator", "go")
    lives: list[list[Event]] = [
        [go, TurnEnd(ok=False, note="it broke")],
        [go, line({"type": "result", "total_cost_usd": 1.5}), TurnEnd(ok=True)],
        [Note("hello")],
        [go, line({"type": "rate_limit_event", "rate_limit_info": {"status": "rejected"}})],
        [go, line({"type": "control_request", "request": request})],
    ]
    with ExitStack() as stack:
        for events in lives:
            one = stack.enter_context(fresh_agent(state))
            stack.enter_context(one.bus()).emit_many(events)
        yield


def emit_all_sorts(bus: Bus) -> None:
    """A failed turn with every sort of row, and one that runs."""
    bus.emit_many(
        [
            TurnStart("operator", "first"),
            says("# A word\n\n- `code` and a [link](https://example.org)\n\n> said"),
            calls(("a", "Bash", {"command": "make"})),
            gives("a", "\x1b[31mred\x1b[32mgreen\x1b[33myellow\x1b[35mpink\x1b[0m", is_error=True),
            calls(("b", "Edit", {"file_path": "/x", "old_string": "a", "new_string": "b"})),
            line({"type": "system", "subtype": "init", "model": "m"}),
            line({"type": "news", "text": "of something"}),
            Note("on stderr", "stderr"),
            TurnEnd(ok=False, note="it broke"),
            TurnStart("planner", "second", 3),
            says("The last word."),
        ]
    )


def broken_rules(page: Page, axe: str) -> list[str]:
    """Each with the places where it is broken."""
    page.evaluate(axe)
    found: list[str] = page.evaluate(RUN)
    return found
