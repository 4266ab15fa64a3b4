"""The page of all agents, in a real browser over real rings and histories."""

from __future__ import annotations

import re
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from pages import calls, gives, has_text, line, partial, show
from storing import paused, persister_process
from turns import Agent, fresh_agent, wait_until
from webclient import EPOCH
from webserver import Server, serving

from ringbus.events import Gap, Note, TurnEnd, TurnStart, encode
from ringbus.history import History
from ringbus.removal import remove_agent

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Locator, Page

pytestmark = pytest.mark.browser

GO = TurnStart("operator", "mend the gauge")
ASK = line(
    {
        "type": "control_request",
        "request": {"subtype": "can_use_tool", "tool_name": "Bash", "input": {"command": "rm x"}},
    }
)
TOP = "row => row.getBoundingClientRect().top"
HEIGHT = "row => row.getBoundingClientRect().height"


# What the head says and whether the page is greyed, whenever that changes.
WATCH = """() => {
    globalThis.told = [];
    const word = document.getElementById("connection-word");
    const tell = () => told.push(`${word.textContent} ${document.body.className}`);
    const watch = new MutationObserver(tell);
    watch.observe(word, { childList: true, characterData: true, subtree: true });
    watch.observe(document.body, { attributeFilter: ["class"] });
}"""


def row_of(page: Page, agent: Agent) -> Locator:
    """The agent's row."""
    return page.locator(f'[data-agent="{agent.name}"]')


def is_in(row: Locator, state: str) -> None:
    """Waits until the row shows the state."""
    from playwright.sync_api import expect

    expect(row).to_have_attribute("data-state", state)


def place(page: Page, *agents: Agent) -> list[int]:
    """Where among all rows these agents' are."""
    names = page.locator(".agent").evaluate_all("rows => rows.map(row => row.dataset.agent)")
    return [names.index(agent.name) for agent in agents]


def limited(resets_at: float) -> dict[str, object]:
    """A line that says that the limit is met."""
    info = {"status": "rejected", "resetsAt": resets_at, "rateLimitType": "five_hour"}
    return {"type": "rate_limit_event", "rate_limit_info": info}


def test_a_row_follows_its_agent_through_every_state(
    page: Page, server: Server, agent: Agent
) -> None:
    """On which tool, for what it waits, limited until when, done in what time, failed and why."""
    with agent.bus() as bus:
        bus.emit(Note("hello"))
        page.goto(server.url)
        row = row_of(page, agent)
        has_text(row, "Idle")
        bus.emit_many([GO, calls(("a", "Bash", {"command": "make test"}))])
        has_text(row.locator(".doing"), "Bash $ make test")
        has_text(row.locator(".state"), re.compile(r"Working [0-9]+ s"))
        has_text(row.locator(".asked"), "mend the gauge")
        is_in(row, "working")
        bus.emit(ASK)
        has_text(row.locator(".state"), "Waiting")
        has_text(row.locator(".doing"), "for permission: Bash $ rm x")
        bus.emit(gives("a", "ok"))
        has_text(row.locator(".doing"), "thinking")
        bus.emit(line(limited(time.time() + 7200)))
        has_text(row.locator(".state"), re.compile(r"Limited until .*[0-9]{2}:[0-9]{2}$"))
        has_text(row.locator(".doing"), "five hour limit")
        bus.emit(line({"type": "result", "is_error": True, "result": "Out of credits"}))
        bus.emit(TurnEnd(ok=False, note="exit status 3"))
        has_text(row.locator(".state"), "Failed")
        has_text(row.locator(".doing"), "exit status 3: Out of credits")
        bus.emit_many([GO, TurnEnd(ok=True)])
        has_text(row.locator(".state"), "Done")
        has_text(row.locator(".doing"), "took 0 s")
        row.locator("a").click()
        has_text(page.locator("h1"), agent.name)
        has_text(page.locator("#status-word"), "Done")


