"""What a user can do who may only read a ring: everything that stores nothing."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import Child, check, is_asleep, payload, wait_until
from others import GROUP, become_other, need_root

import ringbus
from ringbus import NotPermitted, Ring, RingUnlinked
from ringbus._native import lib
from ringbus.removal import collect


@pytest.fixture
def shared(ring_name: str) -> Iterator[Ring]:
    """A ring that the group GROUP may read."""
    need_root()
    with Ring.create(ring_name, size=64 << 10, mode=0o640, group=GROUP) as ring:
        yield ring


def file_of(name: str) -> Path:
    return Path(f"/dev/shm/ringbus.{name}")


def test_reader_of_the_group_sees_everything(shared: Ring) -> None:
    """Statistics, gates, records old and new, waiting: nothing of it stores, nothing crashes."""
    shared.emit_many([payload(1, number, 100) for number in range(5)])

    def read(child: Child) -> None:
        become_other()
        with Ring.open(shared.name) as ring, ring.subscribe("oldest") as subscriber:
            assert ring.read_only
            assert mappings(shared.name) == {"r--s"}
            stats = ring.stats()
            assert (stats.tail, stats.kept, len(stats.lanes)) == (5, 5, 1)
            assert [gate.name for gate in ring.gates()] == ["g"]
            assert (ring.has_gate("g"), ring.is_linked(), ring.is_attached()) == (True, True, True)
            assert (ring.flags, ring.database()) == (0, None)
            assert [check(record.payload) for record in subscriber.read()] == [
                (1, number) for number in range(5)
            ]
            assert subscriber.read(timeout=0.05) == []
            child.say("waiting")
            (record,) = subscriber.read()
            child.say(check(record.payload))
            assert (subscriber.lag, subscriber.missed) == (0, 0)

    with shared.subscribe(gate="g"), Child(read) as child:
        assert child.said() == "waiting"
        wait_until(child.is_asleep)
        shared.emit(payload(2, 7, 100))
        assert child.said() == "(2, 7)"
        child.finish()


def mappings(name: str) -> set[str]:
    """How this process has mapped the ring."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return {line.split()[1] for line in lines if line.endswith(str(file_of(name)))}


def test_reader_is_refused_whatever_stores(shared: Ring) -> None:
    """The message names ring, file, mode and remedy; the ring stays as it is."""

    def try_all(child: Child) -> None:
        become_other()
        with Ring.open(shared.name) as ring:
            for use in (
                lambda: ring.emit(b"x"),
                lambda: ring.emit_many([b"x"]),
                lambda: ring.subscribe(gate="mine"),
                lambda: ring.change_flags(set=lib.RB_FLAG_AGENT),
            ):
                with pytest.raises(NotPermitted) as caught:
                    use()
                child.say(str(caught.value))
            with pytest.raises(NotPermitted, match=r"may not be removed by user .*its owner"):
                ringbus.unlink(ring.name)

    before = file_of(shared.name).read_bytes()
    with Child(try_all) as child:
        for _ in range(4):
            assert re.search(
                f"ring '{shared.name}' is read-only for user .*/dev/shm/ringbus.{shared.name} "
                "belongs to root, group 54321, mode 0640; .*mode=0o660",
                child.said(),
            )
        child.finish()
    assert file_of(shared.name).read_bytes() == before


def test_whoever_may_not_even_read_is_told_so(ring: Ring) -> None:
    """Another user's ring is not taken for a missing one."""
    need_root()

    def open_all(child: Child) -> None:
        become_other()
        for use in (Ring.open, Ring.open_or_create, ringbus.unlink):
            with pytest.raises(PermissionError, match=f"'{ring.name}' may not be read.*mode 0600"):
                use(ring.name)
        child.say("told")

    with Child(open_all) as child:
        assert child.said() == "told"
        child.finish()


def test_member_of_a_writing_group_does_everything_but_remove(ring_name: str) -> None:
    """/dev/shm is sticky: only the owner of a file removes it, and the ring stays unmarked."""

    def use(child: Child) -> None:
        become_other()
        with Ring.open(ring_name) as ring, ring.subscribe(gate="mine") as gate:
            assert not ring.read_only
            assert ring.emit(b"x") == 0
            assert len(gate.read()) == 1
            gate.advance(1)
            with pytest.raises(NotPermitted, match=r"may not be removed by user .*owner or"):
                ringbus.unlink(ring_name)
            assert ring.emit(b"y") == 1

    need_root()
    with Ring.create(ring_name, size=64 << 10, mode=0o660, group=GROUP) as ring:
        with Child(use) as child:
            child.finish()
        assert ring.tail == 2


