"""A damaged database: put aside under a new name, and nothing is left out without a word."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from helpers import Child
from storing import (
    SMALL,
    Serving,
    check_account,
    check_ids_kept,
    die_at,
    emit_notes,
    gaps,
    numbers,
    remove,
    rows_by_id,
    serving,
    store_all,
    stored,
    wait_stored,
)
from turns import Agent, ringbus, wait_until

from ringbus.bus import Bus
from ringbus.events import Gap
from ringbus.history import History
from ringbus.history.aside import is_damaged
from ringbus.persister.agent import AgentPersister
from ringbus.persister.checkpoints import Log
from ringbus.ring import Ring

RUBBISH = random.Random(2).randbytes(50_000)
LAPS = 3000
"""More notes than the ring keeps."""


@pytest.fixture(autouse=True)
def no_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is still under way would write good pages over those that a test damages."""
    monkeypatch.setattr(Log, "look", lambda *_, **__: None)


def damage_events(agent: Agent) -> None:
    """The table of the events is lost; what else is in the file can be read."""
    with closing(apsw.Connection(str(agent.database))) as db:
        page = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'events'").get
        size = db.pragma("page_size")
    with agent.database.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xa5" * size)


def damage_everything(agent: Agent) -> None:
    """No SQLite can tell anything of it."""
    agent.database.write_bytes(RUBBISH)


def put_aside(agent: Agent) -> list[Path]:
    """What was; without its log."""
    return [
        path
        for path in sorted(agent.state.glob("*.damaged-*"))
        if not path.name.endswith(("-wal", "-shm"))
    ]


def floor(agent: Agent) -> int:
    with Ring.open(agent.name, observer=True) as ring:
        return ring.floor