def test_the_head_counts_the_states_and_the_time_of_a_turn_ticks(
    page: Page, server: Server, tmp_path: Path
) -> None:
    """The title of the tab says the same; the clock of this browser may be wrong."""
    page.add_init_script("const now = Date.now; Date.now = () => now() + 5 * 3600e3")
    with ExitStack() as stack:
        one, other = (stack.enter_context(fresh_agent(tmp_path)) for _ in range(2))
        stack.enter_context(one.bus()).emit(GO)
        stack.enter_context(other.bus()).emit_many([GO, TurnEnd(ok=False)])
        page.goto(server.url)
        has_text(page.locator("#tally [data-state=failed]"), re.compile("^[0-9]+ failed$"))
        has_text(page.locator("#tally [data-state=working]"), re.compile("^[0-9]+ working$"))
        assert re.search(r"[0-9]+ failed.*[0-9]+ working.*: ringbus", page.title())
        figure = row_of(page, one).locator(".figure")
        has_text(figure, re.compile("^[0-9]+ s$"))
        first = figure.inner_text()
        wait_until(lambda: figure.inner_text() != first, "the next second")


def test_rows_are_sorted_by_activity_but_do_not_move_under_the_pointer(
    page: Page, server: Server, tmp_path: Path
) -> None:
    """Nor is a row taken away or put in there: that waits until the pointer has left."""
    with ExitStack() as stack:
        agents = [stack.enter_context(fresh_agent(tmp_path)) for _ in range(3)]
        first, second, third = agents
        busses = [stack.enter_context(agent.bus()) for agent in agents]
        for bus in busses:
            bus.emit_many([GO, TurnEnd(ok=True)])
        page.goto(server.url)
        wait_until(
            lambda: place(page, third, second, first) == sorted(place(page, *agents)),
            "the newest on top",
        )
        height = row_of(page, first).evaluate(HEIGHT)
        row_of(page, third).hover()
        busses[0].emit(GO)
        is_in(row_of(page, first), "working")
        has_text(page.locator("#connection-word"), "order held")
        top = row_of(page, third).evaluate(TOP)
        assert place(page, third, second, first) == sorted(place(page, *agents))
        late = stack.enter_context(fresh_agent(tmp_path))
        stack.enter_context(late.bus()).emit(GO)
        is_in(row_of(page, late), "working")
        assert max(place(page, late, *agents)) == place(page, late)[0]
        remove_agent(second.name, tmp_path, purge=True)
        is_in(row_of(page, second), "gone")
        has_text(row_of(page, second), "Removed")
        assert row_of(page, third).evaluate(TOP) == top
        page.mouse.move(640, 20)
        wait_until(lambda: row_of(page, second).count() == 0, "the end of the removed row")
        wait_until(
            lambda: place(page, late, first, third) == sorted(place(page, late, first, third)),
            "the order",
        )
        assert row_of(page, first).evaluate(HEIGHT) == height
        has_text(page.locator("#connection-word"), re.compile("^live$"))


def test_a_pointer_at_rest_holds_the_order_for_half_a_minute(
    page: Page, server: Server, tmp_path: Path
) -> None:
    """Whoever only watches leaves it where it is."""
    with ExitStack() as stack:
        first, second = agents = [stack.enter_context(fresh_agent(tmp_path)) for _ in range(2)]
        busses = [stack.enter_context(agent.bus()) for agent in agents]
        for bus in busses:
            bus.emit(GO)
        page.clock.install()
        page.goto(server.url)
        wait_until(lambda: place(page, second) < place(page, first), "the newest on top")
        row_of(page, second).hover()
        busses[0].emit_many([TurnEnd(ok=True), GO])
        has_text(page.locator("#connection-word"), "order held")
        assert place(page, second) < place(page, first)
        page.clock.fast_forward(31_000)
        wait_until(lambda: place(page, first) < place(page, second), "the order")


def test_an_agent_appears_and_vanishes_without_a_reload(
    page: Page, server: Server, tmp_path: Path
) -> None:
    """The dashboard watches for agents."""
    from playwright.sync_api import expect

    page.goto(server.url)
    has_text(page.locator("#connection-word"), "live")
    with fresh_agent(tmp_path) as late:
        with late.bus() as bus:
            bus.emit(GO)
            has_text(row_of(page, late), "Working")
        remove_agent(late.name, tmp_path, purge=True)
        expect(row_of(page, late)).to_have_count(0)


