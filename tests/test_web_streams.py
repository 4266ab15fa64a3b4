"""The event streams, through Flask's test client over real rings and histories."""

from __future__ import annotations

import json
import math
import uuid
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from turns import Agent
from webclient import (
    EPOCH,
    OTHER_EPOCH,
    frames,
    listen,
    notes,
    store,
    take,
    texts,
    web_state,
)

from ringbus import sse
from ringbus.events import Gap, Note, Stream, TurnEnd, TurnStart, record_payload
from ringbus.history import History
from ringbus.web import create_app, routes, sources, streams
from ringbus.web.waiting import Waker


def test_events_come_with_their_position_as_id(client: FlaskClient, agent: Agent) -> None:
    """And are the envelopes."""
    with agent.bus() as bus:
        bus.emit(TurnStart("operator", "go", 2))
        bus.emit(Stream(b'{"big":1234567890123456789012345678901234567890}'))
        first, second = take(listen(client, f"/agents/{agent.name}/events"), 2)
        assert first["id"] == f"{bus.epoch}-0"
    assert "event" not in first
    assert json.loads(first["data"])["from"] == "operator"
    assert '"data":{"big":1234567890123456789012345678901234567890}' in second["data"]


def test_the_stream_goes_on_live(client: FlaskClient, agent: Agent) -> None:
    """What is emitted after it was opened comes, too."""
    with agent.bus() as bus:
        bus.emit(Note("before"))
        response = listen(client, f"/agents/{agent.name}/events")
        found = frames(response)
        assert texts([next(found)]) == ["before"]
        bus.emit(Note("after"))
        assert texts([next(found)]) == ["after"]
        response.close()


def test_the_header_of_a_reconnect_wins_over_the_query(client: FlaskClient, agent: Agent) -> None:
    """The address of a page's stream never changes."""
    with agent.bus() as bus:
        bus.emit_many([Note(f"row {number}") for number in range(5)])
        response = listen(
            client,
            f"/agents/{agent.name}/events?after={bus.epoch}-0",
            Last_Event_ID=f"{bus.epoch}-2",
        )
        assert texts(take(response, 2)) == ["row 3", "row 4"]


def test_a_first_connect_may_say_where_to_begin(client: FlaskClient, agent: Agent) -> None:
    """After a position, or with the newest few."""
    with agent.bus() as bus:
        bus.emit_many([Note(f"row {number}") for number in range(5)])
        path = f"/agents/{agent.name}/events"
        assert texts(take(listen(client, f"{path}?after={bus.epoch}-2"), 2)) == ["row 3", "row 4"]
        assert texts(take(listen(client, f"{path}?last=1"), 1)) == ["row 4"]


def test_a_first_connect_is_limited_and_a_reconnect_is_not(
    client: FlaskClient, agent: Agent
) -> None:
    """The newest 2,000 unless it says otherwise; after a position everything."""
    store(agent, notes(2_100))
    path = f"/agents/{agent.name}/events"
    assert texts(take(listen(client, path), 1)) == ["row 100"]
    again = listen(client, f"{path}?last=1", Last_Event_ID=f"{EPOCH}-49")
    assert texts(take(again, 2_050)) == [f"row {number}" for number in range(50, 2_100)]


