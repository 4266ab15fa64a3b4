"""Fixtures that several test files share."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from turns import Agent, fresh_agent

from ringbus import Bus, Ring
from ringbus.web import create_app

# Started in the background, or under nohup, tests would pass ignored signals on to what they start.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def ring_name() -> Iterator[str]:
    """A name that no ring has; a ring made under it is removed afterwards."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    yield name
    Path(f"/dev/shm/ringbus.{name}").unlink(missing_ok=True)


@pytest.fixture
def ring(ring_name: str) -> Iterator[Ring]:
    """A small ring: 64 KiB in 64 blocks, policy "drop"."""
    with Ring.create(ring_name, size=64 << 10) as ring:
        yield ring


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    """An agent that no other test knows; its ring and history are removed afterwards."""
    with fresh_agent(tmp_path / "state") as agent:
        yield agent


@pytest.fixture
def bus(agent: Agent) -> Iterator[Bus]:
    """The agent's Bus, on the smallest ring, without a persister."""
    with agent.bus(size=64 << 10) as bus:
        yield bus


@pytest.fixture
def app(tmp_path: Path) -> Flask:
    """The web application for the folder in which the agent's state is."""
    state = tmp_path / "state"
    state.mkdir(exist_ok=True)
    return create_app({"RINGBUS_STATE": state, "RINGBUS_TOKEN": None})


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A client of it, on the same machine."""
    return app.test_client()
