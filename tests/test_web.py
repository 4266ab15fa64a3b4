"""Pages, history and health, through Flask's test client over real rings and histories."""

from __future__ import annotations

import re
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from turns import Agent
from webclient import EPOCH, OTHER_EPOCH, notes, store

from ringbus import recent
from ringbus.bus import Bus
from ringbus.events import Gap, Note, Stream, TurnStart, encode
from ringbus.history import History
from ringbus.ring import Ring
from ringbus.web import RingbusWeb, create_app, feeds, health


def test_pages_forbid_inline_scripts_and_styles(client: FlaskClient) -> None:
    """By policy, and they have none."""
    for path in ("/", "/agents/someone"):
        response = client.get(path)
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", response.text) is None


def test_every_answer_is_kept_from_other_sites_and_from_caches(app: Flask) -> None:
    """Pages, streams, refusals and what is asked for with a token or without."""
    guarded = create_app(app.config | {"RINGBUS_TOKEN": "a long s3cret token"})
    rules = {rule.rule for rule in app.url_map.iter_rules()} - {"/assets/<path:filename>"}
    paths = {rule.replace("<agent>", "someone") for rule in rules} | {"/agents/-bad"}
    assert len(paths) > 9
    for client in (app.test_client(), guarded.test_client()):
        for path in paths:
            for host in ("localhost", "evil.example"):
                answer = client.get(path, headers={"Host": host}, buffered=False)
                assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"], path
                assert answer.headers["X-Frame-Options"] == "DENY"
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
                assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
                assert answer.headers["Referrer-Policy"] in {"no-referrer", "same-origin"}
                assert answer.headers["Cache-Control"].startswith("no-")
                answer.close()


def test_everything_a_page_names_is_there(client: FlaskClient) -> None:
    """Style sheets, the icon, and every module that a module imports."""
    wanted = set(re.findall(r'(?:href|src)="(/assets/[^"]+)"', client.get("/agents/a").text))
    wanted |= set(re.findall(r'(?:href|src)="(/assets/[^"]+)"', client.get("/").text))
    seen: set[str] = set()
    while wanted - seen:
        path = (wanted - seen).pop()
        seen.add(path)
        with client.get(path) as response:
            assert response.status_code == 200, path
            text = response.text
        if path.endswith(".js"):
            assert response.mimetype == "text/javascript"
            wanted |= {f"/assets/{name}" for name in re.findall(r'from "\./(.+)"', text)}
    assert len(seen) > 10


@pytest.mark.parametrize(("page", "module"), [("/", "dashboard.js"), ("/agents/a", "page.js")])
def test_a_page_names_every_module_it_imports(client: FlaskClient, page: str, module: str) -> None:
    """Else a browser finds them one after the other; and it loads none in vain."""
    html = client.get(page).text
    named = re.findall(r'rel="modulepreload" href="/assets/([^"]+)"', html)
    imported, ahead = set[str](), [module]
    while ahead:
        with client.get(f"/assets/{ahead.pop()}") as response:
            text = response.text
        found = set(re.findall(r'from "\./(.+)"', text)) - imported
        imported |= found
        ahead += found
    assert sorted(named) == sorted(imported)


def test_the_page_of_an_agent_to_come_can_be_opened(client: FlaskClient) -> None:
    """It waits for the first event."""
    response = client.get("/agents/not-yet")
    assert response.status_code == 200
    assert "not-yet" in response.text


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
def test_a_name_no_agent_can_have_is_not_found(client: FlaskClient, accept: str) -> None:
    """The answer names it, as a page or as JSON."""
    response = client.get("/agents/-bad", headers={"Accept": accept})
    assert response.status_code == 404
    assert response.mimetype == accept
    assert "-bad" in response.text


def test_the_dashboard_lists_agents_before_any_script_runs(
    client: FlaskClient, agent: Agent
) -> None:
    """As links."""
    with agent.bus() as bus:
        bus.emit(Note("hello"))
        assert f'href="/agents/{agent.name}"' in client.get("/").text


def test_history_pages_go_back_to_the_beginning(client: FlaskClient, agent: Agent) -> None:
    """Oldest first in each; `next_before` leads on and is null at the end."""
    store(agent, notes(5))
    path = f"/agents/{agent.name}/history?limit=2"
    seqs: list[list[int]] = []
    before: str | None = ""
    while before is not None:
        page = client.get(f"{path}&before={before}").json
        seqs.append([event["seq"] for event in page["events"]])
        before = page["next_before"]
    assert seqs == [[3, 4], [1, 2], [0]]


