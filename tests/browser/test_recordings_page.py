"""What agents really printed, on their pages: all of it is drawn, and drawn for what it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pages import show, taken
from recordings import MISSING, recorded_files
from turns import DEADLINE_SECONDS, Agent, wait_until
from webserver import Server

from ringbus.events import Event, Stream, TurnEnd, TurnStart, is_partial, line_event

if TYPE_CHECKING:
    from playwright.sync_api import ConsoleMessage, Page

pytestmark = pytest.mark.browser

# Files of programs that the page has no words for: each line is one row that unfolds.
UNKNOWN = ("harness-events", "llm-requests")

# Lines about the inside of a program: one row each that unfolds is all they need.
PLAIN = {
    "agent-name", "ai-title", "atis-latch", "attachment", "bridge-session", "custom-title",
    "file-history-snapshot", "frame-link", "last-prompt", "mode", "model_change",
    "permission-mode", "pr-link", "progress", "queue-operation", "relocated", "started", "summary",
    "system/api_error", "system/api_refusal", "system/error", "system/model_refusal_fallback",
    "system/recorder_abort", "system/session_start", "system/stop_hook_summary",
    "system/turn_duration", "thinking_level_change", "worktree-state",
}  # fmt: skip

# Goes up through the whole page, screen by screen as they are there, unfolds what is folded, and
# notes the prompts and what is drawn as bare JSON.
WALK = """async () => {
    const log = document.getElementById("transcript");
    const earlier = document.getElementById("earlier");
    const [labels, prompts] = [new Set(), new Set()];
    const frame = () => new Promise(requestAnimationFrame);
    const isAtStart = () => scrollY < 100 && earlier.disabled && !earlier.style.visibility;
    const isThere = () => isAtStart() || log.getBoundingClientRect().top < 0;
    for (let last = false; !last;) {
        last = isAtStart();
        for (const fold of log.querySelectorAll("details:not([open])")) fold.open = true;
        for (const row of log.querySelectorAll(".row-fallback")) {
            if (!row.closest(".quiet")) labels.add(row.querySelector(".label").textContent);
        }
        for (const { textContent } of log.querySelectorAll(".prompt")) prompts.add(textContent);
        scrollBy({ top: -innerHeight, behavior: "instant" });
        do await frame(); while (!isThere());
    }
    return { labels: [...labels], prompts: [...prompts] };
}"""


def events_of(path: Path) -> Iterator[Event]:
    """The file as one turn of an agent that printed it."""
    yield TurnStart("recording", path.name)
    for line in path.read_bytes().splitlines():
        yield line_event(line)
    yield TurnEnd(ok=True)


@pytest.mark.skipif(not recorded_files(), reason=MISSING)
@pytest.mark.parametrize("is_known", [True, False], ids=["agents", "other programs"])
def test_all_recordings_are_drawn_without_an_error_and_for_what_they_are(
    page: Page, server: Server, agent: Agent, is_known: bool
) -> None:
    """Each line has its row, unfolded too; only what nobody knows falls back to JSON."""
    complaints: list[str] = []
    page.on("console", lambda message: complaints.extend(words_of(message)))
    files = [path for path in recorded_files() if path.name.startswith(UNKNOWN) != is_known]
    events: list[Event] = []
    with agent.bus() as bus, agent.persisted():
        for path in files:
            bus.emit_many(list(events_of(path)))
            events += events_of(path)
            # Else the ring may overwrite what is not stored yet, and there is a gap.
            assert bus.wait_stored(DEADLINE_SECONDS)
        show(page, server, agent)
        last = page.locator(".row-turn .prompt").last
        wait_until(lambda: last.count() and last.text_content() == files[-1].name, "the last file")
        walked = page.evaluate(WALK)
        loaded = taken(page)
    assert complaints == []
    assert sorted(walked["prompts"]) == sorted(path.name for path in files)
    seqs = [seq for seq, event in enumerate(events) if not is_passing(event)]
    assert [event["seq"] for event in loaded] == seqs
    if is_known:
        assert sorted(set(walked["labels"]) - PLAIN) == []


def is_passing(event: Event) -> bool:
    """A piece of text that its final line has whole, or how much was thought so far."""
    return isinstance(event, Stream) and is_partial(event.data)


def words_of(message: ConsoleMessage) -> list[str]:
    """What the console says of an error or a warning."""
    return [message.text] if message.type in ("error", "warning") else []
