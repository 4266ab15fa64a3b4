"""Gates: what emitters do when one is a whole ring behind, alive, stopped, dead or replaced."""

from __future__ import annotations

import threading
import time
import warnings

import pytest
from helpers import Child, check, fill, fill_to_the_gate, payload, read_all, seqs, wait_until

from ringbus import BackPressure, GateTaken, Lapped, Ring, RingbusError
from ringbus.errors import LimitReached
from ringbus.ring.stalls import Stall

SHORT = 0.1  # seconds
LONG = 300.0


def hold_gate(child: Child, name: str, gate: str = "g") -> None:
    with Ring.open(name) as ring, ring.subscribe(gate=gate):
        child.say("ready")
        child.hear()


def test_gate_is_never_lapped_under_block_or_fail(ring: Ring) -> None:
    """It reads every record, though the ring goes round many times."""
    with ring.subscribe(gate="g") as gate, Ring.open(ring.name, policy="fail") as mine:
        emitted, read, stalls = 0, [], 0
        while emitted < 3000:
            try:
                mine.emit(payload(1, emitted, 200))
                emitted += 1
            except BackPressure:
                stalls += 1
                records = gate.read(50, 0)
                read += [check(record.payload)[1] for record in records]
                gate.advance(records[-1].seq + 1)
        read += [check(record.payload)[1] for record in read_all(gate)[0]]
    assert stalls > 10
    assert read == list(range(3000))


def test_fail_names_the_gate_and_its_lag(ring: Ring) -> None:
    """Nothing is published, and the error says who is in the way, by how much."""
    with ring.subscribe(gate="slow one"), Ring.open(ring.name, policy="fail") as mine:
        tail = fill_to_the_gate(ring)
        with pytest.raises(BackPressure, match=f"'slow one' of ring '{ring.name}'") as caught:
            mine.emit(bytes(500))
        assert (caught.value.gate, caught.value.lag, caught.value.published) == (
            "slow one",
            tail,
            0,
        )
        assert ring.tail == tail


def test_fail_tells_how_many_of_emit_many_are_out(ring: Ring) -> None:
    """What fitted before the gate is published and counted."""
    with ring.subscribe(gate="g"), Ring.open(ring.name, policy="fail") as mine:
        with pytest.raises(BackPressure) as caught:
            mine.emit_many([bytes(500)] * 1000)
        assert 0 < caught.value.published == ring.tail < 1000


def test_fail_waits_its_limit(ring: Ring) -> None:
    """With a limit it gives the gate that time."""
    with ring.subscribe(gate="g"), Ring.open(ring.name, policy="fail", limit=SHORT) as mine:
        tail = fill_to_the_gate(ring)
        with pytest.raises(BackPressure):
            mine.emit(bytes(500))
        assert ring.tail == tail


def test_drop_pushes_the_gate_on_at_once(ring: Ring) -> None:
    """Emits never fail or wait; the gate gets `Lapped` with the exact number, at the floor."""
    with ring.subscribe(gate="g") as gate:
        emitted = fill(ring, 4)
        with pytest.raises(Lapped) as caught:
            gate.read(timeout=0)
        assert caught.value.missed == caught.value.next_seq == ring.floor
        assert gate.missed == caught.value.missed
        records, missed = read_all(gate)
        assert (missed, seqs(records)) == (0, list(range(ring.floor, emitted)))


def test_block_pushes_the_gate_on_after_its_limit_and_tells_once(ring: Ring) -> None:
    """It waits once, tells who was pushed, and does not wait for that gate again."""
    told: list[Stall] = []
    with (
        ring.subscribe(gate="g") as gate,
        Ring.open(ring.name, policy="block", limit=SHORT, on_stall=told.append) as mine,
    ):
        tail = fill_to_the_gate(ring)
        fill(mine, 3, 500)
        assert told == [Stall("g", tail, dead=False)]
        with pytest.raises(Lapped) as caught:
            gate.read(timeout=0)
        assert caught.value.next_seq == ring.floor