def test_history_has_what_only_the_ring_holds(client: FlaskClient, agent: Agent) -> None:
    """One reads what one has just written."""
    with agent.bus() as bus:
        bus.emit(Note("stored or not"))
        page = client.get(f"/agents/{agent.name}/history").json
    assert [event["text"] for event in page["events"]] == ["stored or not"]


def test_history_keeps_every_byte_and_a_line_for_each_event(
    client: FlaskClient, agent: Agent
) -> None:
    """Numbers no float can hold, and white space in a line."""
    line = b'{"big":1234567890123456789012345678901234567890,\r\n"a":"\xe2\x80\xa8"}'
    store(agent, [b'{"kind":"stream","data":' + line + b"}"])
    body = client.get(f"/agents/{agent.name}/history").data
    assert line.replace(b"\r\n", b"  ") in body
    assert body.count(b"\n") == 2


def stored_and_not(agent: Agent, bus: Bus) -> None:
    """Ten events, of which the first five are stored and the last three in the ring alone."""
    events = [TurnStart("operator", "Go"), Note("a"), Stream(b'{"x":"Go"}'), Note("b"), Note("go")]
    bus.emit_many([*events, *events])
    with History.open(agent.database, agent.name, write=True) as history:
        rows = [(seq, 1, *encode(event)) for seq, event in enumerate([*events, *events[:2]])]
        history.begin_epoch(bus.epoch)
        history.append(bus.epoch, rows, len(rows))


@pytest.mark.parametrize(
    ("query", "seqs"),
    [
        ("kind=note", [1, 3, 4, 6, 8, 9]),
        ("kind=note&limit=4", [4, 6, 8, 9]),
        ("kind=note,turn_start&limit=4", [5, 6, 8, 9]),
        ("kind=turn_start,stream,note,turn_end", list(range(10))),
        ("text=GO", [0, 2, 4, 5, 7, 9]),
        ("text=go&kind=stream", [2, 7]),
        ("text=nowhere", []),
        ("text=%25", []),
        ("text=_", [0, 5]),
        ("after={}-7", [8, 9]),
        ("after={}-5&limit=2", [6, 7]),
        ("after={}-2&limit=3", [3, 4, 5]),
        ("after={}-2&before={}-8&limit=3", [5, 6, 7]),
        ("after={}-2&before={}-9&kind=note&limit=3", [4, 6, 8]),
        ("after={}-1&kind=stream,turn_start", [2, 5, 7]),
        ("after={}-9", []),
    ],
)
def test_history_is_searched_stored_or_not(
    client: FlaskClient, agent: Agent, query: str, seqs: list[int]
) -> None:
    """By kind, text and place, with what only the ring holds."""
    with agent.bus() as bus:
        stored_and_not(agent, bus)
        asked = query.replace("{}", bus.epoch)
        page = client.get(f"/agents/{agent.name}/history?{asked}").json
    assert [event["seq"] for event in page["events"]] == seqs


@pytest.mark.parametrize(
    ("query", "onward", "start", "pages"),
    [
        ("kind=note&limit=4", "before", "", [[4, 6, 8, 9], [1, 3]]),
        ("text=go&limit=2", "before", "", [[7, 9], [4, 5], [0, 2]]),
        ("kind=note&limit=2", "after", "0", [[1, 3], [4, 6], [8, 9]]),
    ],
)
def test_history_is_searched_page_by_page(
    client: FlaskClient, agent: Agent, query: str, onward: str, start: str, pages: list[list[int]]
) -> None:
    """In both directions; `next_before` and `next_after` are null at the last."""
    found: list[list[int]] = []
    with agent.bus() as bus:
        stored_and_not(agent, bus)
        place: str | None = f"{bus.epoch}-{start}" if start else ""
        while place is not None:
            path = f"/agents/{agent.name}/history?{query}&{onward}={place}"
            page = client.get(path).json
            found.append([event["seq"] for event in page["events"]])
            place = page[f"next_{onward}"]
    assert found == pages