def test_file_of_rubbish_is_put_aside_and_a_fresh_one_begun(
    agent: Agent, bus: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning names both; what the ring holds is stored, and nothing was deleted."""
    agent.state.mkdir()
    damage_everything(agent)
    emit_notes(bus, 300)
    with serving(agent):
        wait_stored(bus)
    (aside,) = put_aside(agent)
    assert aside.read_bytes() == RUBBISH
    assert check_account(agent, 300) == []
    warning, able = [record.message for record in caplog.records]
    assert str(aside) in warning
    assert "not a database" in warning
    assert able == f"{agent.name}: storing again"


def test_file_that_is_damaged_while_nothing_can_be_stored_is_put_aside(
    agent: Agent, bus: Bus
) -> None:
    """A folder stood in its place before."""
    agent.database.mkdir(parents=True)
    emit_notes(bus, 300)
    with Serving(AgentPersister(agent.name, agent.database)) as running:
        wait_until(lambda: running.persister._unable, "the persister to find out")
        rubbish = agent.state / "rubbish"
        rubbish.write_bytes(RUBBISH)
        agent.database.rmdir()
        rubbish.rename(agent.database)
        wait_stored(bus)
    assert [path.read_bytes() for path in put_aside(agent)] == [RUBBISH]
    assert check_account(agent, 300) == []


@pytest.mark.parametrize("damage", [damage_events, damage_everything])
@pytest.mark.parametrize("emitted", [300, LAPS])
def test_what_only_a_damaged_file_held_is_a_gap(
    agent: Agent, bus: Bus, damage: Callable[[Agent], None], emitted: int
) -> None:
    """What the ring still holds is stored again, and where they can be asked for, ids are kept."""
    with serving(agent):
        emit_notes(bus, emitted)
        wait_stored(bus)
    before = rows_by_id(agent)
    damage(agent)
    emit_notes(bus, 10, first=emitted)
    lost = floor(agent)
    with serving(agent):
        wait_stored(bus)
    (aside,) = put_aside(agent)
    assert aside.stat().st_size > 8192
    told = check_account(agent, emitted + 10)
    assert told == [Gap(bus.epoch, 0, lost - 1, lost, "store-unavailable")] * (emitted == LAPS)
    check_ids_kept(before, rows_by_id(agent))


def test_earlier_rings_of_a_damaged_file_are_gaps(agent: Agent) -> None:
    """One that ended cleanly, one that was lost, and the one that is; their ids stay theirs."""
    epochs = []
    before: dict[int, str] = {}
    for number, count in enumerate((20, 30, 40)):
        with agent.bus(size=SMALL) as bus:
            with serving(agent):
                emit_notes(bus, count, first=1000 * number)
                wait_stored(bus)
                if number == 0:
                    remove(agent)
            before |= rows_by_id(agent)
            if number == 1:
                Path(f"/dev/shm/ringbus.{agent.name}").unlink()
            epochs.append(bus.epoch)
            if number == 2:
                damage_events(agent)
                emit_notes(bus, 5, first=2040)
                with serving(agent):
                    wait_stored(bus)
    items = stored(agent)
    assert gaps(items) == [
        Gap(epochs[0], 0, 19, 20, "store-unavailable"),
        Gap(epochs[1], 0, 29, 30, "store-unavailable"),
        Gap(epochs[1], 30, None, None, "ring-lost"),
    ]
    assert numbers(items) == list(range(2000, 2045))
    after = rows_by_id(agent)
    check_ids_kept(before, after)
    assert set(after) > {row_id for row_id in before if row_id > 50}


def test_file_damaged_after_its_ring_was_gone(agent: Agent) -> None:
    """The next ring begins the fresh file; its ids are above all that were ever used."""
    with agent.bus(size=SMALL) as bus, serving(agent):
        emit_notes(bus, 20)
        wait_stored(bus)
        remove(agent)
    before = rows_by_id(agent)
    damage_events(agent)
    with agent.bus(size=SMALL) as second, serving(agent):
        emit_notes(second, 5, first=1000)
        wait_stored(second)
    items = stored(agent)
    assert gaps(items) == [Gap(bus.epoch, 0, 19, 20, "store-unavailable")]
    assert numbers(items) == list(range(1000, 1005))
    assert min(rows_by_id(agent)) > max(before)


def test_damaged_again_and_again(agent: Agent, bus: Bus) -> None:
    """Each file is kept; the newest tells of all."""
    emitted = 0
    before: dict[int, str] = {}
    for _ in range(3):
        with serving(agent):
            emit_notes(bus, LAPS, first=emitted)
            emitted += LAPS
            wait_stored(bus)
        check_ids_kept(before, rows_by_id(agent))
        before |= rows_by_id(agent)
        damage_events(agent)
    lost = floor(agent)
    with serving(agent):
        wait_stored(bus)
    assert len(put_aside(agent)) == 3
    assert check_account(agent, emitted) == [Gap(bus.epoch, 0, lost - 1, lost, "store-unavailable")]
    check_ids_kept(before, rows_by_id(agent))


def test_killed_while_a_damaged_file_is_put_aside(agent: Agent, bus: Bus) -> None:
    """At any line: whoever comes next ends what was begun, and no byte of the old file is gone."""
    seed = random.randrange(1 << 32)
    print("seed", seed)
    dice = random.Random(seed)
    with serving(agent):
        emit_notes(bus, LAPS)
        wait_stored(bus)
    before = rows_by_id(agent)
    for turn in range(20):
        emit_notes(bus, 1, first=LAPS + turn)  # or it is not noticed
        damage_events(agent)
        damaged = agent.database.read_bytes()

        def run(child: Child) -> None:
            die_at(dice.randrange(1, 700))
            store_all(agent)

        with Child(run) as child:
            child.end()
        store_all(agent)
        assert damaged in {path.read_bytes() for path in put_aside(agent)}
        lost = floor(agent)
        (gap,) = check_account(agent, LAPS + turn + 1)
        assert (gap.from_, gap.missed) == (0, lost)  # why, only who put it aside knew
        check_ids_kept(before, rows_by_id(agent))


def test_purged_history_leaves_no_damaged_file(agent: Agent, bus: Bus) -> None:
    """And the next one begins from nothing."""
    with serving(agent):
        emit_notes(bus, LAPS)
        wait_stored(bus)
    damage_events(agent)
    with serving(agent):
        emit_notes(bus, 1, first=LAPS)
        wait_stored(bus)
    assert put_aside(agent)
    removed = ringbus("rm", agent.name, "--purge", "--state", str(agent.state))
    assert removed.returncode == 0, removed.stderr
    assert list(agent.state.iterdir()) == []


def test_file_of_another_kind_is_left_alone(tmp_path: Path, agent: Agent, bus: Bus) -> None:
    """A setting that names it by mistake costs nobody a file."""
    notes = tmp_path / "notes.txt"
    notes.write_text("remember the milk\n" * 100)
    with pytest.raises(Exception, match="not a database") as caught:
        History.open(notes, agent.name, write=True)
    assert not is_damaged(notes, caught.value)
    assert is_damaged(tmp_path / "notes.sqlite", caught.value)
