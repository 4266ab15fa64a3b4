"""The page of one agent: what becomes of each event, in a real browser over a real ring."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from pages import begins, calls, gives, has_count, has_text, line, says, show
from turns import Agent
from webserver import Server

from ringbus.events import Note, Stream, TurnEnd, TurnStart

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

HOSTILE = '<script>window.pwned=1</script><img src=x onerror="window.pwned=1">\'"'


def test_results_are_shown_under_their_calls_in_whatever_order_they_come(
    page: Page, server: Server, agent: Agent
) -> None:
    """Parallel calls keep their own results."""
    with agent.bus() as bus:
        bus.emit(TurnStart("operator", "go"))
        bus.emit(calls(("a", "Bash", {"command": "ls"}), ("b", "Read", {"file_path": "/x.py"})))
        bus.emit(gives("b", "content of x"))
        bus.emit(gives("a", "no such folder", is_error=True))
        show(page, server, agent)
        tools = page.locator(".tool")
        has_text(tools.nth(0).locator(".result"), "no such folder")
    has_text(tools.nth(0).locator(".call"), "$ ls")
    has_text(tools.nth(1).locator(".result"), "content of x")
    assert "is-failure" in (tools.nth(0).get_attribute("class") or "")
    assert "is-failure" not in (tools.nth(1).get_attribute("class") or "")


def test_a_failed_turn_looks_different_and_says_why(
    page: Page, server: Server, agent: Agent
) -> None:
    """By class, by colour, and in the line on top."""
    with agent.bus() as bus:
        bus.emit(TurnStart("operator", "first"))
        bus.emit(TurnEnd(ok=True))
        bus.emit(TurnStart("planner", "second", 3))
        bus.emit(TurnEnd(ok=False, note="exit status 2"))
        show(page, server, agent)
        failed = page.locator(".turn.is-failed")
        has_text(failed, "exit status 2")
    has_text(failed, "3 more waiting")
    has_count(page.locator(".turn.is-ok"), 1)
    has_text(page.locator("#status"), "Failed")
    border = "element => getComputedStyle(element).borderLeftColor"
    assert failed.evaluate(border) != page.locator(".turn.is-ok").evaluate(border)


def test_text_is_drawn_while_it_is_written_and_then_replaced(
    page: Page, server: Server, agent: Agent
) -> None:
    """Never twice on the page."""
    with agent.bus() as bus:
        bus.emit(TurnStart("operator", "go"))
        show(page, server, agent)
        has_text(page.locator("#transcript"), "go")
        has_text(page.locator("#connection-word"), "live")
        begins(bus, "m1", "text", "half a")
        has_text(page.locator(".row-partial"), "half a")
        bus.emit(says("half a sentence", "m1"))
        has_text(page.locator(".row-text"), "half a sentence")
    has_count(page.locator(".row-partial"), 0)


def test_how_much_is_thought_is_told_while_it_is(page: Page, server: Server, agent: Agent) -> None:
    """With the thoughts or, where they do not come, without; what was thought takes the place."""
    tokens = lambda number: line(  # noqa: E731
        {"type": "system", "subtype": "thinking_tokens", "estimated_tokens": number}
    )
    thought = lambda text, id_: line(  # noqa: E731
        {
            "type": "assistant",
            "message": {"id": id_, "content": [{"type": "thinking", "thinking": text}]},
        }
    )
    writing, doing = page.locator(".row-partial"), page.locator("#status-detail")
    with agent.bus() as bus:
        bus.emit(TurnStart("operator", "go"))
        show(page, server, agent)
        has_text(page.locator("#connection-word"), "live")
        for number, words in ((40, "about 40 tokens"), (1_240, "about 1.2k tokens")):
            bus.emit(tokens(number), transient=True)
            has_text(writing, re.compile(f"thinking, {words}$"))
            has_text(doing, re.compile(f"^thinking, {words}$"))
        bus.emit(thought("", "m0"))
        has_text(page.locator(".row-thinking"), "thinking")
        has_count(writing, 0)
        begins(bus, "m1", "thinking", "What if")
        bus.emit(tokens(3), transient=True)
        has_text(writing, re.compile("thinking, about 3 tokens.*What if", re.DOTALL))
        bus.emit(thought("What if the tide turns?", "m1"))
        has_text(page.locator(".row-thinking").last, "What if the tide turns?")
        has_count(writing, 0)
        has_count(page.locator(".row-quiet"), 0)
        bus.emit(calls(("a", "Bash", {"command": "make"})))
        bus.emit(tokens(99), transient=True)
        has_text(writing, "about 99 tokens")
        has_text(doing, "Bash $ make")


def test_nothing_an_agent_prints_is_run(page: Page, server: Server, agent: Agent) -> None:
    """Markup in every field stays text."""
    with agent.bus() as bus:
        for event in hostile_events():
            bus.emit(event)
        show(page, server, agent)
        has_text(page.locator("#status-detail"), "window.pwned")
        page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
        page.goto(server.url)
        has_text(page.locator(f'[data-agent="{agent.name}"]'), "window.pwned")
        show(page, server, agent)
        has_text(page.locator("#transcript"), HOSTILE)
    assert page.evaluate("window.pwned") is None
    has_count(page.locator("#transcript script, #transcript img"), 0)


def hostile_events() -> list[Note | Stream | TurnStart | TurnEnd]:
    """Events with markup in every field that is drawn."""
    given = dict.fromkeys(
        ("command", "file_path", "old_string", "new_string", "content", "pattern", "prompt"),
        f"{HOSTILE}\n{HOSTILE}",
    )
    names = ("Bash", "Edit", "Write", "Grep", "Task", f"mcp__{HOSTILE}__x", HOSTILE)
    drawn = [calls((name, name, given)) for name in names]
    drawn += [gives(name, HOSTILE, is_error=name == "Bash") for name in names]
    image = {"type": "image", "source": {"type": "base64", "media_type": HOSTILE, "data": HOSTILE}}
    system = {"type": "system", "model": HOSTILE, "cwd": HOSTILE, "text": HOSTILE}
    return [
        TurnStart(HOSTILE, HOSTILE, 1),
        *drawn,
        gives("Grep", [image, {"type": "text", "text": HOSTILE}]),
        says(f"# {HOSTILE}\n- {HOSTILE}\n```{HOSTILE}\n{HOSTILE}\n```\n[x](javascript:x)"),
        line(system | {"subtype": "init"}),
        line(system | {"subtype": "notification"}),
        line(system | {"subtype": "hook_response", "outcome": HOSTILE, "output": HOSTILE}),
        line({"type": HOSTILE, HOSTILE: HOSTILE}),
        line({"type": "result", "is_error": True, "subtype": HOSTILE, "result": HOSTILE}),
        Note(HOSTILE, "stderr", reason=HOSTILE),
        TurnEnd(ok=False, note=HOSTILE),
    ]


def test_retries_in_a_row_are_one_row_that_counts(page: Page, server: Server, agent: Agent) -> None:
    """Each of them is underneath."""
    with agent.bus() as bus:
        for attempt in (1, 2, 3):
            retry = {"type": "system", "subtype": "api_retry", "attempt": attempt}
            bus.emit(line(retry | {"max_retries": 9, "retry_delay_ms": 500.5, "error_status": 429}))
        show(page, server, agent)
        row = page.locator(".row-notice")
        has_text(row, "retry 3/9 in 0.5 s (429), 3 retries so far")
        row.locator("summary").click()
        has_text(row, "retry 1/9")
    has_count(page.locator(f'[data-position="{bus.epoch}-1"]'), 1)


def test_lines_of_a_subagent_stand_under_its_call(page: Page, server: Server, agent: Agent) -> None:
    """Also when it calls tools itself."""
    inner = calls(("inner", "Read", {"file_path": "/f"}), parent="outer")
    with agent.bus() as bus:
        bus.emit(calls(("outer", "Task", {"description": "look", "prompt": "look around"})))
        bus.emit(inner)
        bus.emit(gives("inner", "found"))
        bus.emit(gives("outer", "done"))
        show(page, server, agent)
        nested = page.locator(".tool .inner .tool")
        has_text(nested, "found")
    has_text(page.locator(".tool > .result").last, "done")


def test_json_nobody_knows_gets_a_line_and_unfolds_unchanged(
    page: Page, server: Server, agent: Agent
) -> None:
    """A number of 40 digits included, and keys that an envelope has, too."""
    digits = "1234567890" * 4
    raw = f'{{"type":"news","kind":"x","seq":7,"ts_ns":1,"epoch":"e","big":{digits}}}'
    with agent.bus() as bus:
        bus.emit(Stream(raw.encode()))
        bus.emit(Stream(b"null"))
        show(page, server, agent)
        row = page.locator(".row-fallback").first
        has_text(row, "news")
        row.locator("summary").click()
        has_text(row.locator("pre"), digits)
    has_text(page.locator(".row-fallback").nth(1), "null")


def test_escapes_are_coloured_and_control_characters_visible(
    page: Page, server: Server, agent: Agent
) -> None:
    """No escape sequence is left, a NUL can be seen."""
    with agent.bus() as bus:
        bus.emit(Note("\x1b[31mred\x1b[0m plain\x1b]0;title\x07 nul\x00", "stdout"))
        show(page, server, agent)
        has_text(page.locator(".row-note"), "red plain nul␀")
    has_text(page.locator(".ansi-1"), "red")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_it_without_scrolling_sideways(
    browser: Browser, server: Server, agent: Agent, scheme: str
) -> None:
    """390 pixels are enough, in both schemes."""
    with agent.bus() as bus:
        bus.emit(TurnStart("operator", "word " * 40))
        bus.emit(calls(("a", "Bash", {"command": "x" * 400})))
        bus.emit(gives("a", "y" * 400, is_error=True))
        bus.emit(says(f"`{'z' * 300}`\n\n```\n{'w' * 300}\n```\n{'v' * 300}"))
        bus.emit(Note("n" * 500, "stderr"))
        bus.emit(line({"type": "t" * 200, "text": "u" * 400}))
        bus.emit(TurnEnd(ok=False, note="f" * 300))
        with browser.new_context(
            viewport={"width": 390, "height": 844}, color_scheme=scheme
        ) as context:
            page = context.new_page()
            show(page, server, agent)
            has_count(page.locator(".turn.is-failed"), 1)
            width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= 390
