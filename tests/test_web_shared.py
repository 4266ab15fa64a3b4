"""Several streams on one connection, through Flask's test client over real rings."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from turns import Agent, fresh_agent
from webclient import EPOCH, OTHER_EPOCH, Frame, frames, listen, notes, store, take

from ringbus.events import Note, TurnEnd, TurnStart
from ringbus.web import routes


def by_tag(found: list[Frame]) -> dict[str, list[Frame]]:
    """The frames of each stream, and in their ids the position alone."""
    streams: dict[str, list[Frame]] = {}
    for frame in found:
        tag, _, position = frame["id"].partition(":")
        streams.setdefault(tag, []).append(frame | {"id": position})
    return streams


def test_each_stream_comes_under_its_tag_from_its_own_place(
    client: FlaskClient, tmp_path: Path
) -> None:
    """After a position, with the newest, and what is emitted later; one agent even twice."""
    with fresh_agent(tmp_path / "state") as one, fresh_agent(tmp_path / "state") as two:
        store(one, notes(5))
        with two.bus() as bus:
            bus.emit(Note("past"))
            asked = [f"1,{one.name},{EPOCH}-2", f"2,{one.name},last-1", f"3,{two.name},live"]
            response = listen(client, "/follow?follow=" + "&follow=".join(asked))
            found = frames(response)
            first = by_tag([next(found) for _ in range(4)])
            bus.emit(Note("next"))
            later = by_tag([next(found)])
            response.close()
    assert [frame["id"] for frame in first["1"]] == [f"{EPOCH}-3", f"{EPOCH}-4"]
    assert [frame["id"] for frame in first["2"]] == [f"{EPOCH}-4"]
    assert [frame["event"] for frame in first["3"]] == ["cursor"]
    assert [frame["id"] for frame in later["3"]] == [f"{bus.epoch}-1"]


def test_a_shared_stream_may_be_of_some_kinds(client: FlaskClient, agent: Agent) -> None:
    """As one of its own."""
    with agent.bus() as bus:
        bus.emit_many([Note("a"), TurnStart("operator", "go"), Note("b"), TurnEnd(ok=True)])
        asked = f"1,{agent.name},last-9,turn_start.turn_end"
        found = by_tag(take(listen(client, f"/follow?follow={asked}"), 2))
    assert [frame["id"] for frame in found["1"]] == [f"{bus.epoch}-1", f"{bus.epoch}-3"]


def test_frames_without_a_position_have_their_tag(client: FlaskClient, agent: Agent) -> None:
    """Else a client would see that of the frame before."""
    with agent.bus() as bus:
        bus.emit(TurnStart("operator", "go"))
        asked = f"7&follow=8,{agent.name},{OTHER_EPOCH}-1"
        found = by_tag(take(listen(client, f"/follow?follow={asked}"), 3))
    assert [(frame["event"], frame["id"]) for frame in found["7"]] == [("snapshot", "")]
    (summary,) = [
        one for one in json.loads(found["7"][0]["data"])["agents"] if one["agent"] == agent.name
    ]
    assert summary["state"] == "working"
    reset, event = found["8"]
    assert (reset["event"], reset["id"]) == ("reset", "")
    assert event["id"] == f"{bus.epoch}-0"


def test_an_agent_that_cannot_be_followed_leaves_the_others_alone(
    client: FlaskClient, agent: Agent
) -> None:
    """It is busy under its tag; the connection goes on."""
    broken = f"t-{uuid.uuid4().hex[:12]}"
    path = Path(f"/dev/shm/ringbus.{broken}")
    path.write_bytes(b"\xff" * 8192)
    try:
        with agent.bus() as bus:
            bus.emit(Note("hello"))
            asked = f"1,{broken},last-5&follow=2,{agent.name},last-5"
            found = by_tag(take(listen(client, f"/follow?follow={asked}"), 2))
    finally:
        path.unlink()
    assert found["1"][0]["event"] == "busy"
    assert broken in json.loads(found["1"][0]["data"])["reason"]
    assert found["2"][0]["id"] == f"{bus.epoch}-0"


@pytest.mark.parametrize(
    "asked",
    [
        "",
        "x,a,live",
        "1,-bad,live",
        "1,a",
        "1,a,last-0",
        "1,a,soon",
        "1,a,live,x",
        "1" + "&follow=1" * 32,
    ],
)
def test_what_cannot_be_shared_is_refused(client: FlaskClient, asked: str) -> None:
    """No stream begins."""
    assert client.get(f"/follow?follow={asked}").status_code in {400, 404}


def test_a_browser_asks_for_no_more_than_one_connection_is_for() -> None:
    """Else none of its tabs would get anything."""
    text = (Path(routes.__file__).parent / "static/hub.js").read_text()
    assert f"const MOST_FOLLOWED = {routes.MAX_SHARED};" in text


def test_a_shared_stream_is_not_resumed_by_its_last_id(client: FlaskClient) -> None:
    """That is the place of one stream of several: who comes back says all places."""
    headers = {"Last-Event-ID": f"1:{EPOCH}-1"}
    assert client.get("/follow?follow=1,a,live", headers=headers).status_code == 400
