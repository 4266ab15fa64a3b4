"""What the views of one application share."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from flask import current_app

from ringbus.agents import database_of
from ringbus.choice import ALL, Choice
from ringbus.events import Position
from ringbus.follow import Follow
from ringbus.web.guard import Guard
from ringbus.web.overview import Overview
from ringbus.web.streams import Streams
from ringbus.web.waiting import Bells


@dataclass(frozen=True, slots=True)
class WebState:
    """One application's folder, door-keeper, streams, what wakes them, and view of all agents."""

    state: Path
    guard: Guard
    streams: Streams
    overview: Overview
    bells: Bells = field(default_factory=Bells)

    def database(self, agent: str) -> Path:
        """The agent's history file, which may not exist. Raises `ValueError` for a bad name."""
        return database_of(agent, self.state)

    def follow(
        self,
        agent: str,
        *,
        after: Position | None,
        last: int | None,
        live: bool,
        choice: Choice = ALL,
    ) -> Follow:
        """A follow of the agent, whose ring and history may still be to come."""
        return Follow(
            agent,
            database=self.database(agent),
            after=after,
            last=last,
            live=live,
            choice=choice,
        )


def web_state() -> WebState:
    """The state of the application that serves the current request."""
    state: WebState = current_app.extensions["ringbus"]
    return state
