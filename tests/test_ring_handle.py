"""A handle on a ring: what it tells, what it refuses, and how it ends."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import pytest
from helpers import block_size, fill, read_all, seqs, wait_until

from ringbus import Ring, RingbusError, RingClosed, _native
from ringbus._native import lib

KIB, MIB = 1 << 10, 1 << 20


def test_ring_keeps_nearly_its_size(ring: Ring) -> None:
    """What is kept is the newest records: all blocks but two for each active emitter."""
    fill(ring, 5, 200)
    stats = ring.stats()
    cells = -(-(200 + 32) // 64) * 64
    assert stats.kept * cells >= (stats.blocks - 2) * block_size(ring) * 0.95
    assert stats.kept == stats.tail - stats.floor
    with ring.subscribe("oldest") as subscriber:
        records, missed = read_all(subscriber)
    assert (seqs(records), missed) == (list(range(stats.floor, stats.tail)), 0)


def test_stats_name_what_there_is(ring_name: str) -> None:
    """Sizes, numbers, emitters and gates, alive or not."""
    with Ring.create(ring_name, size=MIB) as ring:
        before = ring.stats()
        assert (before.name, before.epoch, before.size) == (ring_name, ring.epoch, MIB)
        assert (before.max_payload, before.floor, before.tail, before.kept) == (MIB // 4, 0, 0, 0)
        assert (before.lanes, before.gates, before.database) == ([], [], None)
        assert before.attached
        assert before.blocks == before.blocks_free
        with ring.subscribe(gate="g") as gate, Ring.open(ring_name) as other:
            ring.emit_many([b"x"] * 10)
            other.emit(b"y")
            gate.advance(4)
            stats = ring.stats()
            assert [lane.alive for lane in stats.lanes] == [True, True]
            assert [lane.index for lane in stats.lanes] == [0, 1]
            assert stats.blocks_free == stats.blocks - 2
            (standing,) = stats.gates
            assert (standing.name, standing.alive) == ("g", True)
            assert (standing.cursor, standing.lag) == (4, 7)
            assert 0 < standing.since_ns <= standing.moved_ns
        assert ring.stats().gates == []
        assert len(ring.stats().lanes) == 1


def test_use_after_close_raises(ring_name: str) -> None:
    """Everything but closing again is a `RingClosed` that names the ring."""
    ring = Ring.create(ring_name, size=64 * KIB)
    fresh = Ring.open(ring_name)
    ring.emit(b"x")
    subscriber, gate = ring.subscribe(), ring.subscribe(gate="g")
    for handle in (ring, fresh, subscriber, gate):
        handle.close()
        handle.close()
    for use in (
        lambda: ring.emit(b"x"),
        lambda: ring.emit_many([b"x"]),
        lambda: fresh.emit(b"x"),
        lambda: ring.tail,
        ring.stats,
        ring.subscribe,
        lambda: subscriber.read(timeout=0),
        lambda: subscriber.wait(0),
        lambda: subscriber.cursor,
        lambda: next(subscriber),
        lambda: gate.advance(0),
    ):
        with pytest.raises(RingClosed, match=ring_name):
            use()


def test_closed_while_others_emit(ring_name: str) -> None:
    """A close from one thread in the midst of another's emits: each is out, or refused."""

    def emit(ring: Ring, out: list[int]) -> None:
        try:
            while True:
                out.append(ring.emit(b"x" * 100))
        except RingClosed:
            pass

    for _ in range(20):
        out: list[int] = []
        with Ring.open_or_create(ring_name, size=64 * KIB) as ring:
            threads = [threading.Thread(target=emit, args=(ring, out)) for _ in range(3)]
            for thread in threads:
                thread.start()
            wait_until(lambda out=out: out)
            ring.close()
            for thread in threads:
                thread.join(20)
                assert not thread.is_alive()
        with Ring.open(ring_name) as again:
            assert again.tail == max(out) + 1
            assert again.stats().blocks_free == again.stats().blocks


@pytest.mark.parametrize("limit", [-1, float("nan"), float("inf"), 1e10])
def test_limit_out_of_range_is_refused(ring: Ring, limit: float) -> None:
    """At once, not at the first stall."""
    with pytest.raises(ValueError, match="limit is 0 to"):
        Ring.open(ring.name, limit=limit)


def test_policy_of_another_name_is_refused(ring: Ring) -> None:
    """The message lists those that there are."""
    with pytest.raises(ValueError, match="block, drop, fail"):
        Ring.open(ring.name, policy="wait")


def statuses() -> dict[str, int]:
    header = Path(__file__).parent.parent.joinpath("csrc/ring.h").read_text()
    body = re.search(r"typedef enum \{([^}]*)\} rb_status;", header)
    assert body is not None
    return {name: int(number) for name, number in re.findall(r"(RB_\w+) = (\d+)", body[1])}


def test_every_status_is_an_exception_or_a_value() -> None:
    """Nothing that the core can say is left without a meaning in Python."""
    names = statuses()
    assert len(names) > 20
    for name, number in names.items():
        assert getattr(lib, name) == number
        assert (number in _native.ERRORS) != (number in _native.RESULTS), name
    assert set(_native.ERRORS) | _native.RESULTS == set(names.values())


@pytest.mark.parametrize("status", sorted(_native.ERRORS))
def test_message_of_every_status_names_the_ring(status: int) -> None:
    """Each is a `RingbusError` of its own words."""
    attributes = {
        lib.RB_TOO_LARGE: {"published": 0},
        lib.RB_BACK_PRESSURE: {"gate": "g", "lag": 1, "published": 0},
        lib.RB_POOL_EXHAUSTED: {"published": 0},
        lib.RB_LAPPED: {"missed": 1, "next_seq": 2},
    }
    error = _native.error(status, "some-ring", "of some-ring", **attributes.get(status, {}))
    assert isinstance(error, RingbusError)
    assert "some-ring" in str(error) or status == lib.RB_LAPPED
    assert "{" not in str(error)


def test_failed_system_call_is_an_os_error() -> None:
    """A negative status is an errno."""
    with pytest.raises(FileNotFoundError, match="some-ring"):
        _native.check(-2, "some-ring")
