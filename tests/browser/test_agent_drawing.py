"""The page of one agent: how late rows are, what is said besides, and images."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import pytest
from pages import begins, calls, gives, has_count, has_text, line, says, scrolled, show, store
from turns import Agent, wait_until
from webserver import Server

from ringbus.events import Event, Note, Stream, TurnEnd, TurnStart

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser


def test_a_row_says_how_much_later_it_is_than_what_is_above(
    page: Page, server: Server, agent: Agent
) -> None:
    """Between rows and between turns, from whichever side they are drawn; a result counts, too.

    Text that is still being written says it already, so that its final line moves nothing.
    """
    minutes = [6 * (number // 5) for number in range(500)]
    past = [(minute, Note(f"row {number}")) for number, minute in enumerate(minutes)]
    past += [
        (646, TurnStart("operator", "far apart")),
        (646, calls(("a", "Bash", {"command": "make"}))),
        (666, gives("a", "made")),
        (667, says("just after the result")),
        (673, TurnEnd(ok=True)),
    ]
    write_past(agent, past, ago_minutes=676 + 26 * 60)
    with agent.bus() as bus:
        show(page, server, agent)
        has_text(page.locator(".row-end"), "6 min later")
        has_text(page.locator("#connection-word"), "live")
        begins(bus, "n", "text", "a day")
        has_text(page.locator(".row-partial"), "1 d later")
        bus.emit_many([says("a day after", "n"), TurnStart("operator", "at once")])
        has_text(page.locator(".row-turn").last, "at once")
        has_text(page.locator(".row-text").last, "1 d later")
        has_count(page.locator(".row-turn").last.locator(".later"), 0)
        has_count(page.locator(".row-text .later, .row-tool .later"), 1)
        has_text(page.locator(".row-turn").first, "52 min later")
        for to, by in ((0, -300), (499, 300)):
            found = page.evaluate(GO, [to, by])
            assert found == {"seqs": list(range(500)), "wrong": [], "moved": 0}


def test_rows_of_a_subagent_say_how_late_they_are_among_themselves(
    page: Page, server: Server, agent: Agent
) -> None:
    """From its call on, results counted, whatever goes on beside it and wherever drawing begins."""
    rows = [6 * number for number in range(1, 41)]
    past = [
        (0, TurnStart("operator", "go")),
        (0, calls(("outer", "Task", {"description": "look around"}))),
        *((minute, says(f"row {minute}", parent="outer")) for minute in rows),
        (241, calls(("inner", "Read", {"file_path": "/f"}), parent="outer")),
        (251, gives("inner", "found")),
        (252, says("just after the result", parent="outer")),
        (254, says("beside it")),
        (259, says("after a rest", parent="outer")),
        *((259, Note(f"note {number}")) for number in range(400)),
    ]
    write_past(agent, past, ago_minutes=300)
    show(page, server, agent)
    has_text(page.locator(".row-note").last, "note 399")
    nested = page.locator(".inner .row")
    wait_until(lambda: scrolled(page, -600) and nested.count() == 43, "the call")
    late = page.locator(".inner .row:has(> .later)")
    told = late.evaluate_all(
        "rows => rows.map(row => [row.querySelector('.later').textContent, row.innerText.trim()])"
    )
    assert {words for words, _ in told[:-1]} == {"6 min later"}
    assert len(told) == 41
    assert told[-1][0] == "7 min later"
    has_text(late.last, "after a rest")
    has_count(page.locator(".later:not(.inner *)"), 0)


# Goes to the note of a seq; notes which were met, and which of them say a wrong time or none. The
# first row drawn has nothing above it.
GO = """async ([to, by]) => {
    const frame = () => new Promise(requestAnimationFrame);
    const [seqs, wrong] = [new Set(), new Set()];
    let moved = 0;
    for (let tries = 0; !seqs.has(to) && tries < 3000; tries += 1) {
        const notes = [...document.querySelectorAll("#transcript .row-note")];
        for (const [index, row] of notes.entries()) {
            const seq = Number(row.querySelector(".seq").textContent);
            const words = row.querySelector(":scope > .later")?.textContent ?? "";
            const isRight = words === (seq % 5 || !seq ? "" : "6 min later");
            if (index > 0 && !isRight) wrong.add(`${seq}: ${words}`);
            seqs.add(seq);
        }
        const mark = notes.find((row) => row.getBoundingClientRect().top > 200);
        const top = mark?.getBoundingClientRect().top;
        await frame();
        if (mark?.isConnected && Math.abs(mark.getBoundingClientRect().top - top) > 1) moved += 1;
        scrollBy({ top: by, behavior: "instant" });
        await frame();
        await frame();
    }
    return { seqs: [...seqs].sort((one, other) => one - other), wrong: [...wrong], moved };
}"""


def write_past(agent: Agent, past: list[tuple[float, Event]], *, ago_minutes: float) -> None:
    """A history whose events came so many minutes after a first moment that is that long ago."""
    first_ns = time.time_ns() - int(ago_minutes * 60e9)
    store(agent, [(first_ns + int(minute * 60e9), event) for minute, event in past])


def test_what_a_program_says_besides_is_drawn_for_what_it_is(
    page: Page, server: Server, agent: Agent
) -> None:
    """Refusals, signing in, progress, summaries: in words, each in its place."""
    ids = {"uuid": "0a-uuid", "session_id": "0a-session"}
    system = lambda subtype, **fields: line({"type": "system", "subtype": subtype, **fields, **ids})  # noqa: E731
    denials = [
        {"tool_name": "Bash", "tool_use_id": "d", "tool_input": {"command": "rm -rf out"}},
        {"tool_name": "mcp__db__drop", "tool_use_id": "e", "tool_input": {}},
    ]
    with agent.bus() as bus:
        bus.emit_many(
            [
                TurnStart("operator", "go"),
                system("init", tools=["a"], mcp_servers=[{"name": "db", "status": "failed"}]),
                signing(isAuthenticating=True, output=["open the link"]),
                signing(isAuthenticating=False, output=[]),
                signing(error="the key is revoked", output=[]),
                calls(("d", "Bash", {"command": "rm -rf out"})),
                system("permission_denied", tool_name="Bash", tool_use_id="d", message="not here"),
                gives("d", "refused", is_error=True),
                system("status", status=None, compact_result="failed", compact_error="too long"),
                system("api_retry", attempt=1, max_retries=3, retry_delay_ms=999, no_response=True),
                system("informational", level="info", content="a plain fact"),
                system("local_command_output", content="two\nlines"),
                system("news", state="short", detail="a longer text than the other"),
                line({"type": "tool_use_summary", "summary": "removed what was built"}),
                system("task_started", task_id="t", description="tides of a year"),
                system("task_progress", task_id="t"),
                *searched(),
                calls(("p", "Bash", {"command": "make all"})),
                line({"type": "tool_progress", "tool_use_id": "p", "elapsed_time_seconds": 31.7}),
                line({"type": "tool_progress", "tool_use_id": "?", "elapsed_time_seconds": 1}),
            ]
        )  # fmt: skip
        show(page, server, agent)
        running = page.locator(".tool", has_text="make all").locator(".elapsed")
        has_text(running, re.compile("^running, 32 s$"))
        bus.emit(line({"type": "tool_progress", "tool_use_id": "p", "elapsed_time_seconds": 95}))
        has_text(running, re.compile("^running, 1 min 35 s$"))
        has_text(page.locator(".row-task .elapsed"), "running, ")
        bus.emit(system("task_notification", task_id="t", status="failed", summary="no gauge"))
        bus.emit(system("task_progress", task_id="t"))
        bus.emit(gives("p", "made"))
        bus.emit(line({"type": "tool_progress", "tool_use_id": "p", "elapsed_time_seconds": 99}))
        bus.emit(
            line(
                {
                    "type": "result", "subtype": "success", "is_error": True, "result": "no room",
                    "terminal_reason": "prompt_too_long", "permission_denials": denials,
                    "structured_output": {"answer": 42},
                }
            )
        )  # fmt: skip
        bus.emit(system("post_turn_summary", status_category="blocked", needs_action="allow it",
                        status_detail="a command was refused"))  # fmt: skip
        bus.emit(TurnEnd(ok=False, note="exit status 1"))
        has_count(page.locator(".turn.is-failed"), 1)
    row = lambda text: page.locator("#transcript .row", has_text=text)  # noqa: E731
    has_text(row("not connected").locator("strong"), "not connected: db failed")
    has_count(row("signing in: open the link"), 1)
    has_text(page.locator(".row-error.is-failure").nth(0), "signing in failed: the key is revoked")
    has_text(page.locator(".row-error.is-failure").nth(1), "compacting failed: too long")
    has_count(row("permission refused: Bash $ rm -rf out, not here"), 1)
    has_count(row("retry 1/3 in 1.0 s (no response)"), 1)
    has_count(page.locator(".row-muted, .row-notice").get_by_text("a plain fact", exact=True), 1)
    has_text(page.locator(".row-muted pre").last, "two\nlines")
    news = page.locator(".row-fallback", has_text="system/news")
    has_text(news.locator(".preview"), re.compile("^short$"))
    has_text(page.locator(".row-task .is-failure .elapsed"), "failed, ")
    red = "element => getComputedStyle(element).color"
    failed = page.locator(".row-task .is-failure .elapsed, .row-end.is-failure > .cell")
    assert failed.first.evaluate(red) == failed.last.evaluate(red)
    has_text(page.locator(".row-task .result"), "no gauge")
    search = page.locator(".tool", has_text="tides today")
    has_text(search.locator(".result"), "The tides https://example.org/tides")
    assert "is-open" not in (search.get_attribute("class") or "")
    assert "0a-secret" not in (search.text_content() or "")
    has_text(running, re.compile("s$"))
    assert "running" not in (running.text_content() or "")
    result = page.locator(".row-result.is-failure")
    has_text(result, "result: prompt too long")
    has_text(result.locator(".refused").nth(0), "permission refused: Bash $ rm -rf out")
    has_text(result.locator(".refused").nth(1), "permission refused: db drop")
    result.locator("summary").click()
    has_text(result.locator("pre").last, '"answer": 42')
    has_text(row("blocked: a command was refused"), "needs action: allow it")
    has_count(page.locator(".row-fallback:not(.quiet *)"), 1)


def test_the_head_of_a_turn_says_what_it_cost(page: Page, server: Server, agent: Agent) -> None:
    """While it runs and beside how it ended and how long that took, though its end is not drawn.

    A session tells its sum each time, a step its own; who tells nothing costs nothing.
    """
    result = lambda usd, session: line(  # noqa: E731
        {"type": "result", "subtype": "success", "total_cost_usd": usd, "session_id": session}
    )
    step = lambda usd: line({"type": "step_finish", "part": {"reason": "tools", "cost": usd}})  # noqa: E731
    with agent.bus() as bus:
        bus.emit_many([TurnStart("operator", "free"), says("nothing told"), TurnEnd(ok=True)])
        bus.emit_many([TurnStart("operator", "steps"), step(0.25), step(0.5), TurnEnd(ok=False)])
        bus.emit_many([TurnStart("operator", "sessions"), result(0.1, "a"), result(0.3, "a")])
        show(page, server, agent)
        outcome = page.locator(".outcome")
        has_text(outcome.nth(0), re.compile(r"^ok, [\d.]+ s$"))
        has_text(outcome.nth(1), re.compile(r"^failed, [\d.]+ s, \$0\.75$"))
        has_text(outcome.nth(2), re.compile(r"^running, \$0\.30$"))
        has_text(page.locator("#connection-word"), "live")
        page.keyboard.press("[")
        has_text(page.locator(".row-turn.is-current"), "sessions")
        bus.emit_many([Note(f"row {number}") for number in range(600)])
        bus.emit(result(1.25, "b"))
        has_text(outcome.nth(2), re.compile(r"^running, \$1\.55$"))
        bus.emit(TurnEnd(ok=True))
        has_text(outcome.nth(2), re.compile(r"^ok, .*s, \$1\.55$"))
        has_count(page.locator(".row-end"), 2)
        page.reload()
        has_text(page.locator(".row-turn.is-current"), "sessions")
        has_text(page.locator(".is-current .outcome"), re.compile(r"^ok, .*s, \$1\.55$"))
        has_count(page.locator(".row-end"), 2)


def test_the_head_of_a_turn_counts_what_happened_in_it(
    page: Page, server: Server, agent: Agent
) -> None:
    """While it goes on, drawn or not; at least so much where some is missing or not loaded."""
    thought = lambda text: line(  # noqa: E731
        {"type": "assistant", "message": {"content": [{"type": "thinking", "thinking": text}]}}
    )
    item = {"type": "item.started", "item": {"id": "f", "type": "file_change", "changes": []}}
    make = ("Bash", {"command": "make"})
    turns: list[Event] = [
        TurnStart("operator", "nothing"), says("no call"), TurnEnd(ok=True),
        TurnStart("operator", "missing"), calls(("a", *make)), Note("lost"), TurnEnd(ok=True),
    ]  # fmt: skip
    now = time.time_ns()
    store(agent, [(now, event) for event in turns], holes=[5])
    with agent.bus() as bus:
        bus.emit_many([TurnStart("operator", "go"), thought("first"), thought("then")])
        bus.emit_many([calls(("b", *make), ("c", *make)), gives("b", "made")])
        bus.emit_many([line(item), line(item | {"type": "item.completed"})])
        show(page, server, agent)
        counts = page.locator(".counts")
        has_text(counts.nth(2), re.compile("^3 tool calls, 2 thoughts$"))
        has_text(counts.nth(1), re.compile("^at least 1 tool call$"))
        has_text(counts.nth(0), re.compile("^$"))
        has_text(page.locator("#connection-word"), "live")
        page.keyboard.press("[")
        has_text(page.locator(".row-turn.is-current"), "go")
        for number in range(1100):
            bus.emit_many([calls((f"d{number}", *make)), Note("x")])
        has_text(counts.last, re.compile("^1,103 tool calls, 2 thoughts$"))
        page.reload()
        has_text(page.locator(".is-current .outcome"), "end not loaded")
        has_text(page.locator(".is-current .counts"), re.compile("^at least [0-9]+ tool calls, 2 "))
        bus.emit_many([TurnEnd(ok=True), TurnStart("operator", "next"), thought("third")])
        page.keyboard.press("G")
        has_text(counts.last, re.compile("^1 thought$"))


def test_refusals_that_a_result_repeats_are_one_line_that_counts(
    page: Page, server: Server, agent: Agent
) -> None:
    """Many that differ are folded."""
    denied = lambda *commands: line(  # noqa: E731
        {
            "type": "result", "subtype": "success",
            "permission_denials": [
                {"tool_name": "Bash", "tool_input": {"command": command}} for command in commands
            ],
        }
    )  # fmt: skip
    with agent.bus() as bus:
        bus.emit(denied("rm a", *["make"] * 19))
        bus.emit(denied(*(f"rm {number}" for number in range(20)), *["make"] * 5))
        show(page, server, agent)
        same, others = page.locator(".row-result").nth(0), page.locator(".row-result").nth(1)
        has_text(others, "25 permissions refused")
    has_count(same.locator(".refused"), 2)
    has_text(same.locator(".refused").nth(0), re.compile(r"^permission refused: Bash \$ rm a$"))
    has_text(same.locator(".refused").nth(1), "permission refused 19 times: Bash $ make")
    has_count(others.locator(".refused"), 0)
    others.locator("summary").click()
    has_count(others.locator(".refused"), 21)
    has_text(others.locator(".refused").last, "5 times: Bash $ make")


def signing(**fields: object) -> Stream:
    """How signing in goes on."""
    return line({"type": "auth_status", **fields})


def searched() -> list[Stream]:
    """A search that the other side of the wire ran: call and result are both in its message."""
    found = {
        "type": "web_search_result", "title": "The tides", "url": "https://example.org/tides",
        "encrypted_content": "0a-secret",
    }  # fmt: skip
    call = {
        "type": "server_tool_use", "id": "w", "name": "WebSearch", "input": {"query": "tides today"}
    }  # fmt: skip
    result = {"type": "web_search_tool_result", "tool_use_id": "w", "content": [found]}
    return [
        line({"type": "assistant", "message": {"id": "s", "content": [block]}})
        for block in (call, result)
    ]


PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def test_images_are_shown_on_demand_and_never_fetched(
    page: Page, server: Server, agent: Agent
) -> None:
    """Those that came whole are pictures once they are unfolded; of others there is the address."""
    base64 = {"type": "base64", "media_type": "image/png", "data": PIXEL}
    address = "https://example.org/tide.png?at=<b>"
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    with agent.bus() as bus:
        bus.emit(calls(("a", "Read", {"file_path": "/x.png"}), ("b", "mcp__eye__look", {})))
        bus.emit(gives("a", [{"type": "image", "source": base64}]))
        bus.emit(gives("b", [{"type": "image", "data": PIXEL, "mimeType": "image/png"}]))
        content = [
            {"type": "image", "source": {"type": "url", "url": address}},
            {"type": "image", "source": {"type": "url", "url": "javascript:window.pwned=1"}},
            {"type": "image", "source": base64 | {"media_type": "image/svg+xml"}},
            {"type": "image", "source": base64 | {"data": "iVBORw0KGgo="}},
            {"type": "image", "source": {"type": "file", "file_id": "file-7"}},
            {"type": "document", "title": "tides", "source": base64 | {"media_type": "x/pdf"}},
            {"type": "document", "source": {"type": "text", "data": "plain"}},
        ]  # fmt: skip
        bus.emit(line({"type": "user", "message": {"role": "user", "content": content}}))
        bus.emit(gives("?", [content[5], {"type": "text", "text": "beside it"}]))
        show(page, server, agent)
        has_text(page.locator("#transcript"), "beside it")
        has_count(page.locator("#transcript img"), 0)
        pictures = page.locator("details.image")
        has_count(pictures, 3)
        for number in range(3):
            has_text(pictures.nth(number).locator("summary"), "image, png, ")
            pictures.nth(number).locator("summary").click()
        whole = "() => [...document.images].filter(one => one.naturalWidth === 1).length"
        wait_until(lambda: page.evaluate(whole) == 2, "the pictures")
        has_text(pictures.nth(2), "the browser cannot show it")
        link = page.locator("#transcript a", has_text="example.org/tide.png?at=<b>")
        assert link.get_attribute("rel") == "noopener noreferrer"
        assert (link.get_attribute("href") or "").startswith("https://example.org/tide.png")
        user = page.locator(".row-user")
        user.first.locator("summary").last.click()
        for words in (
            "image at https://example.org", "image at javascript:window.pwned=1",
            "image, svg+xml, 70 bytes, not shown", "image, file-7, not shown",
            "document, tides, pdf, 70 bytes, not shown", "plain",
        ):  # fmt: skip
            has_text(user.first, words)
        has_count(page.locator("#transcript a[href^=javascript]"), 0)
        assert PIXEL[:20] not in (page.locator("#transcript").text_content() or "")
        page.locator("#search").fill(PIXEL[:20])
        has_text(page.locator("#found"), re.compile("^0$"))
    assert [url for url in asked if not url.startswith((server.url, "data:", "blob:"))] == []
