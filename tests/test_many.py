"""Many of everything: a thousand lanes, every lane and every gate in use at once."""

from __future__ import annotations

import os
from collections import Counter

import pytest
from helpers import Child, check, fill, fill_to_the_gate, payload, read_all, wait_until

from ringbus import BackPressure, Ring
from ringbus.errors import LimitReached
from ringbus.ring.stalls import Stall

LANES = [(64 << 10, 8), (128 << 10, 16), (256 << 10, 32), (1 << 20, 64), (4 << 20, 128)]


def emit_and_die(name: str, who: int) -> None:
    """In a process of its own: a record is out, and a block is in hand."""
    pid = os.fork()
    if pid == 0:
        try:
            Ring.open(name).emit(payload(who, 0, 100))
        finally:
            os.kill(os.getpid(), 9)
    os.waitpid(pid, 0)


def test_thousand_lanes_one_after_the_other_leak_nothing(ring_name: str) -> None:
    """Every twentieth is killed with a block in hand: lanes and blocks come back, records stay."""
    with Ring.create(ring_name, size=1 << 20) as ring:
        lanes = set()
        for who in range(1000):
            if who % 20 == 19:
                emit_and_die(ring_name, who)
                continue
            with Ring.open(ring_name) as brief:
                assert brief.emit(payload(who, 0, 100)) == who
                lanes |= {lane.index for lane in brief.stats().lanes}
        assert lanes == {0}  # the lowest free one each time: nobody has to look further
        with Ring.open(ring_name) as last:
            last.emit(b"x" * 100)  # who opens an emitter takes back what the dead left
        stats = ring.stats()
        assert (stats.lanes, stats.blocks_free) == ([], stats.blocks)
        with ring.subscribe("oldest") as subscriber:
            records, missed = read_all(subscriber)
        assert missed == 0
        found = [check(record.payload)[0] for record in records[:-1]]
        assert found == list(range(1000))


def test_thousand_lanes_beside_each_other_leak_nothing(ring_name: str) -> None:
    """Four processes open, emit and close, and are killed at any moment, a thousand in all."""

    def churn(child: Child) -> None:
        while True:
            with Ring.open(ring_name) as brief:
                brief.emit(payload(os.getpid() % 1000, 0, 300))

    with Ring.create(ring_name, size=64 << 10) as ring:
        while ring.tail < 1000:
            children = [Child(churn) for _ in range(4)]
            start = ring.tail
            wait_until(lambda start=start: ring.tail > start + 20)
            for child in children:
                child.__exit__(None, None, None)
        with Ring.open(ring_name) as last:
            last.emit(b"x")
        stats = ring.stats()
        assert (stats.lanes, stats.blocks_free) == ([], stats.blocks)


def test_sixty_four_processes_emit_at_once(ring_name: str) -> None:
    """Each record of each is there once, in its emitter's order."""
    count = 100

    def emit(who: int, child: Child) -> None:
        with Ring.open(ring_name) as mine:
            mine.emit(payload(who, 0, 200))
            child.say("ready")
            child.hear()
            for number in range(1, count):
                mine.emit(payload(who, number, 200))
            child.say("done")
            child.hear()

    with Ring.create(ring_name, size=4 << 20) as ring:
        children = [Child(lambda child, who=who: emit(who, child)) for who in range(64)]
        try:
            for child in children:
                assert child.said() == "ready"
            assert len(ring.stats().lanes) == 64
            assert len({lane.pid for lane in ring.stats().lanes}) == 64
            for child in children:
                child.tell("go")
            for child in children:
                assert child.said(60) == "done"
            with ring.subscribe("oldest") as subscriber:
                records, missed = read_all(subscriber)
            assert (missed, len(records)) == (0, 64 * count)
            seen: Counter[int] = Counter()
            for record in records:
                who, number = check(record.payload)
                assert number == seen[who]
                seen[who] += 1
            for child in children:
                child.tell("end")
                child.finish()
        finally:
            for child in children:
                child.__exit__(None, None, None)
        assert ring.stats().blocks_free == ring.stats().blocks


@pytest.mark.parametrize(("size", "lanes"), LANES)
def test_one_emitter_too_many_is_told_the_limit_and_what_to_do(
    ring_name: str, size: int, lanes: int
) -> None:
    """The others run on, reading is as ever, and a lane that becomes free is taken."""
    with Ring.create(ring_name, size=size) as ring:
        handles = [Ring.open(ring_name) for _ in range(lanes)]
        for number, handle in enumerate(handles):
            assert handle.emit(b"x") == number
        with pytest.raises(
            LimitReached,
            match=rf"'{ring_name}' has no lane left .*: {lanes} at most; .*ringbus stats.*4 MiB",
        ):
            ring.emit(b"one too many")
        with ring.subscribe("oldest") as subscriber:
            assert len(read_all(subscriber)[0]) == lanes
        assert handles[0].emit(b"y") == lanes
        handles.pop().close()
        assert ring.emit(b"z") == lanes + 1
        for handle in handles:
            handle.close()


def test_lane_of_a_killed_process_is_free_at_once(ring_name: str) -> None:
    """All lanes of a small ring in one process, which is killed."""

    def hold(child: Child) -> None:
        handles = [Ring.open(ring_name) for _ in range(8)]
        for handle in handles:
            handle.emit(b"x")
        child.say("ready")
        child.hear()

    with Ring.create(ring_name, size=64 << 10) as ring, Child(hold) as child:
        child.said()
        with pytest.raises(LimitReached):
            ring.emit(b"x")
        child.kill()
        assert ring.emit(b"x") == 8


def test_seventeenth_gate_is_refused_and_disturbs_nobody(ring: Ring) -> None:
    """The message names the limit and how to find the others."""
    gates = [ring.subscribe(gate=f"gate {number}") for number in range(16)]
    with pytest.raises(
        LimitReached, match=rf"'{ring.name}' has no place .* gate: 16 at most; .*ringbus stats"
    ):
        ring.subscribe(gate="one too many")
    assert not ring.has_gate("one too many")
    assert [gate.name for gate in ring.gates()] == [f"gate {number}" for number in range(16)]
    ring.emit(b"x")
    assert all(len(gate.read(timeout=0)) == 1 for gate in gates)
    gates.pop().close()
    with ring.subscribe(gate="one more"):
        pass
    for gate in gates:
        gate.close()


def test_all_sixteen_places_serve_again_after_burial(ring: Ring) -> None:
    """The gates of a killed process are taken out or pushed on, told by name, and replaced."""

    def hold(child: Child) -> None:
        with Ring.open(ring.name) as mine:
            gates = [mine.subscribe(gate=f"old {number}") for number in range(16)]
            child.say(len(gates))
            child.hear()

    for _ in range(2):
        with Child(hold) as child:
            assert child.said() == "16"
            child.kill()
        fill_to_the_gate(ring)
        assert len(ring.gates()) == 16
        told: list[Stall] = []
        with Ring.open(ring.name, policy="block", limit=0.05, on_stall=told.append) as mine:
            fill(mine, 1.5)
        assert sorted({stall.gate for stall in told if not stall.dead}) == sorted(
            f"old {number}" for number in range(16)
        )
        assert not any(gate.alive for gate in ring.gates())
    gates = [ring.subscribe(gate=f"new {number}") for number in range(16)]
    assert [gate.name for gate in ring.gates() if gate.alive] == [f"new {n}" for n in range(16)]
    fill_to_the_gate(ring)
    with Ring.open(ring.name, policy="fail") as mine, pytest.raises(BackPressure, match="'new"):
        mine.emit(bytes(500))
    for gate in gates:
        gate.close()
