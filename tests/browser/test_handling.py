"""Finding, filtering, jumping and taking away on the page of one agent, in a real browser."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pages import IN_SIGHT, chooses, emit_turns, has_count, has_text, says, show, turns_on
from turns import Agent, wait_until
from webserver import Server

from ringbus.events import Note, TurnStart

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

MARKED = "() => [...(CSS.highlights.get('found') ?? [])].map(range => range.toString())"


def test_a_search_counts_marks_and_goes_from_match_to_match(
    page: Page, server: Server, agent: Agent
) -> None:
    """By key and by button, in either case; the address holds it, and a reload finds it again."""
    with turns_on(page, server, agent, 60) as bus:
        page.keyboard.press("/")
        page.keyboard.type("ABOUT PART 1")
        has_text(page.locator("#found"), "11")
        page.keyboard.press("Enter")
        page.locator("#search").blur()
        page.keyboard.press("N")
        chooses(page, "Words about part 18.")
        page.keyboard.press("n")
        chooses(page, "Words about part 19.")
        has_text(page.locator("#found"), "11 of 11")
        page.locator("[data-show=tools]").click()
        has_text(page.locator("#found"), re.compile("^0$"))
        page.locator("[data-show=text]").click()
        has_text(page.locator("#found"), "11 of 11")
        for name in ("tools", "text"):
            page.locator(f"[data-show={name}]").click()
        wait_until(lambda: "about part 1" in page.evaluate(MARKED), "the mark")
        page.keyboard.press("f")
        wait_until(lambda: page.locator(".row-text").count() == 11, "the matches alone")
        has_count(page.locator(".row-tool"), 0)
        has_text(page.locator(".row-turn").first, "prompt 1")
        bus.emit(says("More about part 1000."))
        has_text(page.locator("#found"), "12")
        page.reload()
        has_text(page.locator("#found"), "12")
        chooses(page, "Words about part 19.")
        wait_until(lambda: page.locator(".row-text").count() == 12, "the filter, after a reload")
        page.keyboard.press("Escape")
        has_count(page.locator("#only[aria-pressed=false]"), 1)
        wait_until(lambda: page.locator(".row-tool").count(), "the other rows")
        assert page.evaluate("location.search") == ""


def test_rows_are_filtered_by_what_they_are(page: Page, server: Server, agent: Agent) -> None:
    """A call and its result stay together, under the prompt; the address holds the choice."""
    with turns_on(page, server, agent, 9) as bus:
        page.locator("[data-show=errors]").click()
        has_count(page.locator(".row-turn"), 3)
        has_count(page.locator(".tool.is-failure"), 3)
        has_count(page.locator(".row-end.is-failure"), 3)
        has_count(page.locator(".row-text, .row-note"), 0)
        has_text(page.locator(".tool").first, "$ make 2")
        has_text(page.locator(".tool").first, "broken")
        page.locator("[data-show=notes]").click()
        has_count(page.locator(".row-note"), 9)
        bus.emit_many([says("not shown"), Note("shown")])
        has_count(page.locator(".row-note"), 10)
        has_count(page.locator(".row-text"), 0)
        page.reload()
        has_count(page.locator(".row-note"), 10)
        has_count(page.locator("[data-show][aria-pressed=true]"), 2)
        for name in ("errors", "notes"):
            page.locator(f"[data-show={name}]").click()
        has_count(page.locator(".row-text"), 10)


def test_jumps_lead_to_turns_errors_rows_start_and_end(
    page: Page, server: Server, agent: Agent
) -> None:
    """Also to what is not loaded; every key of the help does what it says."""
    with turns_on(page, server, agent, 600) as bus:
        for key, words in (
            ("[", "prompt 599"), ("[", "prompt 598"), ("]", "prompt 599"),
            ("E", "it broke"), ("E", "make 596"), ("e", "it broke"),
            ("g", "prompt 0"), ("e", "make 2"), ("e", "it broke"),
            ("k", "note 2"), ("j", "it broke"), ("j", "prompt 3"),
        ):  # fmt: skip
            page.keyboard.press(key)
            chooses(page, words)
        has_text(page.locator("#connection-word"), "live, paused")
        page.keyboard.press("G")
        has_text(page.locator(".row-end").last, "it broke")
        wait_until(lambda: page.locator(".row-end").last.evaluate(IN_SIGHT), "the end in sight")
        has_count(page.locator(".is-current"), 0)
        page.keyboard.press(" ")
        has_text(page.locator("#connection-word"), "live, paused")
        bus.emit(Note("meanwhile"))
        has_text(page.locator("#pill"), "1 new")
        page.keyboard.press(" ")
        has_text(page.locator("#connection-word"), re.compile("live$"))
        page.keyboard.press("?")
        has_text(page.locator("dialog[open]"), "next, previous match")
        page.keyboard.press("Escape")
        has_count(page.locator("dialog[open]"), 0)


def test_a_link_to_an_event_that_is_not_loaded_leads_there(
    page: Page, server: Server, agent: Agent
) -> None:
    """And from there on to the end again, without a hole."""
    with agent.bus() as bus:
        bus.emit_many([Note(f"row {number}") for number in range(6_000)])
        page.goto(server.address(f"/agents/{agent.name}#{bus.epoch}-1234"))
        chooses(page, "row 1234")
        assert page.locator(".row").count() < 600
        page.locator("[data-do=end]").click()
        has_text(page.locator(".row-note").last, "row 5999")
        bus.emit(Note("row 6000"))
        has_text(page.locator(".row-note").last, "row 6000")
        # The scrollbar is true to the whole: its middle is the middle of the history.
        page.evaluate("scrollTo(0, document.documentElement.scrollHeight / 2)")
        wait_until(lambda: 2_000 < middle(page) < 4_000, "the middle")
        page.evaluate(GO_DOWN)
        numbers = page.evaluate("window.numbers")
        assert numbers == list(range(numbers[0], 6_001))


GO_DOWN = """async () => {
    const numbers = new Set();
    const frame = () => new Promise(requestAnimationFrame);
    for (let tries = 0; !numbers.has(6000) && tries < 5000; tries += 1) {
        for (const row of document.querySelectorAll(".row-note")) {
            const { top } = row.getBoundingClientRect();
            const seq = Number(row.querySelector(".seq").textContent);
            if (top < innerHeight && top > -2000) numbers.add(seq);
        }
        scrollBy({ top: 600, behavior: "instant" });
        await frame();
        await frame();
    }
    window.numbers = [...numbers].sort((one, other) => one - other);
}"""


def middle(page: Page) -> int:
    """The seq of a row in sight, 0 while there is none."""
    found = page.evaluate(
        """() => [...document.querySelectorAll(".row-note")]
            .find(row => row.getBoundingClientRect().top > 200
                && row.getBoundingClientRect().top < innerHeight)
            ?.querySelector(".seq").textContent ?? "0\""""
    )
    return int(found)