def test_pushed_gate_is_waited_for_again_once_it_has_moved(ring: Ring) -> None:
    """Moving by itself earns it the next wait."""
    told: list[Stall] = []
    with (
        ring.subscribe(gate="g") as gate,
        Ring.open(ring.name, policy="block", limit=SHORT, on_stall=told.append) as mine,
    ):
        for turns in (1, 2, 3):
            fill(mine, 3, 500)
            assert len(told) == turns
            with pytest.raises(Lapped):
                gate.read(timeout=0)
            gate.advance(gate.read(10, 0)[-1].seq + 1)


def test_gate_pushed_by_one_emitter_is_not_waited_for_by_another(ring: Ring) -> None:
    """That it was pushed stands in the ring."""
    told: list[Stall] = []
    with ring.subscribe(gate="g"):
        with Ring.open(ring.name, policy="block", limit=SHORT, on_stall=told.append) as one:
            fill(one, 2, 500)
        with Ring.open(ring.name, policy="block", limit=LONG, on_stall=told.append) as two:
            fill(two, 2, 500)
    assert len(told) == 1


def test_pushing_warns_by_default(ring: Ring) -> None:
    """A `RuntimeWarning` names the gate."""
    with (
        ring.subscribe(gate="g"),
        Ring.open(ring.name, policy="block", limit=0) as mine,
        warnings.catch_warnings(record=True) as caught,
    ):
        warnings.simplefilter("always")
        fill(mine, 2, 500)
    assert len(caught) == 1
    assert "gate 'g' was" in str(caught[0].message)


def test_each_record_of_emit_many_has_a_stall_of_its_own(ring: Ring) -> None:
    """A gate that keeps moving is never pushed, however long the whole emit_many() takes."""
    told: list[Stall] = []
    pace, count = 0.05, 40
    # Each record fills a quarter of the ring: all but the first ones wait for the gate.
    entries = [payload(1, number, 10_000) for number in range(count)]
    with (
        ring.subscribe(gate="g") as gate,
        Ring.open(ring.name, policy="block", limit=1.0, on_stall=told.append) as mine,
    ):
        thread = threading.Thread(target=mine.emit_many, args=(entries,))
        begin = time.monotonic()
        thread.start()
        for number in range(count):
            (record,) = gate.read(1, 20)
            assert check(record.payload) == (1, number)
            # Slower than the limit allows for all of them, much faster than for one.
            wait_until(lambda number=number: time.monotonic() - begin > number * pace)
            gate.advance(record.seq + 1)
        thread.join(20)
        assert not thread.is_alive()
    assert told == []


def test_slower_of_two_gates_holds_emitters(ring: Ring) -> None:
    """The one that is in the way is named, then the other."""
    with (
        ring.subscribe(gate="ahead") as ahead,
        ring.subscribe(gate="behind") as behind,
        Ring.open(ring.name, policy="fail") as mine,
    ):
        tail = fill_to_the_gate(ring)
        ahead.advance(tail)
        with pytest.raises(BackPressure) as caught:
            mine.emit(bytes(500))
        assert caught.value.gate == "behind"
        behind.advance(tail)
        fill_to_the_gate(ring)
        ahead.advance(tail + 1)
        with pytest.raises(BackPressure) as caught:
            mine.emit(bytes(500))
        assert caught.value.gate == "behind"


def test_both_of_two_pushed_gates_are_told(ring: Ring) -> None:
    """Each by its own name, though one emit met both."""
    told: list[Stall] = []
    with (
        ring.subscribe(gate="a"),
        ring.subscribe(gate="b"),
        Ring.open(ring.name, policy="block", limit=0, on_stall=told.append) as mine,
    ):
        fill(mine, 2, 500)
    assert sorted(stall.gate for stall in told) == ["a", "b"]