def test_a_turn_whose_emitter_is_gone_is_stale(page: Page, server: Server, agent: Agent) -> None:
    """Though nobody said that it ended."""
    with agent.bus() as bus:
        bus.emit_many([GO, calls(("a", "Bash", {"command": "make"}))])
        page.goto(server.url)
        is_in(row_of(page, agent), "working")
    has_text(row_of(page, agent).locator(".state"), re.compile("Stale silent [0-9]+ s"))
    has_text(row_of(page, agent).locator(".doing"), "no emitter is left; last: Bash $ make")


def test_what_is_unread_is_counted_until_the_agent_is_looked_at(
    page: Page, server: Server, agent: Agent
) -> None:
    """By this browser: without partial messages, exactly up to 99, and new where it never was."""
    with agent.bus() as bus:
        bus.emit(GO)
        page.goto(server.url)
        unread = row_of(page, agent).locator(".unread")
        has_text(unread, "new")
        show(page, server, agent)
        has_text(page.locator("#connection-word"), "live")
        wait_until(lambda: seen(page, agent).endswith("-0"), "the place where it was looked at")
        page.goto(server.url)
        has_text(row_of(page, agent), "Working")
        has_text(unread, re.compile("^$"))
        bus.emit(partial({"type": "message_start"}), transient=True)
        bus.emit_many([Note("a"), Note("b"), Note("c")])
        has_text(unread, re.compile("^3 new$"))
        bus.emit_many([Note("more")] * 96)
        has_text(unread, re.compile("^99 new$"))
        bus.emit(Note("one too many"))
        has_text(unread, re.compile(r"^99\+ new$"))
        with page.context.new_page() as tab:
            tab.goto(server.address(f"/agents/{agent.name}"))
            has_text(unread, re.compile("^$"))


def seen(page: Page, agent: Agent) -> str:
    """The place that this browser keeps."""
    kept: str = page.evaluate(
        "name => localStorage.getItem(`ringbus:seen:${name}`) ?? ''", agent.name
    )
    return kept


def test_tokens_cost_and_the_rate_of_events_are_shown(
    page: Page, server: Server, agent: Agent
) -> None:
    """As far as the lines tell them; the bars come and go with the events."""
    with agent.bus() as bus:
        bus.emit(GO)
        page.goto(server.url)
        row = row_of(page, agent)
        has_text(row, "Working")
        assert row.locator(".spend").inner_text() == ""
        usage = {"input_tokens": 900, "cache_read_input_tokens": 16_600, "output_tokens": 1234}
        bus.emit(line({"type": "result", "usage": usage, "total_cost_usd": 0.4219}))
        has_text(row.locator(".spend"), "$0.42 · 18k in · 1.2k out")
        bus.emit_many([Note("x")] * 300)
        has_text(row.locator(".rate"), re.compile("[0-9]+ events/s"))
        assert row.locator(".spark path").get_attribute("d")


def test_gaps_and_a_persister_that_lags_are_told_in_words(
    page: Page, server: Server, agent: Agent
) -> None:
    """How many events, and for how long; nothing where all is well."""
    now = time.time_ns()
    rows = [(0, now, *encode(GO)), (9, now, *encode(Note("x")))]
    with History.open(agent.database, agent.name, write=True) as history:
        history.begin_epoch(EPOCH)
        history.append(EPOCH, rows, 10, [Gap(EPOCH, 1, 8, 8, "lapped")])
        history.end_epoch(EPOCH)
    page.goto(server.url)
    trouble = row_of(page, agent).locator(".trouble")
    has_text(trouble, "1 gap, 8 events missed")
    with agent.bus() as bus:
        bus.emit(GO)
        has_text(trouble, "not stored: no persister")
        with persister_process(agent) as persister:
            has_text(trouble, re.compile("^$"))
            with paused(persister.pid):
                bus.emit_many([Note("x")] * 7)
                has_text(trouble, re.compile("^7 events not stored for [0-9]+ s$"))
            has_text(trouble, re.compile("^$"))


