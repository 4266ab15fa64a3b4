"""What is not loaded, on the page of one agent: found, shown, counted, and told where it fails."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from pages import (
    calls,
    chooses,
    emit_turns,
    gives,
    has_count,
    has_text,
    line,
    partial,
    scrolled,
    show,
    store,
)
from turns import Agent, wait_until
from webserver import Server

from ringbus.bus import Bus
from ringbus.events import Note, TurnEnd, TurnStart

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

pytestmark = pytest.mark.browser

# As on a machine that has no time: whatever looks at the clock has used up its share of a frame.
NO_TIME = """{
    const now = performance.now.bind(performance);
    let passed = 0;
    performance.now = () => now() + (passed += 20);
}"""


def emit_rows(bus: Bus, first: int, last: int) -> None:
    """Notes that tell their place."""
    bus.emit_many([Note(f"row {number}") for number in range(first, last)])


@contextmanager
def dripping(bus: Bus) -> Iterator[None]:
    """Meanwhile something comes all the time."""
    is_over = threading.Event()

    def drip() -> None:
        while not is_over.wait(0.05):
            bus.emit(Note("a drop"))

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def test_a_jump_finds_what_is_not_loaded(page: Page, server: Server, agent: Agent) -> None:
    """A match and a turn far back, and forth again; where there is none, that is said.

    The count says what it counts, and where there is more. A page without time is no different.
    """
    found = page.locator("#found")
    page.add_init_script(NO_TIME)
    with agent.bus() as bus:
        bus.emit(TurnStart("operator", "the first prompt"))
        bus.emit(Note("a needle, early"))
        bus.emit(TurnStart("operator", "the second prompt"))
        emit_rows(bus, 0, 6_000)
        bus.emit(Note("a needle, late"))
        emit_rows(bus, 6_000, 10_000)
        show(page, server, agent)
        has_text(page.locator(".row-note").last, "row 9999")
        page.keyboard.press("[")
        chooses(page, "the second prompt")
        page.locator("[data-do=end]").click()
        with dripping(bus):
            page.locator("#search").fill("NEEDLE")
            has_text(found, re.compile("^0, more before$"))
        page.locator("#search").blur()
        page.keyboard.press("N")
        chooses(page, "a needle, late")
        has_text(found, re.compile("^1 of 1, more before$"))
        page.keyboard.press("N")
        chooses(page, "a needle, early")
        has_text(found, re.compile("^1 of 1, more after$"))
        page.keyboard.press("N")
        has_text(page.locator("#said"), "no earlier match")
        page.keyboard.press("n")
        chooses(page, "a needle, late")
        page.locator("#search").fill("NEEDLE, E")
        has_text(found, re.compile("^0, more before$"))
        page.locator("#search").fill("row 9")
        has_text(found, re.compile("^0, more around$"))
        page.locator("#search").fill("haystack")
        has_text(found, re.compile("^0$"))


def test_errors_are_found_beyond_what_is_loaded_and_in_tasks(
    page: Page, server: Server, agent: Agent
) -> None:
    """Page by page, either way: a call that failed and a task that did, each once.

    Escape, or another jump, ends the search.
    """
    system = lambda subtype, **fields: line({"type": "system", "subtype": subtype, **fields})  # noqa: E731
    with agent.bus() as bus:
        emit_turns(bus, 2)
        bus.emit(system("task_started", task_id="t", description="tides of a year"))
        emit_rows(bus, 0, 100)
        failed = {"status": "failed"}
        bus.emit(system("task_updated", task_id="t", patch=failed))
        bus.emit(system("task_notification", task_id="t", summary="no gauge", **failed))
        bus.emit(system("task_started", task_id="u", description="winds of a year"))
        emit_rows(bus, 100, 5_000)
        bus.emit(system("task_updated", task_id="u", patch={"status": "running"}))
        bus.emit(system("task_updated", task_id="u", patch=failed | {"error": "no vane"}))
        bus.emit_many([calls(("d", "Bash", {"command": "dig"})), gives("d", "x", is_error=True)])
        emit_rows(bus, 5_000, 9_000)
        show(page, server, agent)
        has_text(page.locator(".row-note").last, "row 8999")
        asked: list[Route] = []

        def hold(route: Route) -> None:
            asked.append(route)

        page.route("**/history?*", hold)
        page.keyboard.press("E")
        has_text(page.locator("#said"), "no error in what is loaded: looking at the rest")
        wait_until(lambda: page.evaluate("1") and asked, "the search")
        page.keyboard.press("Escape")
        has_text(page.locator("#said"), re.compile("^$"))
        with page.expect_response("**/history?*") as coming:
            asked[0].continue_()
        coming.value.finished()
        scrolled(page, 0)
        assert len(asked) == 1
        page.unroute("**/history?*")
        for key, words in (
            ("E", "$ dig"), ("E", "no vane"), ("E", "tides of a year"), ("e", "no vane"),
            ("E", "tides of a year"),
        ):  # fmt: skip
            has_count(page.locator(".is-current"), int(words != "$ dig"))
            page.keyboard.press(key)
            chooses(page, words)
        has_text(page.locator(".row-task.is-current .elapsed"), "failed, ")
        has_text(page.locator(".row-task.is-current"), "no gauge")
        page.keyboard.press("E")
        has_text(page.locator("#said"), "no earlier error")
        page.locator("[data-show=errors]").click()
        has_count(page.locator(".row-note"), 0)
        has_count(page.locator(".row-task .is-failure"), 2)
        chooses(page, "tides of a year")


def test_a_jump_to_an_error_meets_the_gaps_that_are_not_loaded(
    page: Page, server: Server, agent: Agent
) -> None:
    """As those that are: what is missing is an error, too."""
    store(agent, [(1, Note(f"row {row}")) for row in range(5_250)], [400, 2_600, 5_200])
    show(page, server, agent)
    has_text(page.locator(".row-note").last, "row 5249")
    for key, seq in (("E", 5_200), ("E", 2_600), ("E", 400), ("e", 2_600), ("e", 5_200)):
        page.keyboard.press(key)
        chooses(page, f"1 event missing ({seq} to {seq})")
    has_text(page.locator("#gaps"), "3 gaps")


def test_a_filter_goes_on_into_what_is_not_loaded(page: Page, server: Server, agent: Agent) -> None:
    """As far as there is room on the screen, and time; how far it went is told, with a way on."""
    earlier = page.locator("#earlier")
    with agent.bus() as bus:
        bus.emit(TurnStart("operator", "prompt 0"))
        emit_rows(bus, 0, 9_000)
        bus.emit(TurnEnd(ok=True))
        emit_rows(bus, 9_000, 18_000)
        bus.emit(TurnStart("operator", "prompt 1"))
        emit_rows(bus, 18_000, 22_000)
        show(page, server, agent)
        has_text(page.locator(".row-note").last, "row 21999")
        page.locator("[data-show=prompts]").click()
        has_text(page.locator(".row-turn"), "prompt 1")
        has_text(earlier, re.compile(r"^Load earlier \(looked through from [\d:]+ on\)$"))
        bus.emit(TurnStart("operator", "prompt 2"))
        has_count(page.locator(".row-turn"), 2)
        has_text(page.locator("#connection-word"), re.compile("live$"))
        wait_until(lambda: loads_more(page) == 3, "the first prompt")
        has_text(earlier, "The history begins here")
        has_text(page.locator(".row-turn").first, "prompt 0")
        has_text(page.locator(".outcome").first, re.compile("^ok, "))
        has_text(page.locator(".outcome").nth(1), "no end recorded")
        page.locator("[data-show=prompts]").click()
        has_count(page.locator(".row-note").nth(10), 1)


def loads_more(page: Page) -> int:
    """Asks for what is earlier; how many turns are shown."""
    if page.locator("#earlier").is_enabled():
        page.locator("#earlier").click(force=True)
    return page.locator(".row-turn").count()


def test_what_cannot_be_loaded_is_told_in_sight(page: Page, server: Server, agent: Agent) -> None:
    """A jump to the end that failed, a link to what is not there: in words, until it goes on."""
    said = page.locator("#said")
    with agent.bus() as bus:
        emit_rows(bus, 0, 6_000)
        show(page, server, agent)
        has_text(page.locator(".row-note").last, "row 5999")
        page.locator("[data-do=start]").click()
        chooses(page, "row 0")
        page.route("**/history?*", lambda route: route.fulfill(status=500))
        page.locator("[data-do=end]").click()
        has_text(said, "could not load it: status 500")
        assert said.evaluate(IN_SIGHT_AT_ALL)
        page.unroute("**/history?*")
        page.locator("[data-do=end]").click()
        has_text(page.locator(".row-note").last, "row 5999")
        has_text(said, re.compile("^$"))
        page.evaluate("location.hash = '#00000000000000ab-7'")
        has_text(said, "that is not kept any more")
        page.evaluate(f"location.hash = '#{bus.epoch}-9999'")
        has_text(said, "that event is not kept any more: this is what is nearest")
        chooses(page, "row 5999")


IN_SIGHT_AT_ALL = """element => {
    const { top, bottom } = element.getBoundingClientRect();
    return top >= 0 && bottom <= innerHeight && element.checkVisibility();
}"""


def test_stored_pieces_of_text_are_passed_over(page: Page, server: Server, agent: Agent) -> None:
    """Pages of nothing else leave no empty page, neither by a jump nor on the way there."""
    delta = {"type": "text_delta", "text": "x"}
    piece = partial({"type": "content_block_delta", "index": 0, "delta": delta})
    with agent.bus() as bus:
        emit_rows(bus, 0, 10)
        bus.emit_many([piece] * 2_000)
        emit_rows(bus, 10, 2_020)
        bus.emit_many([piece] * 1_000)
        bus.emit(Note("the last"))
        page.goto(server.address(f"/agents/{agent.name}#{bus.epoch}-1000"))
        chooses(page, "row 9")
        has_count(page.get_by_text("row 10", exact=True), 1)
        page.keyboard.press("j")
        chooses(page, "row 10")
        page.keyboard.press("g")
        chooses(page, "row 0")
        page.locator("[data-do=end]").click()
        has_text(page.locator(".row-note").last, "the last")
        page.locator("#search").fill("row 3")
        page.keyboard.press("Shift+Enter")
        chooses(page, "row 399")


def test_a_turn_whose_end_is_not_loaded_is_not_said_to_run(
    page: Page, server: Server, agent: Agent
) -> None:
    """Until its end is loaded, or it is known that there is none."""
    outcome = page.locator(".turn:has(.row-turn.is-current) .outcome")
    with agent.bus() as bus:
        bus.emit(TurnStart("operator", "a long turn"))
        emit_rows(bus, 0, 3_000)
        bus.emit(TurnStart("operator", "a turn without an end"))
        emit_rows(bus, 3_000, 3_100)
        bus.emit(TurnStart("operator", "a turn that runs"))
        emit_rows(bus, 3_100, 3_700)
        page.goto(server.address(f"/agents/{agent.name}#{bus.epoch}-0"))
        chooses(page, "a long turn")
        has_text(outcome, re.compile("^end not loaded$"))
        has_count(page.locator(".turn.is-running"), 0)
        for words, told in (
            ("a turn without an end", "no end recorded"), ("a turn that runs", "end not loaded"),
        ):  # fmt: skip
            page.keyboard.press("]")
            chooses(page, words)
            has_text(outcome, re.compile(f"^{told}$"))
        has_count(page.locator(".turn.is-running"), 0)
        page.locator("[data-show=prompts]").click()
        has_text(outcome, re.compile("^running$"))
        has_count(page.locator(".turn.is-running"), 1)
        bus.emit(TurnEnd(ok=True))
        has_text(outcome, re.compile("^ok, "))
