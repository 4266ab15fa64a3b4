"""`/metrics` and `/readyz` in the situations that they are for."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hosting import README
from prometheus_client.parser import text_string_to_metric_families
from storing import SMALL, locked, paused, persister_process, wait_stored
from turns import Agent, wait_until
from webclient import listen, notes, store, take, web_state

import ringbus
from ringbus.events import Note
from ringbus.ring import Ring
from ringbus.web import create_app
from ringbus.web import figures as web_figures

pytestmark = pytest.mark.slow


class Scrape:
    """What `/metrics` said of one agent, and of the process."""

    def __init__(self, client: FlaskClient, agent: Agent) -> None:
        self._samples: dict[str, float] = {}
        self._by_label: dict[tuple[str, str], float] = {}
        for family in text_string_to_metric_families(client.get("/metrics").text):
            for sample in family.samples:
                labels = dict(sample.labels)
                if labels.pop("agent", agent.name) != agent.name:
                    continue
                for value in labels.values():
                    self._by_label[sample.name, value] = sample.value
                self._samples[sample.name] = sample.value

    def __getitem__(self, name: str) -> float:
        return self._samples[f"ringbus_{name}"]

    def of(self, name: str, label: str) -> float:
        return self._by_label[f"ringbus_{name}", label]

    def shows(self, wanted: Mapping[str, float]) -> bool:
        found = {name: self._samples.get(f"ringbus_{name}") for name in wanted}
        return found == wanted


def warnings(client: FlaskClient, agent: Agent) -> list[str]:
    """What `/readyz` says of the agent."""
    report = client.get("/readyz").json
    assert report["ready"] is True
    return [text for text in report["warnings"] if agent.name in text]


def test_all_is_well(client: FlaskClient, agent: Agent) -> None:
    """A persister stores what comes; nothing is wrong."""
    with agent.bus() as bus, persister_process(agent):
        begun = time.time()
        bus.emit_many([Note("x" * 100)] * 1_000)
        wait_stored(bus)
        seen = Scrape(client, agent)
        assert warnings(client, agent) == []
        with Ring.open(agent.name, observer=True) as ring:
            stats = ring.stats()
    assert seen.shows(
        {
            "ring_tail_seq": 1_000,
            "ring_floor_seq": stats.floor,
            "ring_size_bytes": 4 << 20,
            "ring_free_ratio": stats.blocks_free / stats.blocks,
            "ring_emitters": 1,
            "persister_up": 1,
            "persister_storing": 1,
            "history_lag_events": 0,
            "history_lag_seconds": 0,
            "history_readable": 1,
        }
    )
    assert seen["history_bytes"] > 100_000
    assert begun <= seen["history_last_event_timestamp_seconds"] <= time.time()
    assert seen.of("gate_lag_events", "history") == 0
    assert seen.of("gate_alive", "history") == 1
    assert seen.of("build_info", ringbus.__version__) == 1


def test_each_metric_is_told_of(client: FlaskClient, agent: Agent) -> None:
    """In the README beside the pages, and there is no other."""
    told = set(re.findall(r"`(ringbus_\w+)`", README.read_text()))
    with agent.bus(size=SMALL) as bus:
        bus.emit_many([Note("x")] * 5_000)
        with persister_process(agent):
            wait_stored(bus)
            text = client.get("/metrics").text
    found = {re.split(r"[{ ]", line)[0] for line in text.splitlines() if line[0] != "#"}
    assert {name for name in found if not name.endswith("_created")} == told


def test_a_stopped_persister_lags(
    client: FlaskClient, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In events and in time; it is there, and does not move."""
    with agent.bus() as bus, persister_process(agent) as persister, paused(persister.pid):
        bus.emit(Note("first"))
        bus.emit_many([Note("x")] * 9)
        seen = Scrape(client, agent)
        assert seen.shows({"history_lag_events": 10, "persister_up": 1, "persister_storing": 1})
        assert seen.of("gate_lag_events", "history") == 10
        assert seen["history_lag_seconds"] > 0
        later = Scrape(client, agent)
        assert later["history_lag_seconds"] > seen["history_lag_seconds"]
        assert warnings(client, agent) == []
        monkeypatch.setattr(web_figures, "STALLED_SECONDS", 0.0)
        (warning,) = warnings(client, agent)
        assert f"process {persister.pid}" in warning


def test_a_dead_persister_is_down(client: FlaskClient, agent: Agent) -> None:
    """Its gate stands for a while; nobody is behind it."""
    with agent.bus() as bus, persister_process(agent) as persister:
        bus.emit(Note("stored"))
        wait_stored(bus)
        os.kill(persister.pid, signal.SIGKILL)
        persister.wait()
        down = {"persister_up": 0, "persister_storing": 0, "history_readable": 1}
        assert Scrape(client, agent).shows(down | {"history_lag_events": 0})
        assert warnings(client, agent) == []
        bus.emit(Note("not stored"))
        seen = Scrape(client, agent)
        assert seen.shows(down | {"history_lag_events": 1})
        assert seen.of("gate_alive", "history") == 0
        (warning,) = warnings(client, agent)
        assert "ringbus up" in warning
        with persister_process(agent):
            wait_stored(bus)
            assert Scrape(client, agent).shows({"persister_storing": 1, "history_lag_events": 0})
            assert warnings(client, agent) == []


