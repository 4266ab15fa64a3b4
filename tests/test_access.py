"""Who may use a ring: mode and group of its file, and what a user can do who may only read it."""

from __future__ import annotations

import errno
import os
import pickle
import re
import signal
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers import Child, check, payload, wait_until
from missing import go_without

import ringbus
from ringbus import NotPermitted, Ring, RingUnlinked
from ringbus._native import lib

OTHER = 65534  # a user, and a group, of no account of ours
GROUP = 54321


@pytest.fixture
def as_other() -> Callable[[Child], None]:
    """Becomes another user, in the group GROUP only; for use in a child."""
    if os.geteuid() != 0:
        go_without("only root may become somebody else")

    def become(_: Child) -> None:
        os.setgroups([GROUP])
        os.setgid(OTHER)
        os.setuid(OTHER)

    return become


@pytest.fixture
def shared(ring_name: str) -> Iterator[Ring]:
    """A ring that the group GROUP may read."""
    if os.geteuid() != 0:
        go_without("only root may give a file to any group")
    with Ring.create(ring_name, size=64 << 10, mode=0o640, group=GROUP) as ring:
        yield ring


def file_of(name: str) -> Path:
    return Path(f"/dev/shm/ringbus.{name}")


def permissions(name: str) -> int:
    return stat.S_IMODE(file_of(name).stat().st_mode)


# Mode and group


@pytest.mark.parametrize("umask", [0, 0o022, 0o777])
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o660, 0o644, 0o666, 0o606])
def test_mode_is_what_was_asked_for_whatever_the_umask(
    ring_name: str, mode: int, umask: int
) -> None:
    """The umask neither widens nor narrows it."""
    before = os.umask(umask)
    try:
        with Ring.create(ring_name, size=64 << 10, mode=mode) as ring:
            assert permissions(ring_name) == mode
            assert ring.emit(b"x") == 0
    finally:
        os.umask(before)


def test_ring_is_its_creators_alone_unless_asked(ring: Ring) -> None:
    """Mode 0600 and the creator's own group."""
    status = file_of(ring.name).stat()
    assert (permissions(ring.name), status.st_uid, status.st_gid) == (
        0o600,
        os.geteuid(),
        os.getegid(),
    )


@pytest.mark.parametrize(
    "mode", [0, 0o400, 0o440, 0o700, 0o755, 0o620, 0o602, 0o650, 0o1600, 0o4600, -1, 640]
)
def test_mode_that_makes_no_sense_is_refused(ring_name: str, mode: int) -> None:
    """A ring is read, or read and written; the message gives good ones, and nothing is made."""
    with pytest.raises(ValueError, match=r"mode -?0o.* is none that a ring can have.*0o640"):
        Ring.create(ring_name, size=64 << 10, mode=mode)
    assert not file_of(ring_name).exists()


@pytest.mark.parametrize(
    ("group", "mode", "why"),
    [
        ("no-such-group", 0o640, "no group 'no-such-group' on this machine.*getent group"),
        (-5, 0o640, "group -5 is no number of a group"),
        (2**32, 0o640, "is no number of a group"),
        ("root", None, "group 'root' gets no access by mode 0o600: take 0o640"),
        (0, 0o604, "group 0 gets no access by mode 0o604"),
    ],
)
def test_group_that_makes_no_sense_is_refused(
    ring_name: str, group: str | int, mode: int | None, why: str
) -> None:
    """The message names it and says what to do, and nothing is made."""
    with pytest.raises(ValueError, match=why):
        Ring.create(ring_name, size=64 << 10, mode=mode, group=group)
    assert not file_of(ring_name).exists()


def test_group_is_given_by_name_or_number(ring_name: str) -> None:
    """And is set before anybody finds the file."""
    if os.geteuid() != 0:
        go_without("only root may give a file to any group")
    for group, number in (("daemon", 1), (GROUP, GROUP)):
        with Ring.open_or_create(ring_name, size=64 << 10, mode=0o660, group=group):
            status = file_of(ring_name).stat()
            assert (permissions(ring_name), status.st_gid) == (0o660, number)
        ringbus.unlink(ring_name)