def test_without_a_connection_the_page_says_from_when_it_is(
    page: Page, tmp_path: Path, agent: Agent
) -> None:
    """No clock ticks on for what nobody knows; when the server is back all goes on."""
    with agent.bus() as bus:
        bus.emit(GO)
        with serving(tmp_path) as server:
            page.goto(server.url)
            has_text(row_of(page, agent), "Working")
            port = server.port
        has_text(
            page.locator("#connection-word"), re.compile(r"reconnecting…, this is from .*[0-9:]{8}")
        )
        figure = row_of(page, agent).locator(".figure").inner_text()
        page.wait_for_timeout(1500)
        assert row_of(page, agent).locator(".figure").inner_text() == figure
        bus.emit(TurnEnd(ok=True))
        with serving(tmp_path, port=port):
            has_text(row_of(page, agent), "Done")
            has_text(page.locator("#connection-word"), re.compile("^live$"))


def test_a_stream_that_is_soon_back_is_not_told_to_be_lost(
    page: Page, tmp_path: Path, agent: Agent
) -> None:
    """Nothing is greyed and no word changes before two seconds; the clock of the page stands."""
    with agent.bus() as bus:
        bus.emit(GO)
        page.clock.install()
        with serving(tmp_path) as server:
            page.goto(server.url)
            has_text(row_of(page, agent), "Working")
            port = server.port
            page.clock.pause_at(time.time() + 3600)
            page.evaluate(WATCH)
        bus.emit(TurnEnd(ok=True))
        with serving(tmp_path, port=port):
            is_in(row_of(page, agent), "done")
            assert page.evaluate("told") == []
    wait_until(lambda: is_old_later(page), "the loss of the connection")
    has_text(page.locator("#connection-word"), "reconnecting…, this is from")


def is_old_later(page: Page) -> bool:
    """Whether the page is greyed a second later, by its own clock."""
    page.clock.run_for(1000)
    return page.locator("body.is-old").count() == 1


def test_keys_go_up_and_down_the_rows(page: Page, server: Server, tmp_path: Path) -> None:
    """Enter opens one; the order is held meanwhile."""
    from playwright.sync_api import expect

    with fresh_agent(tmp_path) as one, one.bus() as bus:
        bus.emit(GO)
        page.goto(server.url)
        has_text(row_of(page, one), "Working")
        page.keyboard.press("j")
        expect(page.locator(".agent-link").first).to_be_focused()
        page.keyboard.press("k")
        expect(page.locator(".agent-link").first).to_be_focused()
        page.keyboard.press("Escape")
        expect(page.locator(".agent-link:focus")).to_have_count(0)
        row_of(page, one).locator("a").focus()
        page.keyboard.press("Enter")
        has_text(page.locator("h1"), one.name)


def test_whatever_agents_print_is_text_on_the_dashboard(
    page: Page, server: Server, agent: Agent
) -> None:
    """No element comes of it, no text is turned round, and no line makes its row higher."""
    hostile = "<img src=x onerror=alert(1)>\u202eevil\x1b[31m\x00 " + "long " * 10_000
    with agent.bus() as bus:
        bus.emit(GO)
        page.goto(server.url)
        row = row_of(page, agent)
        has_text(row, "Working")
        height = row.evaluate(HEIGHT)
        bus.emit_many([TurnStart("x", hostile), calls(("a", "Bash", {"command": hostile}))])
        has_text(row.locator(".doing"), "<img src=x onerror=alert(1)><202e>evil")
        bus.emit(TurnEnd(ok=False, note=hostile))
        has_text(row.locator(".doing"), "<img src=x")
        assert "\u202e" not in row.inner_text()
        assert row.locator("img").count() == 0
        assert row.evaluate(HEIGHT) == height
        assert len(row.inner_text()) < 1000
