"""The page of one agent: how late rows are."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from pages import calls, gives, has_count, has_text, says, show
from turns import Agent
from webserver import Server

from ringbus.events import Event, Note, TurnEnd, TurnStart, encode
from ringbus.history import History

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser


def test_a_row_says_how_much_later_it_is_than_what_is_above(
    page: Page, server: Server, agent: Agent
) -> None:
    """Between rows and between turns, from whichever side they are drawn; a result counts, too."""
    minutes = [12 * (number // 10) for number in range(300)]
    past = [(minute, Note(f"row {number}")) for number, minute in enumerate(minutes)]
    past += [
        (400, TurnStart("operator", "far apart")),
        (400, calls(("a", "Bash", {"command": "make"}))),
        (420, gives("a", "made")),
        (421, says("just after the result")),
        (427, TurnEnd(ok=True)),
    ]
    write_past(agent, past, ago_minutes=430 + 26 * 60)
    with agent.bus() as bus:
        bus.emit(TurnStart("operator", "a day after"))
        show(page, server, agent)
        has_text(page.locator(".row-turn").last, "1 d later")
        has_text(page.locator(".row-turn").first, "52 min later")
        has_text(page.locator(".row-end"), "6 min later")
        has_count(page.locator(".row-text .later, .row-tool .later"), 0)
        found = page.evaluate(GO_UP)
    assert found == {"seqs": list(range(300)), "wrong": [], "moved": 0}


# Goes up to the first note; notes which were met, and which of them say a wrong time or none. The
# first row drawn has nothing above it.
GO_UP = """async () => {
    const frame = () => new Promise(requestAnimationFrame);
    const [seqs, wrong] = [new Set(), new Set()];
    let moved = 0;
    for (let tries = 0; !seqs.has(0) && tries < 3000; tries += 1) {
        const notes = [...document.querySelectorAll("#transcript .row-note")];
        for (const [index, row] of notes.entries()) {
            const seq = Number(row.querySelector(".seq").textContent);
            const words = row.querySelector(":scope > .later")?.textContent ?? "";
            const isRight = words === (seq % 10 || !seq ? "" : "12 min later");
            if (index > 0 && !isRight) wrong.add(`${seq}: ${words}`);
            seqs.add(seq);
        }
        const mark = notes.find((row) => row.getBoundingClientRect().top > 200);
        const top = mark?.getBoundingClientRect().top;
        await frame();
        if (mark?.isConnected && Math.abs(mark.getBoundingClientRect().top - top) > 1) moved += 1;
        scrollBy({ top: -300, behavior: "instant" });
        await frame();
        await frame();
    }
    return { seqs: [...seqs].sort((one, other) => one - other), wrong: [...wrong], moved };
}"""


def write_past(agent: Agent, past: list[tuple[float, Event]], *, ago_minutes: float) -> None:
    """A history whose events came so many minutes after a first moment that is that long ago."""
    first_ns = time.time_ns() - int(ago_minutes * 60e9)
    rows = [
        (seq, first_ns + int(minute * 60e9), *encode(event))
        for seq, (minute, event) in enumerate(past)
    ]
    with History.open(agent.database, agent.name, write=True) as history:
        history.begin_epoch("5ce9a11ed0000001")
        history.append("5ce9a11ed0000001", rows, len(rows), [])
        history.end_epoch("5ce9a11ed0000001")
