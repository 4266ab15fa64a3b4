"""How a browser bears the page of a long history, and a fast agent.

history of 100,000 events --> [ringbus serve] --> [Chromium], which opens, scrolls, and follows

The server, the browser and the emitter share the machine.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from benchmarks.harness import Figure, Options, Result, Scenario, Target, require
from benchmarks.processes import Child
from benchmarks.rings import fresh_ring
from benchmarks.sse_fanout import serving
from benchmarks.storing import disk, fill, persist
from ringbus import settings
from ringbus.events import Event, Note, Stream, TurnEnd, TurnStart, encode
from ringbus.ring import Ring

if TYPE_CHECKING:
    from playwright.sync_api import Browser, CDPSession, Page

PAGE = "agent's page"
CHROMIUM = os.environ.get("CHROMIUM") or "/usr/bin/chromium"
RATE = 5_000  # events a second
TURN = 20  # events
TICK_SECONDS = 0.01
PATIENCE_MS = 120_000
FIRST_MS, LONGEST_MS, HEAP_MIB = 1_000.0, 100.0, 150.0

# Long tasks are those of 50 ms and more.
WATCH = """
window.tasks = [];
new PerformanceObserver(list => window.tasks.push(...list.getEntries().map(one => one.duration)))
    .observe({ type: "longtask", buffered: true });
window.opened = new Promise(resolve => {
    const look = () => document.querySelector("#transcript .row")
        ? requestAnimationFrame(() => setTimeout(() => resolve(performance.now())))
        : requestAnimationFrame(look);
    look();
});
"""

# By the wheel in both directions, by whole screens, and by the scrollbar to far places.
SCROLL = """async seconds => {
    const frame = () => new Promise(requestAnimationFrame);
    const until = performance.now() + seconds * 1000;
    const by = [-120, -120, -120, -800, -800, -120, 120, 120, 800, -800];
    let rows = 0, frames = 0;
    for (; performance.now() < until; frames += 1) {
        const step = by[Math.floor(frames / 12) % by.length];
        if (frames % 240 === 239) {
            scrollTo({ top: document.documentElement.scrollHeight * ((frames * 7) % 10) / 10 });
        } else scrollBy({ top: step, behavior: "instant" });
        await frame();
        rows = Math.max(rows, document.querySelectorAll(".row").length);
    }
    return { rows, frames: frames / seconds };
}"""


def run(options: Options) -> Result:
    rows, rounds = options.pick(100_000, 3_000), options.pick(3, 1)
    seconds = options.pick(10, 1)
    with ExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory(dir=disk(), prefix="ringbus-bench-"))
        state = Path(folder)
        ring = stack.enter_context(fresh_ring(size=16 << 20))
        path = settings.history_path(ring.name, state)
        path.parent.mkdir(parents=True, exist_ok=True)
        fill(ring, path, rows, lambda ring, number: _emit(ring, event(number)))
        persister = stack.enter_context(Child(persist, ring.name, path))
        persister.hear()
        persister.tell()
        _, port = stack.enter_context(serving(state))
        browser = stack.enter_context(chromium())
        address = f"http://127.0.0.1:{port}/agents/{ring.name}"
        found = [_round(browser, address, ring, seconds, number) for number in range(rounds)]
        persister.tell()
    return _result(found, {"rows": rows, "seconds_scrolled": seconds, "events_a_second": RATE})


@contextmanager
def chromium() -> Iterator[Browser]:
    """The system's browser."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        require(holds=False, what="playwright is not installed: pip install 'ringbus[test]'")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


def event(number: int) -> Event:
    """The n-th: turns of text, calls and their results."""
    turn, place = divmod(number, TURN)
    if place == 0:
        return TurnStart("operator", f"prompt {turn}")
    if place == TURN - 1:
        return TurnEnd(ok=turn % 10 != 0)
    if place % 3 == 1:
        words = f"Part **{number}** of the answer, with `code` in it. " * 3
        return _line("assistant", {"type": "text", "text": words})
    if place % 3 == 2:
        command = {"command": f"make part-{number} && echo done"}
        block = {"type": "tool_use", "id": f"c{number}", "name": "Bash", "input": command}
        return _line("assistant", block)
    output = "\n".join(f"line {line} of the output of call {number}" for line in range(8))
    block = {"type": "tool_result", "tool_use_id": f"c{number - 1}", "content": output}
    return _line("user", block)