def test_gate_moves_only_forward_and_not_beyond_the_tail(ring: Ring) -> None:
    """Back is ignored, beyond is refused."""
    ring.emit_many([b"x"] * 5)
    with ring.subscribe(gate="g") as gate:
        assert [g.cursor for g in ring.gates()] == [5]
        ring.emit_many([b"x"] * 5)
        gate.advance(8)
        gate.advance(6)
        assert [g.cursor for g in ring.gates()] == [8]
        with pytest.raises(RingbusError, match="out of range"):
            gate.advance(11)
        gate.advance(10)
        assert [(g.cursor, g.lag) for g in ring.gates()] == [(10, 0)]


def test_reading_does_not_move_a_gate(ring: Ring) -> None:
    """Only advance() lets records go: what was read may not be stored yet."""
    with ring.subscribe(gate="g") as gate:
        ring.emit_many([b"x"] * 5)
        assert len(gate.read(timeout=0)) == 5
        assert [g.cursor for g in ring.gates()] == [0]


@pytest.mark.parametrize("name", ["", "x" * 64, "ü" * 32])
def test_gate_name_has_1_to_63_bytes(ring: Ring, name: str) -> None:
    """Longer ones do not fit beside the gate."""
    with pytest.raises(ValueError, match="1 to 63 bytes"):
        ring.subscribe(gate=name)


def test_gate_of_another_process_cannot_be_taken(ring: Ring) -> None:
    """Neither while it runs nor while it is stopped; when it is dead, yes."""
    with Child(lambda child: hold_gate(child, ring.name)) as child:
        child.said()
        assert ring.has_gate("g")
        with pytest.raises(GateTaken, match="'g'"):
            ring.subscribe(gate="g")
        child.stop()
        with pytest.raises(GateTaken, match="'g'"):
            ring.subscribe(gate="g")
        child.kill()
        assert not ring.has_gate("g")
        with ring.subscribe(gate="g"):
            assert ring.has_gate("g")


def test_stopped_gate_holds_emitters_until_the_limit(ring: Ring) -> None:
    """Under "fail" for ever; under "block" for the limit, after which its owner gets `Lapped`."""

    def hold(child: Child) -> None:
        with Ring.open(ring.name) as mine, mine.subscribe(gate="g") as gate:
            child.say("ready")
            child.hear()
            with pytest.raises(Lapped) as caught:
                gate.read(timeout=0)
            child.say(caught.value.next_seq)
            records, missed = read_all(gate)
            child.say(f"{len(records)} {missed}")

    with Child(hold) as child:
        child.said()
        child.stop()
        for _ in range(3):
            tail = fill_to_the_gate(ring)
        assert [(gate.alive, gate.lag) for gate in ring.gates()] == [(True, tail)]
        told: list[Stall] = []
        with Ring.open(ring.name, policy="block", limit=SHORT, on_stall=told.append) as mine:
            fill(mine, 2, 500)
        assert told == [Stall("g", tail, dead=False)]
        floor, tail = ring.floor, ring.tail
        child.go_on()
        child.tell("read")
        assert int(child.said()) == floor
        assert child.said() == f"{tail - floor} 0"
        child.finish()


def test_dead_gate_keeps_its_place_for_the_grace_and_is_then_taken_out(ring: Ring) -> None:
    """The emitter tells of it when it meets it, waits, tells again, and goes on."""
    told: list[Stall] = []
    with Child(lambda child: hold_gate(child, ring.name)) as child:
        child.said()
        child.kill()
    tail = fill_to_the_gate(ring)
    assert [(gate.name, gate.alive, gate.cursor) for gate in ring.gates()] == [("g", False, 0)]
    with Ring.open(ring.name, policy="block", limit=SHORT, on_stall=told.append) as mine:
        mine.emit(payload(1, 0, 500))
    assert told == [Stall("g", tail, dead=True), Stall("g", tail, dead=False)]
    assert ring.gates() == []