def test_a_history_that_cannot_be_written_is_told(client: FlaskClient, agent: Agent) -> None:
    """The persister is there and does not store; the warning names the file."""
    with agent.bus() as bus, persister_process(agent):
        bus.emit(Note("stored"))
        wait_stored(bus)
        with locked(agent.database):
            bus.emit(Note("not stored"))
            unable = {"persister_up": 1, "persister_storing": 0, "history_lag_events": 1}
            wait_until(lambda: Scrape(client, agent).shows(unable), "that it gives up its gate")
            (warning,) = warnings(client, agent)
            assert str(agent.database) in warning
        wait_until(
            lambda: Scrape(client, agent).shows({"persister_storing": 1, "history_lag_events": 0}),
            "that it stores again",
        )


def test_gaps_are_counted_where_they_are_and_where_they_are_told(
    client: FlaskClient, agent: Agent
) -> None:
    """By reason in the history, and once for each client."""
    with agent.bus(size=SMALL) as bus:
        bus.emit_many([Note("x")] * 5_000)
        with persister_process(agent):
            wait_stored(bus)
            seen = Scrape(client, agent)
            with Ring.open(agent.name, observer=True) as ring:
                assert 0 < seen.of("history_missed_events", "lapped") <= ring.floor
            assert seen.of("history_gaps", "lapped") == 1
            assert seen["sse_gaps_total"] == 0
            for expected in (1, 2):
                path = f"/agents/{agent.name}/events"
                (frame,) = take(listen(client, path, Last_Event_ID=f"{bus.epoch}-0"), 1)
                assert frame["event"] == "gap"
                seen = Scrape(client, agent)
                assert seen.shows({"sse_gaps_total": expected, "sse_connects_total": expected})
    assert seen["sse_sent_bytes_total"] > 0


def test_a_damaged_history_is_told(client: FlaskClient, agent: Agent) -> None:
    """With the file and the reason; the other figures come all the same."""
    agent.database.write_bytes(b"this is no database" * 1_000)
    with agent.bus() as bus:
        bus.emit(Note("hello"))
        seen = Scrape(client, agent)
        (warning,) = warnings(client, agent)
    assert seen.shows({"history_readable": 0, "ring_tail_seq": 1, "persister_up": 0})
    assert str(agent.database) in warning


def test_a_history_without_a_ring_lags_behind_nothing(client: FlaskClient, agent: Agent) -> None:
    """After a restart of the machine there are only those."""
    store(agent, notes(3))
    seen = Scrape(client, agent)
    assert seen.shows({"history_lag_events": 0, "persister_up": 0, "history_readable": 1})
    assert seen["history_last_event_timestamp_seconds"] == pytest.approx(1.000000002)
    with pytest.raises(KeyError):
        seen["ring_tail_seq"]
    assert warnings(client, agent) == []


def test_streams_are_counted(app: Flask, client: FlaskClient, agent: Agent) -> None:
    """Those open, those opened so far, and those that were sent away."""
    web_state(app).streams.limit = 1
    response = listen(client, f"/agents/{agent.name}/events")
    next(iter(response.response))
    refused = client.get(f"/agents/{agent.name}/events")
    assert "event: busy" in refused.text
    names = ("clients", "clients_limit", "connects_total", "refused_total")
    assert [Scrape(client, agent)[f"sse_{name}"] for name in names] == [1, 1, 1, 1]
    response.close()
    assert [Scrape(client, agent)[f"sse_{name}"] for name in names] == [0, 1, 1, 1]


def test_only_who_has_the_token_is_told_why(tmp_path: Path, agent: Agent) -> None:
    """Names of folders and agents are nobody else's business."""
    token = {"Authorization": "Bearer a-long-s3cret-token"}
    config = {"RINGBUS_STATE": agent.state, "RINGBUS_TOKEN": "a-long-s3cret-token"}
    agent.state.mkdir()
    agent.database.write_bytes(b"this is no database" * 1_000)
    client = create_app(config).test_client()
    assert client.get("/readyz").json == {"ready": True, "problems": [], "warnings": []}
    assert agent.name in client.get("/readyz", headers=token).text
    missing = tmp_path / "missing"
    client = create_app(config | {"RINGBUS_STATE": missing}).test_client()
    response = client.get("/readyz")
    assert response.status_code == 503
    assert str(missing) not in response.text
    assert str(missing) in client.get("/readyz", headers=token).text
