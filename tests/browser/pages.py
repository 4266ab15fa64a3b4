"""What the tests of the pages share: lines as an agent prints them, and looking at a page."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from turns import Agent, wait_until
from webserver import Server

from ringbus.bus import Bus
from ringbus.events import Event, Gap, Note, Stream, TurnEnd, TurnStart, encode, line_event
from ringbus.history import History

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

EPOCH = "00000000000000aa"  # of `store`
AT_END = "() => document.documentElement.scrollHeight - innerHeight - scrollY < 4"
IN_SIGHT = """element => {
    const { top, bottom } = element.getBoundingClientRect();
    return bottom > 100 && top < innerHeight;
}"""
SCROLL = """async by => {
    scrollBy({ top: by, behavior: "instant" });
    for (let frames = 0; frames < 3; frames += 1) await new Promise(requestAnimationFrame);
}"""


def line(value: object) -> Stream:
    """A line of JSON as an agent would print it."""
    event = line_event(json.dumps(value).encode())
    assert isinstance(event, Stream)
    return event


def calls(*names_and_inputs: tuple[str, str, dict[str, Any]], parent: str | None = None) -> Stream:
    """An assistant line with tool calls: id, name, input. With `parent` a subagent's."""
    blocks = [
        {"type": "tool_use", "id": id_, "name": name, "input": given}
        for id_, name, given in names_and_inputs
    ]
    return line(
        {
            "type": "assistant", "message": {"id": "m", "content": blocks},
            "parent_tool_use_id": parent,
        }
    )  # fmt: skip


def gives(id_: str, content: object, *, is_error: bool = False) -> Stream:
    """The result of a call."""
    block = {
        "type": "tool_result", "tool_use_id": id_, "content": content, "is_error": is_error,
    }  # fmt: skip
    return line({"type": "user", "message": {"role": "user", "content": [block]}})


def says(text: str, id_: str = "m", parent: str | None = None) -> Stream:
    """An assistant line with text. With `parent` a subagent's."""
    message = {"id": id_, "content": [{"type": "text", "text": text}]}
    return line({"type": "assistant", "message": message, "parent_tool_use_id": parent})


def partial(event: dict[str, Any]) -> Stream:
    """A partial message."""
    return line({"type": "stream_event", "event": event, "parent_tool_use_id": None})


def begins(bus: Bus, id_: str, sort: str, words: str) -> None:
    """A message of that id begins, with a block of that sort and these of its words."""
    for event in (
        {"type": "message_start", "message": {"id": id_}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": sort}},
        {
            "type": "content_block_delta", "index": 0,
            "delta": {"type": f"{sort}_delta", sort: words},
        },
    ):  # fmt: skip
        bus.emit(partial(event), transient=True)


def emit_turns(bus: Bus, number: int) -> None:
    """Turns of a prompt, a text, a call and a note; every third call fails, and its turn."""
    for turn in range(number):
        is_bad = turn % 3 == 2
        bus.emit_many(
            [
                TurnStart("operator", f"prompt {turn}"),
                says(f"Words about part {turn}.", f"m{turn}"),
                calls((f"c{turn}", "Bash", {"command": f"make {turn}"})),
                gives(f"c{turn}", "broken" if is_bad else "fine", is_error=is_bad),
                Note(f"note {turn}"),
                TurnEnd(ok=not is_bad, note="it broke" if is_bad else ""),
            ]
        )


def show(page: Page, server: Server, agent: Agent) -> None:
    """Opens the agent's page."""
    page.goto(server.address(f"/agents/{agent.name}"))


def store(agent: Agent, events: Iterable[tuple[int, Event]], holes: Collection[int] = ()) -> None:
    """A history of an epoch that is over: events and when they were, but for gaps at the holes."""
    rows = [(seq, ts_ns, *encode(event)) for seq, (ts_ns, event) in enumerate(events)]
    kept = [row for row in rows if row[0] not in holes]
    gaps = [Gap(EPOCH, seq, seq, 1, "lapped") for seq in holes]
    with History.open(agent.database, agent.name, write=True) as history:
        history.begin_epoch(EPOCH)
        history.append(EPOCH, kept, len(rows), gaps)
        history.end_epoch(EPOCH)


@contextmanager
def turns_on(page: Page, server: Server, agent: Agent, number: int) -> Iterator[Bus]:
    """The page of an agent with so many turns of `emit_turns`, all there."""
    with agent.bus() as bus:
        emit_turns(bus, number)
        show(page, server, agent)
        has_text(page.locator(".row-turn").last, f"prompt {number - 1}")
        yield bus


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


def chooses(page: Page, words: str | re.Pattern[str]) -> None:
    """Waits until a row with these words is chosen and in sight."""
    row = page.locator(".row.is-current")
    has_text(row, words)
    wait_until(lambda: row.evaluate(IN_SIGHT), "the chosen row in sight")


def scrolled(page: Page, by: int) -> bool:
    """At once, unlike by the wheel, and drawn."""
    page.evaluate(SCROLL, by)
    return True
