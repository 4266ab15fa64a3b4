"""Follow: what is chosen for its beginning, and the position it stands at."""

from __future__ import annotations

from storing import Item, emit_notes, numbers, rest, serving
from turns import Agent

from ringbus.bus import Bus
from ringbus.choice import Choice
from ringbus.events import Envelope, Note, TurnEnd, TurnStart
from ringbus.follow import Follow


def test_last_counts_what_is_chosen(agent: Agent, bus: Bus) -> None:
    """All kinds come from there on."""
    bus.emit_many([TurnStart("operator", "go"), Note("1"), TurnEnd(ok=True), Note("2"), Note("3")])
    choice = Choice(kinds=frozenset({"turn_start", "turn_end"}))
    for last, first in ((1, 2), (2, 0), (3, 0)):
        with Follow(agent.name, database=agent.database, last=last, choice=choice) as follow:
            seqs = [item.seq for item in rest(follow) if isinstance(item, Envelope)]
        assert seqs == list(range(first, 5))


def test_position_is_where_a_follow_after_it_goes_on(agent: Agent, bus: Bus) -> None:
    """Whatever was given so far, from the history or the ring."""
    emit_notes(bus, 700)
    with serving(agent):
        assert bus.wait_stored(60)
    emit_notes(bus, 20, first=700)
    with bus.follow(last=720) as follow:
        given: list[Item] = []
        while items := follow.read(timeout=0):
            given += items
            with bus.follow(after=follow.position) as other:
                assert numbers(given + rest(other)) == list(range(720))
    assert numbers(given) == list(range(720))
