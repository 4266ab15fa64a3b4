"""What the tests of the pages share: lines as an agent prints them, and looking at a page."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from turns import Agent
from webserver import Server

from ringbus.events import Stream, line_event

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

AT_END = "() => document.documentElement.scrollHeight - innerHeight - scrollY < 4"


def line(value: object) -> Stream:
    """A line of JSON as an agent would print it."""
    event = line_event(json.dumps(value).encode())
    assert isinstance(event, Stream)
    return event


def calls(*names_and_inputs: tuple[str, str, dict[str, Any]]) -> Stream:
    """An assistant line with tool calls: id, name, input."""
    blocks = [
        {"type": "tool_use", "id": id_, "name": name, "input": given}
        for id_, name, given in names_and_inputs
    ]
    return line({"type": "assistant", "message": {"id": "m", "content": blocks}})


def gives(id_: str, content: object, *, is_error: bool = False) -> Stream:
    """The result of a call."""
    block = {
        "type": "tool_result", "tool_use_id": id_, "content": content, "is_error": is_error,
    }  # fmt: skip
    return line({"type": "user", "message": {"role": "user", "content": [block]}})


def says(text: str, id_: str = "m") -> Stream:
    """An assistant line with text."""
    block = {"type": "text", "text": text}
    return line({"type": "assistant", "message": {"id": id_, "content": [block]}})


def partial(event: dict[str, Any]) -> Stream:
    """A partial message."""
    return line({"type": "stream_event", "event": event, "parent_tool_use_id": None})


def show(page: Page, server: Server, agent: Agent) -> None:
    """Opens the agent's page."""
    page.goto(server.address(f"/agents/{agent.name}"))


def has_text(place: Locator, text: str | re.Pattern[str]) -> None:
    """Waits until the place shows the text."""
    from playwright.sync_api import expect

    expect(place).to_contain_text(text)


def has_count(place: Locator, number: int) -> None:
    """Waits until there are that many."""
    from playwright.sync_api import expect

    expect(place).to_have_count(number)


def taken(page: Page) -> list[dict[str, Any]]:
    """All events that the page has loaded and lets through, whether they are drawn or not."""
    with page.expect_download() as coming:
        page.locator("[data-do=download]").dispatch_event("click")
    return [json.loads(line) for line in coming.value.path().read_bytes().splitlines()]


def at_end(page: Page) -> bool:
    """The newest row is in sight."""
    found: bool = page.evaluate(AT_END)
    return found