def _line(type_: str, block: dict[str, Any]) -> Event:
    message = {"id": "m", "content": [block]}
    return Stream(json.dumps({"type": type_, "message": message}).encode())


def _emit(ring: Ring, event: Event) -> None:
    kind, payload = encode(event)
    ring.emit(payload, kind)


def _round(
    browser: Browser, address: str, ring: Ring, seconds: int, round_: int
) -> dict[str, float]:
    # Past the content policy: waiting for what a page shows runs code that is ours.
    with browser.new_context(viewport={"width": 1280, "height": 800}, bypass_csp=True) as context:
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        session = context.new_cdp_session(page)
        page.add_init_script(WATCH)
        page.goto(address)
        first = page.evaluate("window.opened")
        page.wait_for_function("document.querySelector('#connection-word').textContent == 'live'")
        opening = _longest(page)
        page.mouse.move(600, 400)
        scrolled = page.evaluate(SCROLL, seconds)
        scrolling = _longest(page)
        heap = _heap(session)
        page.locator("[data-do=end]").click()
        page.wait_for_function("document.querySelector('#connection-word').textContent == 'live'")
        _longest(page)
        taken = _follow(page, ring, seconds, round_)
        return {
            "first row painted": first,
            "longest task, opening": opening,
            "longest task, scrolling": scrolling,
            "longest task, following": _longest(page),
            "frames while scrolling": scrolled["frames"],
            "rows in the document, at most": scrolled["rows"],
            "heap": max(heap, _heap(session)),
            "events taken live": taken,
        }


def _longest(page: Page) -> float:
    """The longest task since the last call, 0 if none was long."""
    # What was noticed is told a moment later.
    page.wait_for_timeout(300)
    longest: float = page.evaluate("Math.max(0, ...window.tasks.splice(0))")
    return longest


def _heap(session: CDPSession) -> float:
    used: float = session.send("Runtime.getHeapUsage")["usedSize"]
    return used / (1 << 20)


def _follow(page: Page, ring: Ring, seconds: int, round_: int) -> float:
    """How many events a second the page took, up to the last one in its place on the screen."""
    count, start = RATE * seconds, time.monotonic()
    thread = threading.Thread(target=_emit_live, args=(ring, count, round_))
    thread.start()
    page.wait_for_function(
        f"document.querySelector('#transcript').textContent.includes('the end of round {round_}')"
    )
    passed = time.monotonic() - start
    thread.join()
    require(
        page.locator(".row-gap").count() == 0 and page.locator("#gaps").text_content() == "",
        "the page missed events",
    )
    return count / passed


def _emit_live(ring: Ring, count: int, round_: int) -> None:
    start = time.monotonic()
    for number in range(count):
        _emit(ring, event(number))
        if number % int(RATE * TICK_SECONDS) == 0:
            time.sleep(max(0.0, start + number / RATE - time.monotonic()))
    _emit(ring, Note(f"the end of round {round_}"))


def _result(found: Sequence[dict[str, float]], parameters: dict[str, object]) -> Result:
    units = {"heap": "MiB", "events taken live": "events/s", "frames while scrolling": "frames/s"}
    figures = {
        name: Figure(
            PAGE,
            name,
            units.get(name, "rows" if name.startswith("rows") else "ms"),
            [one[name] for one in found],
        )
        for name in found[0]
    }
    return Result(
        list(figures.values()),
        [
            Target("first row painted", figures["first row painted"].median, FIRST_MS, "ms"),
            *(
                Target(name, figures[name].median, LONGEST_MS, "ms")
                for name in figures
                if name.startswith("longest")
            ),
            Target("heap", max(figures["heap"].values), HEAP_MIB, "MiB"),
            Target(
                "events taken live",
                figures["events taken live"].median,
                RATE * 0.9,
                "events/s",
                at_least=True,
            ),
        ],
        parameters,
        ["Tasks below 50 ms are not told by the browser and count as 0."],
    )


SCENARIO = Scenario("The page of 100,000 events", run, cores=2)
