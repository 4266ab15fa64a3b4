"""The event stream of all agents, through Flask's test client over real rings."""

from __future__ import annotations

import json
import threading
from typing import Any

from flask.testing import FlaskClient
from turns import Agent, wait_until
from webclient import Frame, frames, listen

from ringbus.events import TurnEnd, TurnStart
from ringbus.removal import remove_agent


def states(found: list[dict[str, Any]], agent: Agent) -> list[str]:
    """The states that summaries tell of an agent."""
    return [one["state"] for one in found if one["agent"] == agent.name]


def test_the_dashboard_stream_is_a_snapshot_and_then_changes(
    client: FlaskClient, agent: Agent
) -> None:
    """No ids: it does not resume."""
    with agent.bus() as bus:
        bus.emit(TurnStart("operator", "go"))
        response = listen(client, "/events")
        found = frames(response)
        snapshot = next(found)
        assert snapshot["event"] == "snapshot"
        assert "id" not in snapshot
        assert states(json.loads(snapshot["data"])["agents"], agent) == ["working"]
        bus.emit(TurnEnd(ok=False, note="exit status 1"))
        changes = (json.loads(frame["data"]) for frame in found)
        failed = next(one for one in changes if one["agent"] == agent.name)
        response.close()
    assert failed["state"] == "failed"
    assert failed["doing"] == "exit status 1"
    assert failed["position"] == f"{bus.epoch}-1"


def test_the_overview_rests_when_nobody_looks(client: FlaskClient) -> None:
    """Its thread ends with the last dashboard."""
    response = listen(client, "/events")
    next(frames(response))
    assert overview_threads() >= 1
    response.close()
    wait_until(lambda: overview_threads() == 0, "the end of the overview's thread")


def test_the_dashboard_follows_an_agent_into_its_next_ring(
    client: FlaskClient, agent: Agent
) -> None:
    """Its ring was removed, and another came under the name before the list was read again."""
    response = listen(client, "/events")
    with agent.bus() as bus:
        bus.emit(TurnStart("operator", "go"))
        found = frames(response)
        state: dict[str, str] = {}
        while state.get("state") != "working":
            state = newest_state(next(found), agent)
    remove_agent(agent.name, agent.state, purge=False)
    with agent.bus() as bus:
        bus.emit(TurnEnd(ok=False, note="in the next ring"))
        while state.get("doing") != "in the next ring":
            state = newest_state(next(found), agent) or state
        assert state["position"] == f"{bus.epoch}-0"
    response.close()


def newest_state(frame: Frame, agent: Agent) -> dict[str, str]:
    """What a frame of the dashboard says of the agent; {} if nothing."""
    data = json.loads(frame["data"])
    named = [one for one in data.get("agents", [data]) if one["agent"] == agent.name]
    return named[0] if named and frame.get("event") != "gone" else {}


def overview_threads() -> int:
    """Threads that follow all agents."""
    return sum(thread.name == "ringbus-overview" for thread in threading.enumerate())