def test_kept_gate_stands_until_its_successor_comes(ring: Ring) -> None:
    """A new gate of the name takes the place over while an emitter waits: nothing is lost."""
    old = ring.subscribe(gate="g")
    old.close(keep=True)
    assert [(gate.name, gate.alive) for gate in ring.gates()] == [("g", False)]
    tail = fill_to_the_gate(ring)

    def emit(child: Child) -> None:
        with Ring.open(ring.name, policy="block", limit=LONG) as mine:
            child.say("ready")
            mine.emit(b"late".ljust(500))
            child.say("out")

    with Child(emit) as child:
        assert child.said() == "ready"
        wait_until(child.is_asleep)
        with ring.subscribe(0, gate="g") as successor:
            records, missed = read_all(successor)
            assert (seqs(records), missed, successor.missed) == (list(range(tail)), 0, 0)
            assert [gate.name for gate in ring.gates()] == ["g"]
            successor.advance(tail)
            assert child.said() == "out"
            assert [record.payload.strip() for record in successor.read(timeout=0)] == [b"late"]
        child.finish()


def test_successor_may_start_further_on(ring: Ring) -> None:
    """It says where it goes on: what lies before is free."""
    ring.subscribe(gate="g").close(keep=True)
    tail = fill_to_the_gate(ring)
    with ring.subscribe(tail, gate="g"), Ring.open(ring.name, policy="fail") as mine:
        mine.emit(bytes(500))


def test_gate_that_starts_below_the_floor_missed_what_is_gone(ring: Ring) -> None:
    """It stands at the floor and says how much went before."""
    fill(ring, 3)
    with ring.subscribe(0, gate="g") as gate:
        assert gate.missed == gate.cursor == ring.floor > 0
        assert [g.cursor for g in ring.gates()] == [ring.floor]


def test_place_of_passed_dead_gates_is_used_again(ring: Ring) -> None:
    """Dead gates of other names that emitters have pushed on do not fill the table for ever."""
    for number in range(16):
        ring.subscribe(gate=f"dead {number}").close(keep=True)
    with pytest.raises(LimitReached, match="16 at most"):
        ring.subscribe(gate="new")
    fill(ring, 3)  # pushes all of them on
    with ring.subscribe(gate="new"):
        assert "new" in [gate.name for gate in ring.gates() if gate.alive]
        assert len(ring.gates()) == 16


def test_gates_come_and_go_beside_running_emitters(ring: Ring) -> None:
    """A gate that registers while the floor is being raised is never passed unnoticed."""

    def emit_for_ever(child: Child) -> None:
        with Ring.open(ring.name, policy="block", limit=LONG) as mine:
            child.say("ready")
            number = 0
            while True:
                mine.emit(payload(1, number, 700))
                number += 1

    with Child(emit_for_ever) as one, Child(emit_for_ever) as two:
        one.said()
        two.said()
        for _ in range(300):
            with ring.subscribe("oldest", gate="g") as gate:
                at = gate.cursor
                for _ in range(3):
                    records = gate.read(20, 10)
                    assert seqs(records) == list(range(at, at + len(records)))
                    assert all(check(record.payload) for record in records)
                    at += len(records)
                    gate.advance(at)


def test_incarnations_of_a_gate_never_repeat_at_once(ring: Ring) -> None:
    """A gate's word after closing and registering anew at the same place is another one."""
    cursors = set()
    for _ in range(3):
        with ring.subscribe(0, gate="g") as gate:
            cursors.add(gate_word(ring))
            assert gate.cursor == 0
    assert len(cursors) == 3


def gate_word(ring: Ring) -> int:
    """The first gate's word, out of the file: it stands behind two pages and the database area."""
    with open(f"/dev/shm/ringbus.{ring.name}", "rb") as file:  # noqa: PTH123
        file.seek(2 * 4096 + 128 + 2 * 4096)
        word = int.from_bytes(file.read(8), "little")
    assert word != 0
    return word
