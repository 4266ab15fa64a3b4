"""A history of agent-7 in a file of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from rows import Open

from ringbus.history import History


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agent-7.sqlite"


@pytest.fixture
def opened(path: Path) -> Iterator[Open]:
    """Opens histories of agent-7 in `path` and closes them at the end."""
    histories: list[History] = []

    def open_history(agent: str = "agent-7", **options: bool) -> History:
        histories.append(History.open(path, agent, **options))
        return histories[-1]

    yield open_history
    for history in histories:
        history.close()


@pytest.fixture
def writer(opened: Open) -> History:
    return opened(write=True)
