"""How the page of one agent looks and stays in its place: colours, motion, sizes, reloads."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from pages import at_end, calls, gives, has_count, has_text, line, says, scrolled, show
from turns import Agent, wait_until
from webserver import Server

from ringbus.bus import Bus
from ringbus.events import Note, TurnEnd, TurnStart

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

# How well each piece of text stands out from what is behind it, by the measure of WCAG: the worst.
COLOURS = """() => {
    const light = (colour) => {
        const [red, green, blue] = colour.match(/[\\d.]+/g).slice(0, 3).map((part) => {
            const one = part / 255;
            return one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    };
    const paper = light(getComputedStyle(document.body).backgroundColor);
    const contrast = (element) => {
        const ink = light(getComputedStyle(element).color);
        return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
    };
    const hasText = (one) => [...one.childNodes].some((node) => node.data?.trim());
    const texts = [...document.querySelectorAll(".row *, .top *")]
        .filter((one) => one.checkVisibility() && hasText(one));
    return { paper, worst: Math.min(...texts.map(contrast)) };
}"""
ANIMATED = """() => document.getAnimations()
    .filter(({ effect }) => !effect.target.matches(".dot")).length"""
# The first row that stands under the head of the page, and by how much.
READ = """() => {
    const head = document.querySelector(".top").getBoundingClientRect().bottom;
    const rows = [...document.querySelectorAll("#transcript .row[id]")];
    const row = rows.find((one) => one.getBoundingClientRect().top >= head);
    return [row.id, row.getBoundingClientRect().top - head];
}"""
# Where each line of an element's text begins.
LINES = """element => {
    const range = document.createRange();
    range.selectNodeContents(element);
    const rects = [...range.getClientRects()].reverse(); // of one line the first counts
    return [...new Map(rects.map(({ top, left }) => [top, left])).values()].reverse();
}"""
LEFT = "element => element.getBoundingClientRect().left"
HEIGHTS = "rows => rows.map(row => [row.className, row.getBoundingClientRect().height])"
GROUND = "element => getComputedStyle(element).backgroundColor"
STANDS = """id => document.getElementById(id).getBoundingClientRect().top
    - document.querySelector(".top").getBoundingClientRect().bottom"""


def test_colours_go_by_the_scheme_and_nothing_moves_but_the_dot(
    page: Page, server: Server, agent: Agent
) -> None:
    """While the page is open, too; every text can be read; with reduced motion the dot rests."""
    with agent.bus() as bus:
        bus.emit_many(
            [
                TurnStart("operator", "first"),
                calls(("a", "Bash", {"command": "make"})),
                gives("a", "\x1b[32mgreen\x1b[33myellow\x1b[35mpink", is_error=True),
                line({"type": "news", "text": "of something"}),
                TurnEnd(ok=False, note="it broke"),
                TurnStart("operator", "second"),
                says("With `code`."),
            ]
        )
        papers = []
        page.emulate_media(color_scheme="light")
        show(page, server, agent)
        has_count(page.locator(".top[data-state=working]"), 1)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            colours = page.evaluate(COLOURS)
            assert colours["worst"] >= 4.5
            papers.append(colours["paper"])
        assert papers[0] > 0.9
        assert papers[1] < 0.1
        for motion, is_moving in (("no-preference", True), ("reduce", False)):
            page.emulate_media(reduced_motion=motion)
            assert bool(page.evaluate("document.getAnimations().length")) is is_moving
            assert page.evaluate(ANIMATED) == 0


def emit_long(bus: Bus, number: int) -> None:
    """Texts that take more lines on a narrow page."""
    for at in range(number):
        bus.emit_many([says(f"Part {at}. " + "some words " * 40, f"m{at}"), Note(f"row {at}")])


def test_another_size_of_the_window_keeps_what_is_read_or_followed(
    page: Page, server: Server, agent: Agent
) -> None:
    """As when a phone is turned: rows get higher and lower, what is read does not go elsewhere."""
    sizes = [(640, 800), (390, 844), (844, 390), (1280, 500), (1280, 800)]
    with agent.bus() as bus:
        emit_long(bus, 60)
        show(page, server, agent)
        has_text(page.locator(".row-note").last, "row 59")
        for number, (width, height) in enumerate(sizes, 60):
            page.set_viewport_size({"width": width, "height": height})
            wait_until(lambda: at_end(page), "the end, at another size")
            bus.emit(Note(f"row {number}"))
            has_text(page.locator(".row-note").last, f"row {number}")
            wait_until(lambda: at_end(page), "the end, with another row")
        assert page.locator("#connection-word").text_content() == "live"
        page.mouse.move(600, 400)
        page.mouse.wheel(0, -2500)
        has_text(page.locator("#connection-word"), "not following")
        settle(page)
        for width, height in sizes:
            row, stood = page.evaluate(READ)
            page.set_viewport_size({"width": width, "height": height})
            settle(page)
            assert page.evaluate("innerWidth") == width
            assert abs(page.evaluate(STANDS, row) - stood) < 2
        has_text(page.locator("#connection-word"), "not following")


def test_on_a_phone_the_file_of_a_call_and_what_changed_are_readable(
    page: Page, server: Server, agent: Agent
) -> None:
    """However deep the file lies; long lines go on behind their sign; the end moves nothing."""
    path = "/home/somebody/projects/tidewatch/packages/library/tests/core/poller/test_poller.py"
    long_line = "self.gauges = " + "gauge, " * 20
    given = {"file_path": path, "old_string": "a\nb", "new_string": f"a\n{long_line}"}
    with agent.bus() as bus:
        page.set_viewport_size({"width": 390, "height": 844})
        bus.emit_many([calls(("a", "Edit", given)), gives("a", "Edited.")])
        show(page, server, agent)
        has_text(page.locator(".call .summary"), f"{path} +1 −1")
        bus.emit(calls(("b", "Bash", {"command": "make"})))
        elapsed = page.locator(".call .elapsed").last
        has_text(elapsed, "running")
        left_while_running = elapsed.evaluate(LEFT)
        bus.emit(gives("b", "done"))
        has_text(elapsed, re.compile("^[0-9.]+ s$"))
        assert elapsed.evaluate(LEFT) == left_while_running
        is_cut = "one => one.scrollHeight > one.clientHeight || one.scrollWidth > one.clientWidth"
        assert page.locator(".call .summary").first.evaluate(is_cut) is False
        added = page.locator(".diff .added")
        first, *others = added.evaluate(LINES)
        assert others
        assert all(left > first + 8 for left in others)
        grounds = [one.evaluate(GROUND) for one in page.locator(".diff > span").all()]
        assert len(set(grounds)) == 3


@pytest.mark.parametrize("width", [1280, 390])
def test_every_row_keeps_to_the_rhythm_of_four_pixels(
    page: Page, server: Server, agent: Agent, width: int
) -> None:
    """Whatever is in it, with faces for prose and for code on one line."""
    given = {"file_path": "/srv/poller.py", "old_string": "a\nb", "new_string": "a\nc"}
    with agent.bus() as bus:
        bus.emit_many(
            [
                TurnStart("operator", "fix it\nplease"),
                says("Words with `code`.\n\n- one\n- two\n\n```\nblock\n```"),
                calls(("a", "Edit", given), ("b", "Bash", {"command": "make " * 40})),
                gives("a", "Edited."),
                gives("b", "broken\nand so on", is_error=True),
                calls(("c", "Bash", {"command": "make"})),
                Note("a warning", "stderr"),
                line({"type": "news", "text": "of something"}),
                line({"type": "result", "is_error": True, "result": "Out of credits"}),
                TurnEnd(ok=False, note="it broke"),
            ]
        )
        page.set_viewport_size({"width": width, "height": 2000})
        show(page, server, agent)
        has_text(page.locator("#status-word"), "Failed")
        heights = page.locator("#transcript .row").evaluate_all(HEIGHTS)
        assert len(heights) >= 8
        assert {name: height for name, height in heights if height % 4} == {}


def settle(page: Page) -> None:
    """Until nothing on the page has moved for some frames."""
    page.evaluate(
        """async () => {
            for (let [frames, before] = [0, scrollY]; frames < 20; frames += 1) {
                await new Promise(requestAnimationFrame);
                if (scrollY !== before) [frames, before] = [0, scrollY];
            }
        }"""
    )


def test_a_reload_follows_the_end_again(page: Page, server: Server, agent: Agent) -> None:
    """Wherever the page stood, unless a row was chosen: that is gone back to."""
    with agent.bus() as bus:
        emit_long(bus, 40)
        show(page, server, agent)
        has_text(page.locator(".row-note").last, "row 39")
        page.mouse.move(600, 400)
        page.mouse.wheel(0, -1500)
        has_text(page.locator("#connection-word"), "not following")
        page.reload()
        wait_until(lambda: at_end(page), "the end, after a reload")
        bus.emit(Note("row 40"))
        has_text(page.locator(".row-note").last, "row 40")
        wait_until(lambda: at_end(page), "the end, with another row")
        has_text(page.locator("#connection-word"), "live")
        page.locator("[data-do=start]").click()
        has_count(page.locator(".is-current"), 1)
        page.reload()
        has_text(page.locator(".is-current"), "Part 0.")
        has_text(page.locator("#connection-word"), "paused")
        page.keyboard.press("Escape")
        has_count(page.locator(".is-current"), 0)
        assert page.evaluate("location.hash") == ""


# Whether a chosen row stands under the head of the page, as far as it fits, and over its end.
UNDER_THE_HEAD = """() => {
    const head = document.querySelector(".top").getBoundingClientRect().bottom;
    const { top, bottom } = document.querySelector(".is-current").getBoundingClientRect();
    return top >= head - 1 && Math.min(bottom, top + 100) <= innerHeight;
}"""


def test_what_a_jump_leads_to_is_never_under_the_head_of_the_page(
    page: Page, server: Server, agent: Agent
) -> None:
    """However high that is: on one line, wrapped, folded, and unfolded on a phone."""
    with agent.bus() as bus:
        for turn in range(4):
            bus.emit(TurnStart("operator", f"prompt {turn}"))
            emit_long(bus, 20)
            bus.emit(TurnEnd(ok=False, note="it broke"))
        show(page, server, agent)
        has_count(page.locator(".row-end").last, 1)
        for width, height in ((1280, 800), (700, 600), (390, 844), (390, 500)):
            page.set_viewport_size({"width": width, "height": height})
            for is_folded in (True, False):
                page.evaluate("is => document.body.classList.toggle('has-bar', !is)", is_folded)
                for key in "G[[ekkkkkkjjjj]gjjjj":
                    page.keyboard.press(key)
                    if key == "G":
                        wait_until(lambda: at_end(page), "the end")
                        page.keyboard.press("/")
                        page.locator("#pause").focus()
                        scrolled(page, 0)
                        assert at_end(page)
                        continue
                    has_count(page.locator(".is-current"), 1)
                    scrolled(page, 0)
                    assert page.evaluate(UNDER_THE_HEAD), (width, height, is_folded, key)


# Whether the first mark of a search is between the head and the end of the screen.
MARK_IN_SIGHT = """() => {
    const head = document.querySelector(".top").getBoundingClientRect().bottom;
    const [mark] = CSS.highlights.get("found") ?? [];
    const { top, bottom } = mark?.getBoundingClientRect() ?? { top: 0, bottom: 0 };
    return top >= head && bottom <= innerHeight && bottom > top;
}"""


def test_a_match_deep_in_a_long_text_is_in_sight(page: Page, server: Server, agent: Agent) -> None:
    """Not its row alone, which is higher than the screen; in a fold, too."""
    words = "\n\n".join(["some words"] * 100)
    with agent.bus() as bus:
        bus.emit(says(f"{words}\n\nthe needle\n\n{words}"))
        bus.emit(calls(("a", "Bash", {"command": "make"})))
        bus.emit(gives("a", f"{words}\nthe haystack\n{words}"))
        show(page, server, agent)
        has_text(page.locator(".tool .preview"), "some words")
        for query in ("needle", "haystack"):
            page.locator("#search").fill(query)
            page.keyboard.press("Enter")
            has_text(page.locator("#found"), "1 of 1")
            wait_until(lambda: page.evaluate(MARK_IN_SIGHT), "the match in sight")
