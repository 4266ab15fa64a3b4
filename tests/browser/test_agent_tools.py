"""The page of one agent: texts, thoughts and tools, whichever program tells of them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from pages import calls, gives, has_count, has_text, line, says, show
from turns import Agent
from webserver import Server

from ringbus.events import Note, Stream, TurnStart

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = pytest.mark.browser

MARKDOWN = """# A heading

Some **bold**, *slanted* and `coded` words, and a [link](https://example.org/a).

- one
  - deeper
3. three

> said by another

```python
**not** bold
```

| a | b |
"""


def test_text_is_drawn_as_markdown_and_thoughts_are_folded(
    page: Page, server: Server, agent: Agent
) -> None:
    """Each part as what it is; of a thought the first line, until it is unfolded."""
    thought = {"type": "thinking", "thinking": "First this.\nThen that.", "signature": "0a-sign"}
    hidden = {"type": "redacted_thinking", "data": "0a-data"}
    with agent.bus() as bus:
        for block in (thought, hidden):
            bus.emit(line({"type": "assistant", "message": {"id": "t", "content": [block]}}))
        bus.emit(says(MARKDOWN))
        show(page, server, agent)
        prose = page.locator(".prose")
        for place, words in (
            (".heading-1", "A heading"), ("strong", "bold"), ("em", "slanted"), ("p code", "coded"),
            ("blockquote", "said by another"), ("pre.code", "**not** bold"), ("pre.table", "| a |"),
            (".depth-1", "deeper"), (".item .marker >> nth=2", "3."),
        ):  # fmt: skip
            has_text(prose.locator(place), words)
        link = prose.locator("a")
        assert link.get_attribute("href") == "https://example.org/a"
        has_count(prose.locator(".item"), 3)
    folded, closed = page.locator(".row-thinking").all()
    has_text(folded.locator("summary"), "First this.")
    has_count(folded.get_by_text("Then that."), 0)
    folded.locator("summary").click()
    has_text(folded.locator(".thoughts"), "Then that.")
    has_text(closed, "thinking (hidden)")
    assert "0a-" not in (page.locator("#transcript").text_content() or "")


def tool(page: Page, name: str) -> Locator:
    """The drawing of the call of that tool."""
    return page.locator(".tool").filter(has=page.get_by_text(name, exact=True))


def test_each_tool_is_drawn_for_what_it_does(page: Page, server: Server, agent: Agent) -> None:
    """In a line that says it all, with what is worth seeing under it, and the rest in a fold."""
    edit = {"file_path": "/x.py", "old_string": "a\nb\nc", "new_string": "a\nB\nc\nd"}
    grep = {"pattern": "tide", "path": "src", "glob": "*.py"}
    task = {"subagent_type": "Explore", "description": "find it", "prompt": "Find\nit."}
    query = {"sql": "select 1", "rows": ["x" * 200]}
    todos = [
        {"content": "look", "status": "completed"},
        {"content": "mend", "status": "in_progress", "activeForm": "Mending"},
        {"content": "test", "status": "pending"},
    ]
    given: list[tuple[str, dict[str, Any]]] = [
        ("Bash", {"command": "make\nmake test"}),
        ("Read", {"file_path": "/x.py", "offset": 10, "limit": 5}),
        ("Edit", edit),
        ("Write", {"file_path": "/y.py", "content": "one\ntwo\nthree\n"}),
        ("Grep", grep),
        ("Task", task),
        ("mcp__db__run_query", query),
        ("TodoWrite", {"todos": todos}),
    ]
    with agent.bus() as bus:
        bus.emit(TurnStart("operator", "go"))
        bus.emit_many([calls((name, name, values)) for name, values in given])
        bus.emit(gives("Read", "\n".join(f"line {number}" for number in range(40))))
        bus.emit(gives("Bash", "short"))
        bus.emit(gives("Grep", ""))
        show(page, server, agent)
        for name, words in (
            ("Bash", "$ make"), ("Read", "/x.py:10–14"), ("Edit", "/x.py +2 −1"),
            ("Write", "/y.py +3"), ("Grep", "tide in src *.py"), ("Task", "Explore: find it"),
            ("db run_query", '{"sql":"select 1"'), ("TodoWrite", "1 of 3 done, now: Mending"),
        ):  # fmt: skip
            has_text(tool(page, name).locator(".summary").first, words)
    for name, fold, inside in (
        ("Bash", "command, 2 lines", "make test"), ("Write", "file, 3 lines", "three"),
        ("Task", "prompt, 2 lines", "it."), ("db run_query", "input", "xxx"),
        ("Read", "line 040 lines", "line 39"),
    ):  # fmt: skip
        place = tool(page, name).locator("details")
        has_text(place.locator("summary"), fold)
        has_count(place.get_by_text(inside), 0)
        place.locator("summary").click()
        has_text(place.locator("pre"), inside)
    changed = tool(page, "Edit").locator(".diff > span")
    assert [one.text_content() for one in changed.all()] == ["  a", "- b", "+ B", "  c", "+ d"]
    has_text(tool(page, "Bash").locator(".result"), "short")
    has_text(tool(page, "Grep").locator(".result"), "no output")
    has_text(tool(page, "TodoWrite").locator(".todo-in_progress"), "nowmend")


def test_files_are_told_by_their_paths_from_the_working_directory(
    page: Page, server: Server, agent: Agent
) -> None:
    """Of their session, if its beginning is loaded; the whole path is in titles and in copies."""
    init = lambda cwd, session: line(  # noqa: E731
        {"type": "system", "subtype": "init", "cwd": cwd, "session_id": session}
    )
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    path, grep = "/src/tide/a/b.py", {"pattern": "tide", "path": "/src/tide"}
    with agent.bus() as bus, agent.persisted():
        bus.emit_many([init("/src/tide", "first"), calls(("a", "Read", {"file_path": path}))])
        bus.emit_many([Note(f"note {number}") for number in range(2500)])
        bus.emit_many([calls(("b", "Read", {"file_path": path})), init("/src", "second")])
        bus.emit_many([calls(("c", "Read", {"file_path": path}), ("d", "Grep", grep))])
        bus.emit(calls(("e", "Edit", {"file_path": "/srcs/b.py"})))
        bus.emit(of_session(calls(("f", "Read", {"file_path": path})), "first"))
        bus.emit(of_session(calls(("g", "Read", {"file_path": path})), "second"))
        assert bus.wait_stored(60)
        show(page, server, agent)
        told = page.locator(".call .summary")
        has_count(told, 6)
        assert told.all_text_contents() == [
            path, "tide/a/b.py", "tide in tide", "/srcs/b.py +0 −0", path, "tide/a/b.py",
        ]  # fmt: skip
        has_text(page.locator("#status-detail"), "Read tide/a/b.py")
        titles = [one.get_attribute("title") for one in told.all()]
        assert titles == [None, path, "tide in /src/tide", None, None, path]
        told.last.click()
        page.get_by_role("button", name="copy text").click()
        copied = page.evaluate("navigator.clipboard.readText()")
        assert path in copied
        only_tools = page.locator("[data-show=tools]")
        only_tools.click()
        has_count(told, 7)
        has_text(told.first, re.compile("^a/b.py$"))
        only_tools.click()
        has_count(told, 6)
        only_tools.click()
        has_count(told, 7)
        has_text(told.nth(1), re.compile("^a/b.py$"))
        page.goto(server.url)
        row = page.locator(f'[data-agent="{agent.name}"]')
        has_text(row.locator(".doing"), "Read tide/a/b.py")


def of_session(event: Stream, session: str) -> Stream:
    """The line, as of a session that names itself."""
    return line(event.value | {"session_id": session})


def test_a_command_stands_behind_what_it_is_for(page: Page, server: Server, agent: Agent) -> None:
    """Where the agent says so, of a command alone, and in a line that is no higher for it."""
    purpose = "Run all tests\nof the gauge"
    with agent.bus() as bus:
        bus.emit(calls(("a", "Bash", {"command": "make test", "description": purpose})))
        bus.emit(calls(("b", "Bash", {"command": "make"})))
        bus.emit(calls(("c", "Bash", {"command": "make", "description": 7})))
        bus.emit(calls(("d", "Read", {"file_path": "/x.py", "description": "to know it"})))
        show(page, server, agent)
        lines = page.locator(".call")
        has_count(lines, 4)
        has_text(lines.nth(0).locator(".summary"), re.compile(r"^Run all tests \$ make test$"))
        has_count(page.locator(".call .purpose"), 1)
        for width in (1280, 390):
            page.set_viewport_size({"width": width, "height": 800})
            assert {line.evaluate("line => line.offsetHeight") for line in lines.all()} == {20}


COMMAND = {"id": "item_1", "type": "command_execution", "command": "make all"}
OTHERS: dict[str, list[dict[str, Any]]] = {
    "codex": [
        {"type": "thread.started", "thread_id": "0a"},
        {"type": "item.started", "item": COMMAND},
        {
            "type": "item.completed",
            "item": COMMAND | {"aggregated_output": "made it", "status": "completed"},
        },
        {
            "type": "item.completed",
            "item": {"id": "item_2", "type": "agent_message", "text": "All **done**."},
        },
    ],
    "gemini": [
        {"type": "init", "session_id": "0a", "model": "m"},
        {
            "type": "tool_use", "tool_id": "g", "tool_name": "run_shell_command",
            "parameters": {"command": "make all"},
        },
        {"type": "tool_result", "tool_id": "g", "status": "success", "output": "made it"},
        {"type": "message", "role": "assistant", "content": "All **done**."},
    ],
    "opencode": [
        {"type": "step_start", "part": {}},
        {
            "type": "tool_use",
            "part": {
                "callID": "o", "tool": "bash",
                "state": {
                    "status": "completed", "input": {"command": "make all"}, "output": "made it",
                },
            },
        },
        {"type": "text", "part": {"text": "All **done**."}},
    ],
}  # fmt: skip


@pytest.mark.parametrize("program", OTHERS)
def test_other_programs_are_drawn_alike(
    page: Page, server: Server, agent: Agent, program: str
) -> None:
    """A command with what it printed, and an answer as Markdown; nothing falls back to JSON."""
    with agent.bus() as bus:
        bus.emit(TurnStart("operator", "go"))
        bus.emit_many([line(value) for value in OTHERS[program]])
        show(page, server, agent)
        has_text(page.locator(".prose strong"), "done")
    bash = tool(page, "Bash")
    has_text(bash.locator(".summary"), "$ make all")
    has_text(bash.locator(".result"), "made it")
    has_text(bash.locator(".elapsed"), re.compile("s$"))
    has_count(page.locator(".row-fallback:not(.quiet *)"), 0)
