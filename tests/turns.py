"""What the tests of turns share: an agent of their own, the command line, and patience."""

from __future__ import annotations

import base64
import contextlib
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ringbus import settings
from ringbus.bus import Bus
from ringbus.errors import RingNotFound
from ringbus.events import Envelope, Event, Note, Stream
from ringbus.follow import Follow
from ringbus.persister import Persister
from ringbus.removal import remove_agent

DEADLINE_SECONDS = 60.0


@dataclass(frozen=True)
class Agent:
    """An agent that no other test knows, with a state folder of its own."""

    name: str
    state: Path

    @property
    def database(self) -> Path:
        return settings.history_path(self.name, self.state)

    @property
    def place(self) -> list[str]:
        """The options that name it."""
        return ["--agent", self.name, "--state", str(self.state)]

    def bus(self, **options: Any) -> Bus:
        """A Bus that starts no persister."""
        return Bus(self.name, state=self.state, persister=None, **options)

    @contextlib.contextmanager
    def persisted(self) -> Iterator[None]:
        """A persister in this process."""
        persister = Persister([self.name], self.state)
        thread = threading.Thread(target=persister.run)
        thread.start()
        try:
            yield
        finally:
            persister.stop()
            thread.join()

    def envelopes(self) -> list[Envelope]:
        """All that can be read of it now; no partial messages, which are of the past."""
        found = []
        with Follow(self.name, database=self.database) as follow:
            while items := follow.read(timeout=0):
                found += [item for item in items if isinstance(item, Envelope)]
        return found

    def events(self) -> list[Event]:
        return [envelope.event for envelope in self.envelopes()]


@contextlib.contextmanager
def fresh_agent(state: Path) -> Iterator[Agent]:
    """An agent whose ring goes at the end."""
    agent = Agent(f"t-{uuid.uuid4().hex[:12]}", state)
    try:
        yield agent
    finally:
        with contextlib.suppress(RingNotFound):
            remove_agent(agent.name, state, purge=True)


def ringbus(*arguments: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Runs the command to its end."""
    return subprocess.run(
        command(*arguments), capture_output=True, timeout=DEADLINE_SECONDS, check=False, **options
    )


@contextlib.contextmanager
def started(*arguments: str, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """The running command; killed at the end if it has not ended by itself."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    process: subprocess.Popen[Any] = subprocess.Popen(command(*arguments), **options)
    with process:
        try:
            yield process
        finally:
            process.kill()


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "ringbus", *arguments]


def python(code: str) -> list[str]:
    """A program of a few lines."""
    return [sys.executable, "-c", code]


def shell(code: str) -> list[str]:
    return ["sh", "-c", code]


def wait_until(holds: Callable[[], object], what: str) -> None:
    """Returns when `holds()` is true; fails after the deadline."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not holds():
        if time.monotonic() >= deadline:
            raise AssertionError(f"never came: {what}")
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    """There is such a process, and it is no zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return False
    return fields[0] != "Z"


def without_variables(*names: str) -> dict[str, str]:
    """The environment without these."""
    return {name: value for name, value in os.environ.items() if name not in names}


def lines_of(events: list[Event], source: str = "stdout") -> list[bytes]:
    """What a stream printed, put together again from the events."""
    lines = []
    for event in events:
        if isinstance(event, Stream) and source == "stdout":
            lines.append(event.data)
        elif isinstance(event, Note) and event.source == source:
            encoded = event.text.encode()
            lines.append(base64.b64decode(encoded) if event.encoding else encoded)
    return lines