def test_a_search_goes_on_where_a_page_of_it_ended(
    client: FlaskClient, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However far that is: a page looks at so many rows, and may find none."""
    monkeypatch.setattr(feeds, "SEARCHED_ROWS", 3)
    with History.open(agent.database, agent.name, write=True) as history:
        for epoch in (EPOCH, OTHER_EPOCH):
            history.begin_epoch(epoch)
            rows = [(seq, 1, *encode(Note(f"<{seq}>"))) for seq in range(10)]
            history.append(epoch, rows, 10)
    for query, wanted in (
        ("text=<4>", [(OTHER_EPOCH, 4), (EPOCH, 4)]),
        (f"text=<4>&after={EPOCH}-4", [(OTHER_EPOCH, 4)]),
        (
            "text=<&limit=2",
            [(epoch, seq) for epoch in (OTHER_EPOCH, EPOCH) for seq in range(9, -1, -1)],
        ),
    ):
        found: list[tuple[str, int]] = []
        pages, place = 0, f"{OTHER_EPOCH}-10"
        while place is not None:
            page = client.get(f"/agents/{agent.name}/history?{query}&before={place}").json
            found += [(one["epoch"], one["seq"]) for one in reversed(page["events"])]
            pages, place = pages + 1, page["next_before"]
        assert found == wanted
        assert pages >= 4


@pytest.mark.parametrize("onward", [False, True])
def test_pages_tell_each_gap_once_in_its_place(
    client: FlaskClient, agent: Agent, *, onward: bool
) -> None:
    """At the beginning, between two events or two pages, of a lost ring, and what nobody noted."""
    expected: list[tuple[str, int]] = []
    with (
        agent.bus(size=1 << 16) as bus,
        Ring.open(agent.name, observer=True) as ring,
        History.open(agent.database, agent.name, write=True) as one,
    ):
        for epoch in (EPOCH, OTHER_EPOCH, bus.epoch):
            one.begin_epoch(epoch)
            gaps = [Gap(epoch, 0, 2, 3, "retention"), Gap(epoch, 5, 5, 1, "lapped")]
            rows = [(seq, 1, *encode(Note(f"{seq}"))) for seq in (3, 4, 6)]
            one.append(epoch, rows, 7, gaps)
        bus.emit_many([Note("x" * 1_000)] * 500)
        stored, kept = one.next_seq(bus.epoch), ring.floor
        assert stored is not None
        assert stored < kept
        for epoch in (EPOCH, OTHER_EPOCH, bus.epoch):
            expected += [(epoch, -0), (epoch, 3), (epoch, 4), (epoch, -5), (epoch, 6)]
            expected += [(epoch, -7)]  # the end is unknown; of the ring, what it has lost
        expected += [(bus.epoch, seq) for seq in range(kept, 500)]
        place: str | None = f"{EPOCH}-0" if onward else ""
        pages: list[list[tuple[str, int]]] = []
        while place is not None:
            query = f"limit=4&{'after' if onward else 'before'}={place}"
            page = client.get(f"/agents/{agent.name}/history?{query}").json
            pages.append(merged(page))
            place = page["next_after" if onward else "next_before"]
        chosen = client.get(f"/agents/{agent.name}/history?kind=note").json
    items = list(chain.from_iterable(pages if onward else reversed(pages)))
    # After the very first position there is the first gap no more: it began before.
    assert items == (expected[1:] if onward else expected)
    assert chosen["gaps"] == []


def merged(page: Any) -> list[tuple[str, int]]:
    """The events of a page by their places, and its gaps by minus where they begin."""
    items: list[tuple[str, int]] = []
    for event in page["events"]:
        position = f"{event['epoch']}-{event['seq']}"
        items += [(gap["epoch"], -gap["from"]) for gap in page["gaps"] if gap["before"] == position]
        items.append((event["epoch"], event["seq"]))
    return items + [(gap["epoch"], -gap["from"]) for gap in page["gaps"] if gap["before"] is None]


@pytest.mark.parametrize("is_stored", [True, False])
def test_a_page_of_very_long_lines_is_short(
    client: FlaskClient, agent: Agent, monkeypatch: pytest.MonkeyPatch, *, is_stored: bool
) -> None:
    """All of them together need not be held in memory; both ways nothing is left out."""
    monkeypatch.setattr(feeds, "PAGE_BYTES", 2_500)
    monkeypatch.setattr(recent, "FIRST_PART", 1)
    monkeypatch.setattr(recent, "PART_BYTES", 1_000)
    with agent.bus() as bus:
        bus.emit_many([Note("x" * 1_000)] * 10)
        if is_stored:
            with History.open(agent.database, agent.name, write=True) as history:
                history.begin_epoch(bus.epoch)
                rows = [(seq, 1, *encode(Note("x" * 1_000))) for seq in range(8)]
                history.append(bus.epoch, rows, 8)
        back, place = [], ""
        while place is not None:
            page = client.get(f"/agents/{agent.name}/history?before={place}").json
            back.append([event["seq"] for event in page["events"]])
            place = page["next_before"]
        onward, place = [], f"{bus.epoch}-0"
        while place is not None:
            page = client.get(f"/agents/{agent.name}/history?after={place}").json
            onward.append([event["seq"] for event in page["events"]])
            place = page["next_after"]
    assert back[0] == [7, 8, 9]
    assert list(chain.from_iterable(reversed(back))) == list(range(10))
    assert onward[0] == [1, 2, 3]
    assert list(chain.from_iterable(onward)) == list(range(1, 10))


@pytest.mark.parametrize("query", ["kind=nonsense", "after=nonsense", "text=" + "x" * 1_001])
def test_a_search_that_cannot_be_answered_is_named(
    client: FlaskClient, agent: Agent, query: str
) -> None:
    """With what is wrong."""
    store(agent, notes(1))
    response = client.get(f"/agents/{agent.name}/history?{query}")
    assert response.status_code == 400
    assert query.partition("=")[0] in response.json["error"]


def test_history_of_an_unknown_agent_is_not_found(client: FlaskClient) -> None:
    """The answer names it."""
    response = client.get("/agents/nobody-here/history")
    assert response.status_code == 404
    assert "nobody-here" in response.json["error"]


def test_history_beside_an_unknown_position_is_not_found(client: FlaskClient, agent: Agent) -> None:
    """Rather than the newest page again."""
    store(agent, notes(2))
    for parameter in ("before", "after"):
        response = client.get(f"/agents/{agent.name}/history?{parameter}={OTHER_EPOCH}-1")
        assert response.status_code == 404
        assert f"{OTHER_EPOCH}-1" in response.json["error"]


def test_health_is_answered_without_a_token(tmp_path: Path) -> None:
    """Whoever watches over processes has none."""
    config = {"RINGBUS_STATE": tmp_path, "RINGBUS_TOKEN": "a long s3cret token"}
    guarded = create_app(config).test_client()
    assert guarded.get("/healthz").json == {"status": "ok"}
    assert guarded.get("/readyz").json == {"ready": True, "problems": [], "warnings": []}


def test_not_ready_says_why(tmp_path: Path) -> None:
    """With the folder and the remedy."""
    missing = tmp_path / "missing"
    response = create_app({"RINGBUS_STATE": missing}).test_client().get("/readyz")
    assert response.status_code == 503
    assert str(missing) in response.json["problems"][0]


def test_what_keeps_the_pages_from_their_work_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk with no room, and a machine whose shared memory is elsewhere."""
    client = create_app({"RINGBUS_STATE": tmp_path, "RINGBUS_TOKEN": None}).test_client()
    monkeypatch.setattr(health, "LEAST_FREE_BYTES", 1 << 62)
    monkeypatch.setattr(health, "SHARED_MEMORY", tmp_path / "not mounted")
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json["ready"] is False
    disk, memory = response.json["problems"]
    assert re.search(rf"[0-9]+ MiB are free on the disk of {tmp_path}", disk)
    assert str(tmp_path / "not mounted") in memory


def test_metrics_tell_each_ring_and_the_streams(client: FlaskClient, agent: Agent) -> None:
    """In Prometheus' text."""
    with agent.bus() as bus:
        bus.emit(Note("hello"))
        text = client.get("/metrics").text
    assert f'ringbus_ring_tail_seq{{agent="{agent.name}"}} 1.0' in text
    assert f'ringbus_ring_floor_seq{{agent="{agent.name}"}} 0.0' in text
    assert "ringbus_sse_clients 0.0" in text


def test_an_application_of_ones_own_can_hold_the_pages(tmp_path: Path) -> None:
    """Under a prefix; its own routes are not touched."""
    app = Flask("host", static_folder=None)
    app.config["RINGBUS_STATE"] = tmp_path
    RingbusWeb().init_app(app, url_prefix="/live")
    app.add_url_rule("/", "own", lambda: "own page")
    client = app.test_client()
    page = client.get("/live/agents/a").text
    assert 'data-events="/live/agents/a/events' in page
    assert client.get("/", headers={"Host": "anything.example"}).text == "own page"