def test_rows_and_what_is_shown_can_be_taken_away(
    page: Page, server: Server, agent: Agent, tmp_path: Path
) -> None:
    """A row as text, as JSON and by its link, the filtered view as JSON lines."""
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    clipboard: Callable[[], str] = lambda: page.evaluate("navigator.clipboard.readText()")  # noqa: E731
    with agent.bus() as bus:
        emit_turns(bus, 3)
        show(page, server, agent)
        page.locator(".row-text").nth(1).click()
        page.keyboard.press("c")
        has_text(page.locator("#said"), "copied the row as text")
        assert clipboard() == "Words about part 1."
        page.get_by_role("button", name="copy JSON").click()
        has_text(page.locator("#said"), "copied the row as JSON")
        assert json.loads(clipboard())["message"]["id"] == "m1"
        page.get_by_role("button", name="copy link").click()
        has_text(page.locator("#said"), "copied a link to the row")
        assert clipboard() == server.address(f"/agents/{agent.name}#{bus.epoch}-7")
        page.locator(".row-note").first.click()
        page.keyboard.press("C")
        has_text(page.locator("#said"), "copied the row as JSON")
        assert json.loads(clipboard())["text"] == "note 0"
        page.keyboard.press("Escape")
        has_count(page.locator(".is-current"), 0)
        page.keyboard.press("c")
        has_text(page.locator("#said"), "choose a row first")
        page.locator("[data-show=tools]").click()
        has_count(page.locator(".row-text"), 0)
        with page.expect_download() as coming:
            page.keyboard.press("d")
        coming.value.save_as(tmp_path / "shown")
    shown = [json.loads(line) for line in (tmp_path / "shown").read_text().splitlines()]
    assert [(event["kind"], event["seq"]) for event in shown] == [
        (kind, 6 * turn + at)
        for turn in range(3)
        for at, kind in ((0, "turn_start"), (2, "stream"), (3, "stream"))
    ]


def test_who_returns_sees_from_where_on_it_is_new(page: Page, server: Server, agent: Agent) -> None:
    """One line, in front of the first row that came since; none where nothing came."""
    with turns_on(page, server, agent, 2) as bus:
        key = f"ringbus:seen:{agent.name}"
        wait_until(
            lambda: page.evaluate("key => localStorage.getItem(key)", key) == f"{bus.epoch}-11",
            "the mark",
        )
        page.goto("about:blank")
        bus.emit_many([Note("fresh"), Note("fresher")])
        show(page, server, agent)
        has_text(page.locator(".row:has(> .seen)"), "fresh")
        has_text(page.locator(".seen"), "new since you were here")
        assert page.locator(".row:has(> .seen)").get_attribute("id") == f"{bus.epoch}-12"
        wait_until(
            lambda: page.evaluate("key => localStorage.getItem(key)", key) == f"{bus.epoch}-13",
            "the mark moved on",
        )
        page.goto("about:blank")
        show(page, server, agent)
        has_text(page.locator("#connection-word"), "live")
        bus.emit(Note("while it is open"))
        has_text(page.locator(".row-note").last, "while it is open")
        has_count(page.locator(".seen"), 0)


def test_a_phone_folds_the_bar_and_reaches_all_of_it(
    browser: Browser, server: Server, agent: Agent
) -> None:
    """One button opens it, to a quarter of the screen; fingers hit what is there.

    Nothing scrolls sideways, and nothing moves if so wished.
    """
    with agent.bus() as bus:
        emit_turns(bus, 3)
        with browser.new_context(
            viewport={"width": 390, "height": 844}, reduced_motion="reduce"
        ) as context:
            page = context.new_page()
            show(page, server, agent)
            has_text(page.locator(".row-turn").last, "prompt 2")
            assert page.locator("#bar").is_hidden()
            page.locator("#bar-fold").click()
            for button in page.locator("#bar button").all():
                box = button.bounding_box()
                assert box is not None
                assert min(box["width"], box["height"]) >= 44
                assert 0 <= box["x"] <= 390 - box["width"]
            assert page.evaluate("document.querySelector('.top').offsetHeight / innerHeight") < 0.25
            assert page.evaluate("document.documentElement.scrollWidth") <= 390
            page.locator("[data-show=errors]").click()
            has_count(page.locator(".row-turn"), 1)
            bus.emit(TurnStart("operator", "go"))
            has_count(page.locator(".top[data-state=working]"), 1)
            assert (
                page.locator(".dot").evaluate("dot => getComputedStyle(dot).animationName")
                == "none"
            )