def test_group_of_others_cannot_be_given(ring_name: str, as_other: Callable[[Child], None]) -> None:
    """Only root may; anybody else gives groups of its own. Nothing is left."""

    def create(child: Child) -> None:
        as_other(child)
        with pytest.raises(NotPermitted, match=f"{ring_name}.*group 1|daemon.*not in it"):
            Ring.create(ring_name, size=64 << 10, mode=0o640, group=1)
        Ring.create(ring_name, size=64 << 10, mode=0o640, group=GROUP).close()
        ringbus.unlink(ring_name)

    with Child(create) as child:
        child.finish()
    assert not file_of(ring_name).exists()


def test_environment_says_who_shares_new_rings(
    ring_name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """RINGBUS_MODE and RINGBUS_GROUP, unless an argument says otherwise; a Bus heeds them, too."""
    monkeypatch.setenv("RINGBUS_MODE", "640")
    monkeypatch.setenv("RINGBUS_GROUP", str(os.getegid()))
    with ringbus.Bus(ring_name, size=64 << 10, persister=None, state=tmp_path):
        assert permissions(ring_name) == 0o640
    ringbus.unlink(ring_name)
    with ringbus.Bus(ring_name, size=64 << 10, mode=0o660, persister=None, state=tmp_path):
        assert permissions(ring_name) == 0o660


def test_bad_option_leaves_no_ring(ring_name: str) -> None:
    """Everything is checked before anything is made."""
    for bad in ({"policy": "wait"}, {"limit": -1}, {"colour": "red"}):
        with pytest.raises((ValueError, TypeError), match=next(iter(bad))):
            Ring.create(ring_name, size=64 << 10, **bad)  # type: ignore[arg-type]
        assert not file_of(ring_name).exists()


# Reading what one may only read


def test_reader_of_the_group_sees_everything(
    shared: Ring, as_other: Callable[[Child], None]
) -> None:
    """Statistics, gates, records old and new, waiting: nothing of it stores, nothing crashes."""
    shared.emit_many([payload(1, number, 100) for number in range(5)])

    def read(child: Child) -> None:
        as_other(child)
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


def test_reader_is_refused_whatever_stores(shared: Ring, as_other: Callable[[Child], None]) -> None:
    """The message names ring, file, mode and remedy; the ring stays as it is."""

    def try_all(child: Child) -> None:
        as_other(child)
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


def test_whoever_may_not_even_read_is_told_so(
    ring: Ring, as_other: Callable[[Child], None]
) -> None:
    """Another user's ring is not taken for a missing one."""

    def open_all(child: Child) -> None:
        as_other(child)
        for use in (Ring.open, Ring.open_or_create, ringbus.unlink):
            with pytest.raises(PermissionError, match=f"'{ring.name}' may not be read.*mode 0600"):
                use(ring.name)
        child.say("told")

    with Child(open_all) as child:
        assert child.said() == "told"
        child.finish()


def test_member_of_a_writing_group_does_everything_but_remove(
    ring_name: str, as_other: Callable[[Child], None]
) -> None:
    """/dev/shm is sticky: only the owner of a file removes it, and the ring stays unmarked."""

    def use(child: Child) -> None:
        as_other(child)
        with Ring.open(ring_name) as ring, ring.subscribe(gate="mine") as gate:
            assert not ring.read_only
            assert ring.emit(b"x") == 0
            assert len(gate.read()) == 1
            gate.advance(1)
            with pytest.raises(NotPermitted, match=r"may not be removed by user .*owner or"):
                ringbus.unlink(ring_name)
            assert ring.emit(b"y") == 1

    if os.geteuid() != 0:
        go_without("only root may give a file to any group")
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


def test_reader_learns_that_the_ring_was_removed(
    shared: Ring, as_other: Callable[[Child], None]
) -> None:
    """By its mark, and by its name when the file was removed by hand."""

    def read(child: Child) -> None:
        as_other(child)
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


def test_reader_keeps_the_ring_from_being_collected(
    shared: Ring, as_other: Callable[[Child], None], tmp_path: Path
) -> None:
    """It counts as attached; its own `gc` leaves the ring alone."""
    from ringbus.removal import collect

    def read(child: Child) -> None:
        as_other(child)
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
    import threading

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
        time.sleep(0.05)
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


def test_refusal_pickles_and_is_a_permission_error() -> None:
    """It crosses process boundaries and is caught as either."""
    error = NotPermitted("ring 'x' is read-only")
    twin = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert isinstance(twin, PermissionError)
    assert isinstance(twin, ringbus.RingbusError)
    assert (str(twin), twin.errno) == ("ring 'x' is read-only", errno.EACCES)