def test_no_client_can_have_all_of_a_long_history_held_in_memory(
    client: FlaskClient, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many it asks for: it pages back."""
    monkeypatch.setattr(routes, "MAX_LAST", 3)
    with agent.bus() as bus:
        bus.emit_many([Note(f"row {number}") for number in range(5)])
        for path in (
            f"/agents/{agent.name}/events?last=4",
            f"/follow?follow=1,{agent.name},last-4",
        ):
            assert texts(take(listen(client, path), 1)) == ["row 2"]


def test_live_leaves_the_past_out(client: FlaskClient, agent: Agent) -> None:
    """Only what comes next."""
    with agent.bus() as bus:
        bus.emit(Note("past"))
        response = listen(client, f"/agents/{agent.name}/events?live=1")
        pieces = iter(response.response)
        next(pieces)  # its opening: what is emitted from now on is later than it
        bus.emit(Note("next"))
        while b"data:" not in (piece := next(pieces)):
            pass
        response.close()
    assert b"next" in piece
    assert b"past" not in piece


def test_a_live_stream_says_where_it_begins(client: FlaskClient, agent: Agent) -> None:
    """A client that is cut off before anything came misses nothing either."""
    with agent.bus() as bus:
        bus.emit(Note("past"))
        path = f"/agents/{agent.name}/events?live=1"
        (cursor,) = take(listen(client, path), 1)
        assert cursor["event"] == "cursor"
        bus.emit(Note("while nobody listened"))
        again = listen(client, path, Last_Event_ID=cursor["id"])
        assert texts(take(again, 1)) == ["while nobody listened"]


def test_a_client_gets_the_kinds_it_asks_for(client: FlaskClient, agent: Agent) -> None:
    """And `last` counts those."""
    with agent.bus() as bus:
        bus.emit_many([Note("far"), Note("near"), *[Stream(b"1")] * 10, TurnEnd(ok=True)])
        bus.emit(Stream(b"2"), transient=True)
        path = f"/agents/{agent.name}/events"
        near, end = take(listen(client, f"{path}?kind=note,turn_end&last=2"), 2)
        assert (near["id"], end["id"]) == (f"{bus.epoch}-1", f"{bus.epoch}-12")
        lines = take(listen(client, f"{path}?kind=stream"), 10)
    assert [json.loads(line["data"])["data"] for line in lines] == [1] * 10


def test_what_is_not_wanted_moves_the_place_of_a_reconnect(
    client: FlaskClient, agent: Agent
) -> None:
    """Though nothing was sent for it, what comes later is sent once, and nothing before it."""
    path = f"/agents/{agent.name}/events?kind=note&last=1"
    with agent.bus() as bus:
        bus.emit_many([Stream(b"1")] * 1_200)
        (cursor,) = take(listen(client, path), 1)
        assert cursor["event"] == "cursor"
        assert cursor["id"] == f"{bus.epoch}-1199"
        assert json.loads(cursor["data"]) == {"position": cursor["id"]}
        bus.emit_many([Note("one"), Note("two"), Stream(b"2")])
        again = listen(client, path, Last_Event_ID=cursor["id"])
        assert texts(take(again, 2)) == ["one", "two"]


def test_cursors_are_told_now_and_then(
    client: FlaskClient, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind the last event that was wanted, and never twice for one place."""
    monkeypatch.setattr(sources, "CURSOR_SECONDS", 0.0)
    monkeypatch.setattr(streams, "HEARTBEAT_SECONDS", 0.0)
    with agent.bus() as bus:
        bus.emit_many([Note("a"), Stream(b"1"), Note("b"), Stream(b"2")])
        pieces = iter(listen(client, f"/agents/{agent.name}/events?kind=note").response)
        next(pieces)
        expected = [f"id: {bus.epoch}-{seq}".encode() for seq in (0, 2, 3)]
        assert [line for line in next(pieces).split(b"\n") if line[:2] == b"id"] == expected
        assert [next(pieces), next(pieces)] == [sse.HEARTBEAT] * 2
        bus.emit(Stream(b"3"))
        while (piece := next(pieces)) == sse.HEARTBEAT:
            pass
        assert f"id: {bus.epoch}-4\n".encode() in piece


def test_gaps_come_whatever_is_asked_for(client: FlaskClient, agent: Agent) -> None:
    """Nobody can tell of what kind the lost ones were."""
    with History.open(agent.database, agent.name, write=True) as history:
        history.begin_epoch(EPOCH)
        history.append(EPOCH, [(0, 1, 3, notes(1)[0])], 5, [Gap(EPOCH, 1, 4, 4, "lapped")])
        history.end_epoch(EPOCH)
    (gap,) = take(listen(client, f"/agents/{agent.name}/events?kind=turn_end&after={EPOCH}-0"), 1)
    assert gap["event"] == "gap"
    assert gap["id"] == f"{EPOCH}-4"


def test_an_unknown_position_resets_and_starts_over(client: FlaskClient, agent: Agent) -> None:
    """With a named event first."""
    with agent.bus() as bus:
        bus.emit(Note("hello"))
        response = listen(client, f"/agents/{agent.name}/events", Last_Event_ID=f"{OTHER_EPOCH}-7")
        reset, event = take(response, 2)
    assert reset["event"] == "reset"
    assert texts([event]) == ["hello"]


def test_what_is_lost_comes_as_a_gap_in_its_place(client: FlaskClient, agent: Agent) -> None:
    """With its numbers and its reason."""
    with History.open(agent.database, agent.name, write=True) as history:
        history.begin_epoch(EPOCH)
        history.append(EPOCH, [(0, 1, 3, notes(1)[0])], 1)
        history.begin_epoch(OTHER_EPOCH)
        history.append(OTHER_EPOCH, [(0, 2, 3, notes(1)[0])], 1)
    first, gap, second = take(listen(client, f"/agents/{agent.name}/events"), 3)
    assert first["id"] == f"{EPOCH}-0"
    assert gap["event"] == "gap"
    assert json.loads(gap["data"])["reason"] == "ring-lost"
    assert second["id"] == f"{OTHER_EPOCH}-0"


@pytest.mark.parametrize(
    "query", ["after=nonsense", "last=0", "last=-1", "last=x", "kind=nonsense"]
)
def test_a_bad_parameter_is_named(client: FlaskClient, query: str) -> None:
    """With what it should be."""
    response = client.get(f"/agents/a/events?{query}")
    assert response.status_code == 400
    assert query.partition("=")[0] in response.json["error"]


def test_streams_are_neither_cached_nor_gathered(client: FlaskClient) -> None:
    """Headers for proxies, and a first write at once so that they go out."""
    response = listen(client, "/agents/a/events")
    assert response.headers["X-Accel-Buffering"] == "no"
    assert "no-transform" in response.headers["Cache-Control"]
    assert "Content-Length" not in response.headers
    assert next(iter(response.response)).startswith(b":\n")
    response.close()


def test_a_silent_stream_sends_heartbeats(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A comment line alone: no client takes that for an event."""
    monkeypatch.setattr(streams, "HEARTBEAT_SECONDS", 0.0)
    response = listen(client, "/agents/nobody/events")
    pieces = iter(response.response)
    next(pieces)
    assert next(pieces) == b":\n"
    response.close()


def test_no_two_clients_come_back_at_the_same_time(client: FlaskClient) -> None:
    """Each is told another delay, around a second."""
    delays = set()
    for _ in range(10):
        response = listen(client, "/agents/nobody/events")
        retry = next(iter(response.response)).removeprefix(b":\nretry: ").strip()
        delays.add(int(retry))
        response.close()
    assert len(delays) > 1
    assert all(500 <= delay <= 1_500 for delay in delays)


def test_a_stream_ends_at_its_age(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """By itself, so that a client comes back to whatever serves by then."""
    monkeypatch.setattr(streams, "LIFE_SECONDS", 0.05)
    response = listen(client, "/agents/nobody/events")
    assert b"".join(response.response).startswith(b":\n")


def test_streams_that_began_together_end_at_different_times(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else all browsers would come back at once, an hour after a restart."""
    slept: list[float] = []

    def end_instead(_: Waker, seconds: float) -> None:
        slept.append(seconds)
        web_state(app).streams.stop()

    monkeypatch.setattr(streams, "HEARTBEAT_SECONDS", math.inf)
    monkeypatch.setattr(streams, "LIFE_SECONDS", 1_000_000.0)
    monkeypatch.setattr(Waker, "wait", end_instead)
    for _ in range(20):
        web_state(app).streams.stopping = False
        response = listen(app.test_client(), "/events")
        assert b"".join(response.response)
        response.close()
    assert all(799_999 < seconds <= 1_200_000 for seconds in slept)
    assert max(slept) - min(slept) > 100_000


def test_events_that_are_there_together_are_written_together(
    client: FlaskClient, agent: Agent
) -> None:
    """One write for many frames."""
    with agent.bus() as bus:
        bus.emit_many([Note(f"row {number}") for number in range(100)])
        response = listen(client, f"/agents/{agent.name}/events")
        pieces = iter(response.response)
        next(pieces)
        assert next(pieces).count(b"\ndata: ") == 100
        response.close()


@pytest.mark.parametrize("path", ["/agents/a/events", "/events", "/follow?follow=1,a,live"])
def test_too_many_streams_get_busy_and_come_back_later(tmp_path: Path, path: str) -> None:
    """Status 200: a browser gives up on any other."""
    app = create_app({"RINGBUS_STATE": tmp_path, "RINGBUS_TOKEN": None, "RINGBUS_MAX_STREAMS": 1})
    first = listen(app.test_client(), path)
    next(iter(first.response))
    second = listen(app.test_client(), path)
    (busy,) = frames(second)
    assert busy["event"] == "busy"
    assert 7_500 <= int(busy["retry"]) <= 22_500
    first.close()
    third = listen(app.test_client(), path)
    assert b"busy" not in next(iter(third.response))
    third.close()


def test_a_ring_that_cannot_be_used_is_named_and_tried_again(client: FlaskClient) -> None:
    """Bytes that are no ring, under an agent's name: no error page, no end of the server."""
    name = f"t-{uuid.uuid4().hex[:12]}"
    path = Path(f"/dev/shm/ringbus.{name}")
    path.write_bytes(b"\xff" * 8192)
    try:
        (busy,) = frames(listen(client, f"/agents/{name}/events"))
    finally:
        path.unlink()
    assert busy["event"] == "busy"
    assert name in json.loads(busy["data"])["reason"]


def test_a_closed_stream_gives_its_place_back(app: Flask, client: FlaskClient) -> None:
    """Also when nothing was read of it."""
    listen(client, "/agents/a/events").close()
    read = listen(client, "/agents/a/events")
    next(iter(read.response))
    assert web_state(app).streams.open == 1
    read.close()
    assert web_state(app).streams.open == 0


def test_a_stopping_server_ends_its_streams(app: Flask, client: FlaskClient) -> None:
    """The response ends by itself."""
    response = listen(client, "/agents/a/events")
    pieces = iter(response.response)
    next(pieces)
    web_state(app).streams.stop()
    assert list(pieces) == []


def test_a_record_that_is_no_event_is_shown_as_a_note(client: FlaskClient, agent: Agent) -> None:
    """The stream goes on after it."""
    store(agent, [record_payload(0, b"\xff raw"), *notes(2)[1:]])
    first, second = take(listen(client, f"/agents/{agent.name}/events"), 2)
    assert json.loads(first["data"])["encoding"] == "base64"
    assert texts([second]) == ["row 1"]