def test_read_only_handle_may_be_asked_for(ring: Ring) -> None:
    """Whoever wants to be sure to change nothing; the message then tells how to get another."""
    ring.emit(b"x")
    with Ring.open(ring.name, read_only=True) as reader, reader.subscribe(0) as subscriber:
        assert (reader.read_only, ring.read_only) == (True, False)
        assert [record.payload for record in subscriber.read()] == [b"x"]
        for use in (lambda: reader.emit(b"y"), lambda: reader.subscribe(gate="g")):
            with pytest.raises(NotPermitted, match=f"handle on ring '{ring.name}' is read-only"):
                use()
        with pytest.raises(ringbus.RingbusError, match="out of range"):
            subscriber.advance(1)
    assert ring.tail == 1
    assert ring.gates() == []


def test_read_only_sleeper_wakes_by_itself_and_with_others(ring: Ring) -> None:
    """It wakes whether or not another sleeper's bit makes the emitter call the kernel."""

    def read(child: Child) -> None:
        with Ring.open(ring.name, read_only=True) as mine, mine.subscribe() as subscriber:
            for _ in range(40):
                child.say("ready")
                (record,) = subscriber.read()
                child.say(record.seq)

    with Child(read) as child, ring.subscribe() as other:
        for number in range(40):
            assert child.said() == "ready"
            if number % 2:
                assert other.read(timeout=0.001) is not None  # announces a sleeper, and leaves
            wait_until(child.is_asleep)
            ring.emit(b"x")
            assert child.said() == str(number)
            other.read(timeout=0)
        child.finish()


def test_idle_reader_beside_another_sleeper_hardly_ever_wakes(ring: Ring) -> None:
    """With somebody's bit set it sleeps like any other; alone it looks fifty times a second."""

    def sleep(child: Child) -> None:
        with Ring.open(ring.name, read_only=True) as mine, mine.subscribe() as subscriber:
            child.say("ready")
            before = voluntary_switches()
            assert subscriber.read(timeout=1) == []
            child.say(voluntary_switches() - before)

    with ring.subscribe() as other:
        other.read(timeout=0.001)
        with Child(sleep) as child:
            child.said()
            assert int(child.said()) < 10
            child.finish()


def voluntary_switches() -> int:
    found = re.search(
        r"^voluntary_ctxt_switches:\s+(\d+)", Path("/proc/self/status").read_text(), re.MULTILINE
    )
    assert found is not None
    return int(found[1])


def test_reader_learns_that_the_ring_was_removed(shared: Ring) -> None:
    """By its mark, and by its name when the file was removed by hand."""

    def read(child: Child) -> None:
        become_other()
        with Ring.open(shared.name) as ring, ring.subscribe() as subscriber:
            child.say("ready")
            with pytest.raises(RingUnlinked, match=shared.name):
                subscriber.read()
            assert not ring.is_linked()

    for remove in (lambda: file_of(shared.name).unlink(), lambda: ringbus.unlink(shared.name)):
        with Child(read) as child:
            child.said()
            wait_until(child.is_asleep)
            remove()
            child.finish()
        if not file_of(shared.name).exists():
            Ring.create(shared.name, size=64 << 10, mode=0o640, group=GROUP).close()


def test_reader_keeps_the_ring_from_being_collected(shared: Ring, tmp_path: Path) -> None:
    """It counts as attached; its own `gc` leaves the ring alone."""

    def read(child: Child) -> None:
        become_other()
        assert shared.name not in collect(tmp_path / "none", force=True)
        with Ring.open(shared.name):
            child.say("ready")
            child.hear()

    with Child(read) as child:
        child.said()
        shared.close()
        with Ring.open(shared.name, observer=True) as ring:
            assert ring.is_attached()
            child.kill()
            wait_until(lambda: not ring.is_attached())


def test_forked_reader_is_refused_and_close_ends_its_sleep(ring: Ring) -> None:
    """A read-only handle keeps the rules of any other."""
    with Ring.open(ring.name, read_only=True) as reader:
        subscriber = reader.subscribe()

        def use(child: Child) -> None:
            for refused in (lambda: subscriber.read(timeout=0), reader.stats):
                with pytest.raises(ringbus.RingForked):
                    refused()

        with Child(use) as child:
            child.finish()
        errors: list[BaseException] = []

        def sleep() -> None:
            try:
                subscriber.read()
            except ringbus.RingClosed as error:
                errors.append(error)

        thread = threading.Thread(target=sleep)
        thread.start()
        wait_until(lambda: is_asleep(thread))
        subscriber.close()
        thread.join(20)
        assert len(errors) == 1


def test_stopped_and_killed_readers_disturb_nobody(ring: Ring) -> None:
    """They hold nothing that anybody waits for."""

    def read(child: Child) -> None:
        with Ring.open(ring.name, read_only=True) as mine, mine.subscribe() as subscriber:
            child.say("ready")
            while True:
                try:
                    subscriber.read()
                except ringbus.Lapped:
                    continue

    with Child(read) as stopped, Child(read) as killed:
        stopped.said()
        killed.said()
        os.kill(stopped.pid, signal.SIGSTOP)
        killed.kill()
        for number in range(5000):
            ring.emit(payload(1, number, 200))
        assert ring.stats().blocks_free >= ring.stats().blocks - 1
