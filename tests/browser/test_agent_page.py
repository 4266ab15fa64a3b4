"""The page of one agent: how it follows, in a real browser over a real ring."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pages import (
    EPOCH,
    at_end,
    calls,
    gives,
    has_count,
    has_text,
    line,
    scrolled,
    show,
    store,
    taken,
)
from turns import Agent, wait_until
from webserver import Server, serving

from ringbus.bus import Bus
from ringbus.events import Note, TurnEnd, TurnStart, encode
from ringbus.history import History

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

TOP = "row => row.getBoundingClientRect().top"
TO_BOTTOM = """() => {
    scrollTo({ top: document.documentElement.scrollHeight, behavior: "instant" });
}"""
IN_SIGHT = """() => [...document.querySelectorAll(".row")]
    .find(one => one.getBoundingClientRect().top > 200).dataset.position"""
# A turn of the wheel goes on for some frames.
UNTIL_AT_REST = """async () => {
    for (let [frames, before] = [0, scrollY]; frames < 20; frames += 1) {
        await new Promise(requestAnimationFrame);
        if (scrollY !== before) [frames, before] = [0, scrollY];
    }
}"""


def test_page_of_an_agent_to_come_waits_and_then_shows_its_first_event(
    page: Page, server: Server, agent: Agent
) -> None:
    """It says that it waits, and needs no reload."""
    show(page, server, agent)
    has_text(page.locator("#empty"), "Waiting for the first event")
    with agent.bus() as bus:
        bus.emit(Note("hello"))
        has_text(page.locator("#transcript"), "hello")
    assert page.locator("#empty").is_hidden()


def test_the_line_on_top_tells_what_the_agent_does(
    page: Page, server: Server, agent: Agent
) -> None:
    """Working and on what; done after the end."""
    with agent.bus() as bus:
        bus.emit(TurnStart("operator", "go"))
        bus.emit(calls(("a", "Bash", {"command": "make test"})))
        show(page, server, agent)
        has_text(page.locator("#status"), "Working")
        has_text(page.locator("#status-detail"), "Bash $ make test")
        has_text(page.locator("#connection-word"), "live")
        bus.emit(gives("a", "ok"))
        has_text(page.locator("#status-detail"), "thinking")
        bus.emit(TurnEnd(ok=True))
        has_text(page.locator("#status"), "Done")


def test_the_line_on_top_tells_why_an_agent_does_not_go_on(
    page: Page, server: Server, agent: Agent
) -> None:
    """Whatever program it is: waiting for permission, limited until when, failed and why."""
    state = page.locator("#status")
    with agent.bus() as bus:
        bus.emit(TurnStart("operator", "go"))
        show(page, server, agent)
        has_text(state, "Working")
        bus.emit(line({"method": "item/x/requestApproval", "params": {"command": "rm x"}}))
        has_text(state, "Waiting")
        has_text(page.locator("#status-detail"), "for permission: Bash $ rm x")
        bus.emit(calls(("a", "Bash", {"command": "rm x"})))
        has_text(state, "Working")
        info = {"status": "rejected", "resetsAt": time.time() + 7200, "rateLimitType": "five_hour"}
        bus.emit(line({"type": "rate_limit_event", "rate_limit_info": info}))
        has_text(state, re.compile("Limited.*until .*[0-9]{2}:[0-9]{2}", re.DOTALL))
        has_text(page.locator("#status-detail"), "five hour limit")
        bus.emit(line({"type": "rate_limit_event", "rate_limit_info": info | {"resetsAt": 1e17}}))
        has_text(page.locator("#status-figure"), re.compile("^$"))
        bus.emit(line({"type": "result", "is_error": True, "result": "Out of credits"}))
        bus.emit(TurnEnd(ok=False, note="exit status 1"))
        has_text(state, "Failed")
        has_text(page.locator("#status-detail"), "exit status 1: Out of credits")


def test_scrolling_up_pauses_following_and_the_pill_returns(
    page: Page, server: Server, agent: Agent
) -> None:
    """What is read stays where it is while rows arrive."""
    with agent.bus() as bus:
        for number in range(120):
            bus.emit(Note(f"row {number}"))
        show(page, server, agent)
        has_text(page.locator(".row-note").last, "row 119")
        wait_until_at_end(page)
        page.mouse.move(600, 400)
        page.mouse.wheel(0, -1500)
        wait_until(lambda: not at_end(page), "the page scrolled up")
        page.evaluate(UNTIL_AT_REST)
        read = page.locator(f'[data-position="{page.evaluate(IN_SIGHT)}"]')
        before = read.evaluate(TOP)
        bus.emit(Note("one more"))
        has_text(page.locator("#pill"), "1 new")
        assert abs(read.evaluate(TOP) - before) < 2
        page.locator("#pill").click()
        wait_until_at_end(page)
        assert page.locator("#pill").is_hidden()
        bus.emit(Note("and another"))
        has_text(page.locator(".row-note").last, "and another")
        wait_until_at_end(page)


def test_the_pill_counts_what_comes_as_a_row(page: Page, server: Server, agent: Agent) -> None:
    """Not what is told at the foot of a turn or in another row, nor what is filtered out.

    The same for what is not loaded, since the page went back to the start of the history.
    """
    retry = line({"type": "system", "subtype": "api_retry", "attempt": 1})
    quiet = [
        line({"type": "system", "subtype": "thinking_tokens", "tokens": 7}),
        line({"type": "rate_limit_event", "rate_limit_info": {"status": "allowed"}}),
        line({"type": "turn.started"}),
    ]
    call = calls(("a", "Bash", {"command": "ls"}))
    with agent.bus() as bus:
        emit_numbers(bus, range(100))
        show(page, server, agent)
        has_text(page.locator("#connection-word"), re.compile("live$"))
        pill = page.locator("#pill")
        for stop in ("pause", "start"):
            page.get_by_role("button", name=re.compile(stop, re.IGNORECASE)).click()
            has_text(page.locator("#connection-word"), re.compile("paused|not following"))
            bus.emit_many([call, *quiet, gives("a", "x"), retry, retry, *quiet, Note("one")])
            has_text(pill, re.compile("^3 new$"))
            page.locator("[data-show=notes]").click()
            has_count(page.locator(".row-turn, .row-tool"), 0)
            bus.emit_many([*quiet, call, Note("two"), Note("three")])
            has_text(pill, re.compile("^5 new$"))
            page.locator("[data-show=notes]").click()
            page.locator("[data-do=end]").click()
            has_text(page.locator(".row-note").last, "three")
            assert pill.is_hidden()


def test_a_permalink_leads_to_its_event(page: Page, server: Server, agent: Agent) -> None:
    """In sight, though the page would follow the end."""
    with agent.bus() as bus:
        bus.emit_many([Note(f"row {number}") for number in range(300)])
        page.goto(server.address(f"/agents/{agent.name}#{bus.epoch}-50"))
        row = page.locator(f'[data-position="{bus.epoch}-50"]')
        wait_until(lambda: 80 < row.evaluate(TOP) < 780, "the row in sight")


def test_earlier_history_comes_without_a_jump_and_joins_what_belongs_together(
    page: Page, server: Server, agent: Agent
) -> None:
    """A call above the cut gets its result, a turn above the cut its rows; nothing moves."""
    with agent.bus() as bus:
        bus.emit(TurnStart("operator", "long ago"))
        bus.emit(calls(("a", "Bash", {"command": "make"})))
        bus.emit_many([Note(f"row {number}") for number in range(2_100)])
        bus.emit(gives("a", "made"))
        show(page, server, agent)
        has_text(page.locator("#connection-word"), "live")
        has_text(page.locator(".tool"), "result of an earlier call")
        wait_until_at_end(page)
        turn = page.locator(".row-turn")
        wait_until(lambda: move_up(page) and turn.count(), "the first turn")
        has_text(turn, "long ago")
        has_text(page.locator(".tool .call"), "$ make")
        has_text(page.locator(".tool .result"), "made")
        assert page.locator(".row").count() < 1_000
        assert_each_position_once(page)
        page.locator("[data-do=end]").click()
        wait_until_at_end(page)
        has_text(page.locator(".row-note").last, "row 2099")
    has_count(page.locator(".turn"), 1)
    assert_each_position_once(page)


MOVE_UP = """async () => {
    const frame = () => new Promise(requestAnimationFrame);
    const inSight = () => [...document.querySelectorAll(".row")]
        .find(one => one.getBoundingClientRect().top > 200);
    for (let frames = 0; frames < 600 && !(frames && inSight()); frames += 1) await frame();
    const row = inSight();
    const before = row.getBoundingClientRect().top;
    const from = scrollY;
    scrollBy({ top: -400, behavior: "instant" });
    const by = from - scrollY;
    await frame();
    await frame();
    return row.isConnected ? row.getBoundingClientRect().top - before - by : 0;
}"""


def move_up(page: Page) -> bool:
    """Scrolls up a bit; what is in sight moves by just that, whatever is put above it."""
    assert abs(page.evaluate(MOVE_UP)) < 2
    return True


def test_a_gap_is_told_in_its_place(page: Page, server: Server, agent: Agent) -> None:
    """With its reason, and in the words about the connection."""
    one, two = "00000000000000aa", "00000000000000bb"
    with History.open(agent.database, agent.name, write=True) as history:
        for epoch in (one, two):
            history.begin_epoch(epoch)
            history.append(epoch, [(0, 1, *encode(Note(f"in {epoch}")))], 1)
    show(page, server, agent)
    has_text(page.locator("#transcript"), f"in {two}")
    has_text(page.locator(".row-gap"), "the ring was lost before all was stored")
    has_text(page.locator("#gaps"), "1 gap")
    order = page.locator("#transcript .row").evaluate_all(
        "rows => rows.map(row => row.dataset.gap ?? row.dataset.position)"
    )
    assert order == [f"{one}-0", f"{one}-1", f"{two}-0"]


def test_gaps_are_told_in_what_is_loaded_later_too(
    page: Page, server: Server, agent: Agent
) -> None:
    """From either side: going back from the end, and on from the start."""
    store(agent, [(1, Note(f"row {row}")) for row in range(5_250)], [400, 2_600, 5_200])
    show(page, server, agent)
    has_text(page.locator("#gaps"), re.compile("^1 gap$"))
    page.locator("[data-do=start]").click()
    first = page.locator(f'[data-gap="{EPOCH}-400"]')
    wait_until(lambda: scrolled(page, 600) and first.count(), "the first gap")
    has_text(first, "1 event missing (400 to 400): the ring overwrote them")
    has_text(page.locator("#gaps"), re.compile("^2 gaps$"))
    page.locator("[data-do=end]").click()
    has_text(page.locator(".row-note").last, "row 5249")
    second = page.locator(f'[data-gap="{EPOCH}-2600"]')
    wait_until(lambda: scrolled(page, -600) and second.count(), "the second gap")
    has_text(page.locator("#gaps"), re.compile("^3 gaps$"))


def test_back_at_the_end_nothing_is_missing_that_came_meanwhile(
    page: Page, server: Server, agent: Agent
) -> None:
    """Whether one jumps there or scrolls, and though nothing of it is stored yet."""
    with agent.bus() as bus:
        emit_numbers(bus, range(2_700))
        show(page, server, agent)
        has_text(page.locator(".row-note").last, "row 2699")
        for first, back in ((2_700, jump_to_end), (2_900, scroll_to_end)):
            page.locator("[data-do=start]").click()
            wait_until(lambda: page.evaluate("scrollY === 0"), "the start")
            emit_numbers(bus, range(first, first + 100))
            has_text(page.locator("#pill"), "100 new")
            back(page)
            has_text(page.locator(".row-note").last, f"row {first + 99}")
            emit_numbers(bus, range(first + 100, first + 200))
            has_text(page.locator(".row-note").last, f"row {first + 199}")
            wait_until_at_end(page)
            assert page.locator("#pill").is_hidden()
            seqs = [event["seq"] for event in taken(page)]
            assert seqs == [*range(seqs[0], first + 200)]
            assert_each_position_once(page)


def jump_to_end(page: Page) -> None:
    """By the pill."""
    page.locator("#pill").click()


def scroll_to_end(page: Page) -> None:
    """As one does who drags the scrollbar down."""
    following = page.get_by_role("button", name="Pause")

    def is_following() -> bool:
        page.evaluate(TO_BOTTOM)
        return bool(following.count())

    wait_until(is_following, "following again")


def test_a_restarted_server_is_met_again_without_hole_or_double(
    page: Page, agent: Agent, tmp_path: Path
) -> None:
    """The page says that it reconnects, then goes on where it was."""
    with agent.bus() as bus:
        emit_numbers(bus, range(50))
        with serving(tmp_path) as server:
            show(page, server, agent)
            has_count(page.locator(".row-note"), 50)
            server.process.terminate()
            server.end()
            has_text(page.locator("#connection-word"), "reconnecting")
            emit_numbers(bus, range(50, 90))
        with serving(tmp_path, port=server.port):
            has_count(page.locator(".row-note"), 90)
            has_text(page.locator("#connection-word"), "live")
    shown = page.locator(".row-note pre").all_text_contents()
    assert shown == [f"row {number}" for number in range(90)]
    assert_each_position_once(page)


def assert_each_position_once(page: Page) -> None:
    """No event is drawn twice."""
    positions = page.evaluate(
        "[...document.querySelectorAll('[data-position]')].map(one => one.dataset.position)"
    )
    assert len(positions) == len(set(positions))
    assert all(re.fullmatch(r"[0-9a-f]{16}-\d+", position) for position in positions)


def emit_numbers(bus: Bus, numbers: range) -> None:
    """Notes that tell their place."""
    for number in numbers:
        bus.emit(Note(f"row {number}"))


def wait_until_at_end(page: Page) -> None:
    """The newest row is in sight."""
    wait_until(lambda: at_end(page), "the end of the page")


# Notes every word about the connection that there ever was.
NOTE_WORDS = """addEventListener("DOMContentLoaded", () => {
    const place = document.getElementById("connection-word");
    window.told = [place.textContent];
    const note = new MutationObserver(() => window.told.push(place.textContent));
    note.observe(place, { childList: true, characterData: true, subtree: true });
});"""


def test_a_page_that_is_behind_says_by_how_much(page: Page, server: Server, agent: Agent) -> None:
    """While it catches up with what is an hour old; live once it has."""
    hour_ns = 3_600 * 10**9
    store(agent, [(time.time_ns() - hour_ns, Note(f"row {row}")) for row in range(2_000)])
    page.add_init_script(NOTE_WORDS)
    show(page, server, agent)
    has_text(page.locator("#connection-word"), re.compile("^live$"))
    told = page.evaluate("window.told")
    assert any(re.fullmatch("catching up, 1 h 00 min behind", words) for words in told), told


def test_a_flood_leaves_the_page_small_and_at_its_end(
    page: Page, server: Server, agent: Agent
) -> None:
    """Followed or read: a few hundred rows are in the document, and what is read stays in place."""
    with agent.bus() as bus:
        emit_numbers(bus, range(100))
        show(page, server, agent)
        has_text(page.locator("#connection-word"), re.compile("live$"))
        for number in range(20):
            bus.emit_many([Note(f"flood {number} {row}") for row in range(1_000)])
        has_text(page.locator(".row-note").last, "flood 19 999")
        wait_until_at_end(page)
        assert page.locator(".row").count() < 1_000
        page.keyboard.press("k")
        row = page.locator(".is-current")
        before = row.evaluate(TOP)
        for number in range(20, 30):
            bus.emit_many([Note(f"flood {number} {row}") for row in range(1_000)])
        has_text(page.locator("#pill"), "10,000 new")
        assert abs(row.evaluate(TOP) - before) < 2
        assert page.locator(".row").count() < 1_000
    seqs = [event["seq"] for event in taken(page)]
    assert seqs == [*range(seqs[0], 30_100)]
