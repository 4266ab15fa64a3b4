"""What an agent may print to break the page that shows it, in a real browser over a real ring."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pages import calls, gives, has_text, line, says, show
from turns import Agent
from webserver import Server

from ringbus.events import Event, Note, Stream, TurnEnd, TurnStart

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

MARKUP = (
    "<script>window.pwned=1</script><img src=x onerror='window.pwned=1'>"
    "</pre></title><svg onload=window.pwned=1><iframe srcdoc='<script>parent.pwned=1</script>'>"
)
LINKS = (
    "[a](javascript:window.pwned=1) [b](JaVaScRiPt:window.pwned=1) "
    "[c](data:text/html,<script>1</script>) [d](vbscript:x) <javascript:window.pwned=1> "
    "[e](https://example.org/?a=javascript:1) ![f](https://example.org/x.png)"
)
BIDI = "safe\u202egnp.exe\u202c \u2066x\u2069 \u200f\u061c\u200e\u2028\u2029"
CONTROLS = "".join(map(chr, range(32))) + "\x7f\x80\x9b31m"
ANSI = (
    "\x1b[31mred\x1b[0m\x1b]8;;javascript:window.pwned=1\x07link\x1b]8;;\x07"
    "\x1b]0;title\x07\x1b[2J\x1b[999999999999m\x1b[38;2;300;-1;mx\x1b[" + "1;" * 20_000 + "m"
)
SURROGATE = '{"type":"assistant","message":{"content":[{"type":"text","text":"half \\ud83d"}]}}'
# What regular expressions are slow with.
SLOW = ["*" * 50_000, "`" * 50_000, "[" * 50_000, "**a " * 20_000, "- " * 20_000, "> " * 20_000]
SLOW += ["http://" * 10_000, "|" * 50_000, "#" * 50_000, "\x1b[" * 20_000, "\x1b]" * 20_000]
LONG = 10 << 20

UNFOLD = """async () => {
    const frame = () => new Promise(requestAnimationFrame);
    for (const fold of document.querySelectorAll("details")) {
        fold.open = true;
        await frame();
    }
}"""


def deep(levels: int) -> Stream:
    """Lists in lists."""
    return Stream(b'{"type":"deep","data":' + b"[" * levels + b"]" * levels + b"}")


def keys(value: object) -> Stream:
    """The value under every name that a drawing reads."""
    return line(
        {
            "type": "assistant", "message": value, "parent_tool_use_id": value, "error": value,
        }
    )  # fmt: skip


def thinks(text: str) -> Stream:
    """An assistant line with a thought."""
    block = {"type": "thinking", "thinking": text}
    return line({"type": "assistant", "message": {"content": [block]}})


def edits(id_: str, text: str) -> Stream:
    """A call that changes all of the text."""
    given = {"file_path": text, "old_string": text, "new_string": f"z{text}"}
    return calls((id_, "Edit", given))


def hostile_events() -> list[Event]:
    """One of each sort, in every place where text is drawn."""
    texts = [MARKUP, LINKS, BIDI, ANSI, CONTROLS, "x" * 300_000, "y\n" * 30_000, *SLOW]
    found: list[Event] = []
    for number, text in enumerate(texts):
        found += [
            TurnStart(text[:200], text, 1),
            says(text),
            thinks(text),
            calls((f"c{number}", "Bash", {"command": text})),
            gives(f"c{number}", text, is_error=number % 2 == 0),
            edits(f"e{number}", text),
            gives(f"e{number}", [{"type": "text", "text": text}]),
            calls((text[:500], text[:500], {text[:500]: text})),
            Note(text, "stderr", reason=text[:500]),
            line({"type": "system", "subtype": "init", "model": text, "cwd": text}),
            line({"type": "system", "subtype": "hook_response", "outcome": text, "output": text}),
            line({"type": text[:500], "subtype": text[:500], "text": text}),
            line({"type": "result", "subtype": text[:500], "is_error": True, "result": text}),
            TurnEnd(ok=False, note=text),
        ]  # fmt: skip
    strange: list[Any] = [
        None,
        0,
        -1,
        True,
        "",
        [],
        {},
        [[]],
        {"content": 7},
        {"content": [None, 7, "x", {}]},
    ]
    strange += [{"content": [{"type": "tool_use", "name": 7, "input": [1]}]}]
    strange += [{"content": [{"type": "tool_result", "tool_use_id": {}, "content": {"a": 1}}]}]
    strange += [
        {
            "content": [
                {
                    "type": "image",
                    "source": {"type": "base64", "media_type": "image/png", "data": "%%"},
                }
            ]
        }
    ]
    strange += [
        {
            "content": [
                {"type": "image", "source": {"type": "url", "url": "javascript:window.pwned=1"}}
            ]
        }
    ]
    names = ["__proto__", "constructor", "toString", "hasOwnProperty"]
    found += [keys(value) for value in strange]
    found += [line(value) for value in strange]
    found += [line({"type": name, "subtype": name}) for name in names]
    found += [calls((name, name, {name: name})) for name in names]
    found += [gives(name, name) for name in names]
    found += [Stream(SURROGATE.encode()), deep(500), Stream(b"1" * 5_000), Stream(b"1e999")]
    return found


def test_nothing_an_agent_prints_runs_freezes_or_breaks_its_page(
    page: Page, server: Server, agent: Agent
) -> None:
    """All is there, unfolded too, searched and filtered; the page goes on with what comes next."""
    errors: list[str] = []
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    page.on("dialog", lambda dialog: errors.append(dialog.message))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    found = hostile_events()
    with agent.bus(size=256 << 20) as bus:
        for event in found:
            bus.emit(event)
        bus.emit(says("z" * LONG))
        bus.emit(line({"type": "user", "message": {"content": "w " * (LONG // 2)}}))
        bus.emit(Note("and on it goes"))
        show(page, server, agent)
        has_text(page.locator(".row-note").last, "and on it goes")
        page.keyboard.press("g")
        has_text(page.locator("#said"), "")
        for _ in range(12):
            page.evaluate(UNFOLD)
            page.evaluate("scrollBy(0, 3000)")
        page.locator("#search").fill("pwned")
        has_text(page.locator("#found"), "")
        page.locator("[data-show=errors]").click()
        page.locator("[data-show=errors]").click()
        page.keyboard.press("Escape")
        page.locator("[data-do=end]").click()
        bus.emit(Note("and further"))
        has_text(page.locator(".row-note").last, "and further")
    assert page.evaluate("window.pwned") is None
    assert page.locator("#transcript :is(script, iframe, svg, object, embed, style)").count() == 0
    targets = page.evaluate("[...document.querySelectorAll('#transcript a')].map(one => one.href)")
    assert all(target.startswith(("http://", "https://")) for target in targets)
    assert errors == []
    assert {url for url in asked if not url.startswith((server.url, "data:", "blob:"))} == set()
