"""All agents at a glance: each event read once, work bounded, changes told as they are."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest
from storing import store_all
from turns import Agent, fresh_agent, wait_until
from webclient import EPOCH

from ringbus.events import Note, Stream, TurnEnd, TurnStart, encode
from ringbus.history import History
from ringbus.web import followed as followed_module
from ringbus.web import overview as overview_module
from ringbus.web.digest import Summary
from ringbus.web.followed import EVENTS_BEHIND, MOST_BEHIND, Followed
from ringbus.web.overview import Overview, Watch

GO = TurnStart("operator", "mend the gauge")


def settled(followed: Followed) -> tuple[Summary, int]:
    """Its summary once all was read, and how many steps that took."""
    steps = 0
    while True:
        before = followed.summary(0).position
        followed.read()
        followed.look()
        steps += 1
        if followed.summary(0).position == before:
            return followed.summary(time.time_ns()), steps


def test_the_turn_is_known_however_long_it_runs(agent: Agent) -> None:
    """Its start is found by its kind, far before the newest events, stored or not."""
    with agent.bus() as bus:
        bus.emit_many([TurnStart("x", "before"), TurnEnd(ok=True), GO])
        bus.emit_many([Note("x")] * 4 * EVENTS_BEHIND)
        for is_stored in (False, True):
            followed = Followed(agent.name, agent.state)
            summary, _ = settled(followed)
            followed.close()
            assert (summary.state, summary.asked) == ("working", "mend the gauge"), is_stored
            assert summary.since_ns is not None
            store_all(agent)


def test_an_agent_far_ahead_is_read_from_its_newest_events(agent: Agent) -> None:
    """What is passed over counts for the rate; the turn and its end are found."""
    with agent.bus() as bus:
        bus.emit(GO)
        followed = Followed(agent.name, agent.state)
        settled(followed)
        bus.emit_many([TurnEnd(ok=True), TurnStart("operator", "the next")])
        burst = 2 * MOST_BEHIND
        bus.emit_many([Note("x")] * burst)
        summary, steps = settled(followed)
        followed.close()
    assert (summary.state, summary.asked) == ("working", "the next")
    assert summary.position == f"{bus.epoch}-{burst + 2}"
    assert steps < 5
    assert burst <= sum(summary.rate) <= burst + 2 * EVENTS_BEHIND


def test_partial_messages_of_the_past_count_for_the_rate(agent: Agent) -> None:
    """Nobody reads them again, but when they came is seen at once; those to come count once."""
    with History.open(agent.database, agent.name, write=True) as history:
        history.begin_epoch(EPOCH)
        history.append(EPOCH, [(0, 10**18, *encode(GO))], 1)
        history.end_epoch(EPOCH)
    with agent.bus() as bus:
        bus.emit(GO)
        for _ in range(30):
            bus.emit(Stream(b"{}"), transient=True)
        bus.emit(Note("x"))
        followed = Followed(agent.name, agent.state)
        assert sum(settled(followed)[0].rate) == 32
        bus.emit(Stream(b"{}"), transient=True)
        assert sum(settled(followed)[0].rate) == 33
        followed.close()


def test_what_was_stored_is_asked_of_the_file_once(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not at each look: most agents are over, and their histories closed."""
    asked: list[str] = []
    real = followed_module.stored_seqs

    def counted(name: str, database: Path, epoch: str) -> int:
        asked.append(name)
        return real(name, database, epoch)

    monkeypatch.setattr(followed_module, "stored_seqs", counted)
    with agent.bus() as bus:
        bus.emit_many([GO, TurnEnd(ok=True)])
        followed = Followed(agent.name, agent.state)
        followed.look()
        assert followed.summary(0).lag is None
        with History.open(agent.database, agent.name, write=True) as history:
            history.begin_epoch(bus.epoch)
            history.append(bus.epoch, [(0, 0, *encode(GO))], 2)
        for _ in range(3):
            followed.look()
        followed.close()
    assert followed.summary(0).lag == 0
    assert len(asked) == 2


def test_a_history_without_a_ring_is_read_once_for_each_look(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Most agents are over: all of them may be on the page at no cost."""
    rows = [(seq, 0, *encode(Note("x"))) for seq in range(3)]
    with History.open(agent.database, agent.name, write=True) as history:
        history.begin_epoch(EPOCH)
        history.append(EPOCH, rows, 3)
    followed = Followed(agent.name, agent.state)
    assert settled(followed)[0].position == f"{EPOCH}-2"
    followed.read()
    with History.open(agent.database, agent.name, write=True) as history:
        history.append(EPOCH, [(3, 0, *encode(Note("late")))], 4)
    for _ in range(3):
        followed.read()
    assert followed.summary(0).position == f"{EPOCH}-2"
    followed.look()
    followed.read()
    assert followed.summary(0).position == f"{EPOCH}-3"
    followed.close()


def watched(watch: Watch, agent: Agent) -> Summary:
    """What is told of the agent next."""
    found: list[Summary] = []

    def is_told() -> bool:
        changes = watch.read()
        found.extend(one for one in changes.current if one.agent == agent.name) if changes else None
        return bool(found)

    wait_until(is_told, "a change of the agent")
    return found[-1]


def test_a_state_is_told_at_once_and_figures_now_and_then(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that an agent that prints a thousand lines a second costs a page one change of it."""
    monkeypatch.setattr(overview_module, "FIGURES_SECONDS", math.inf)
    with agent.bus() as bus, Overview(agent.state).watch() as watch:
        bus.emit(GO)
        assert watched(watch, agent).state == "working"
        bus.emit_many([Note("a"), Note("b")])
        bus.emit(TurnEnd(ok=True))
        done = watched(watch, agent)
        assert done.state == "done"
        assert done.position == f"{bus.epoch}-3"


def test_of_kept_events_the_new_ones_alone_are_told(agent: Agent) -> None:
    """After the first time, when it is all that a page can count."""
    with agent.bus() as bus:
        bus.emit_many([GO, Note("a"), Note("b")])
        with Overview(agent.state).watch() as watch:
            assert watched(watch, agent).kept == (0, 1, 2)
            bus.emit(TurnEnd(ok=True))
            assert watched(watch, agent).kept == (3,)
        with Overview(agent.state).watch() as watch:
            assert watched(watch, agent).kept == (0, 1, 2, 3)


def test_an_agent_that_cannot_be_read_does_not_take_the_others_away(
    agent: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again."""
    real, refused = followed_module.Followed, []

    def refuses(name: str, state: Path) -> Followed:
        if name == agent.name and len(refused) < 2:
            refused.append(name)
            raise PermissionError(name)
        return real(name, state)

    monkeypatch.setattr(overview_module, "Followed", refuses)
    monkeypatch.setattr(overview_module, "LIST_SECONDS", 0.1)
    with fresh_agent(agent.state) as other, other.bus() as others, agent.bus() as bus:
        bus.emit(GO)
        others.emit(GO)
        with Overview(agent.state).watch() as watch:
            assert watched(watch, other).state == "working"
            assert watched(watch, agent).state == "working"
    assert len(refused) == 2
