"""The ring's file: made in one step, checked before it is trusted, removed for good."""

from __future__ import annotations

import os
import random
import stat
import struct
import subprocess
import threading
from pathlib import Path

import pytest
from helpers import Child, run_all, wait_until
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from missing import go_without

import ringbus
from ringbus import IncompatibleRing, Ring, RingExists, RingNotFound, RingUnlinked
from ringbus._native import ffi, lib

VERSION, EPOCH, CAPACITY = 8, 32, 48  # offsets in the header
HEADER_BYTES = 76
FLAGS = 4096 + 4 * 128


def file_of(name: str) -> Path:
    return Path(f"/dev/shm/ringbus.{name}")


def test_create_refuses_a_name_in_use(ring: Ring) -> None:
    """The ring that is there stays as it is."""
    ring.emit(b"x")
    with pytest.raises(RingExists, match=ring.name):
        Ring.create(ring.name, size=64 << 10)
    with Ring.open(ring.name) as again:
        assert (again.epoch, again.tail) == (ring.epoch, 1)


def test_open_and_unlink_want_a_ring(ring_name: str) -> None:
    """There is no ring of that name: both say so."""
    with pytest.raises(RingNotFound, match=ring_name):
        Ring.open(ring_name)
    with pytest.raises(RingNotFound, match=ring_name):
        ringbus.unlink(ring_name)


@pytest.mark.parametrize("size", [0, 1, 65535, 65537, 32 << 10, 3 << 20, 2 << 30, -65536])
def test_size_is_a_power_of_two_in_range(ring_name: str, size: int) -> None:
    """64 KiB to 1 GiB."""
    with pytest.raises(ValueError, match="power of two"):
        Ring.create(ring_name, size=size)
    assert not file_of(ring_name).exists()


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "a b", "x" * 65, "-x", "a\0b", "ü"])
def test_name_of_another_form_is_refused(name: str) -> None:
    """A name is part of a file's name and of a page's address."""
    for use in (Ring.create, Ring.open, Ring.open_or_create, ringbus.unlink):
        with pytest.raises(ValueError, match="name"):
            use(name)


def test_list_rings_names_them_sorted(ring: Ring) -> None:
    """All rings of the machine, this one among them."""
    names = ringbus.list_rings()
    assert ring.name in names
    assert names == sorted(names)
    ringbus.unlink(ring.name)
    assert ring.name not in ringbus.list_rings()


def test_file_belongs_to_its_creator_alone(ring: Ring) -> None:
    """Mode 0600, whatever the umask, and all its pages are there."""
    status = file_of(ring.name).stat()
    assert stat.S_IMODE(status.st_mode) == 0o600
    assert status.st_uid == os.geteuid()
    assert status.st_blocks * 512 >= status.st_size


def test_open_or_create_keeps_a_ring_that_is_there(ring: Ring) -> None:
    """`size` counts only for a new one."""
    with Ring.open_or_create(ring.name, size=1 << 20) as again:
        assert (again.epoch, again.size) == (ring.epoch, ring.size)


def test_processes_that_race_make_one_ring(ring_name: str) -> None:
    """Twenty processes open or create the same name at once: one epoch, all records in it."""

    def race(child: Child) -> None:
        child.hear()
        with Ring.open_or_create(ring_name, size=1 << 20) as ring:
            ring.emit(b"here")
            child.say(ring.epoch)
            child.hear()

    children = [Child(race) for _ in range(20)]
    try:
        for child in children:
            child.tell("now")
        epochs = {child.said() for child in children}
        with Ring.open(ring_name) as ring:
            assert epochs == {ring.epoch}
            assert ring.tail == 20
        for child in children:
            child.tell("done")
            child.finish()
    finally:
        for child in children:
            child.__exit__(None, None, None)


def test_rings_that_come_and_go_never_confuse(ring_name: str) -> None:
    """Processes open, emit, unlink and create all the time: each emit is out, or `RingUnlinked`."""

    def churn(_: Child) -> None:
        for turn in range(150):
            with Ring.open_or_create(ring_name, size=64 << 10) as ring:
                try:
                    with ring.subscribe() as subscriber:
                        ring.emit(b"x")
                        assert subscriber.wait(20)
                    if turn % 3 == 0:
                        ringbus.unlink(ring_name)
                except (RingUnlinked, RingNotFound):
                    pass

    run_all([churn] * 4)


def test_recreated_ring_has_another_epoch(ring: Ring) -> None:
    """And starts at 0; handles on the old ring never end up in the new one."""
    ring.emit(b"x")
    early = ring.subscribe()
    fresh = Ring.open(ring.name)  # has not emitted yet
    ringbus.unlink(ring.name)
    with Ring.create(ring.name, size=64 << 10) as new, early, fresh:
        assert new.epoch != ring.epoch
        assert new.emit(b"new") == 0
        for use in (
            lambda: ring.emit(b"x"),
            lambda: fresh.emit(b"x"),
            ring.subscribe,
            lambda: ring.subscribe(gate="g"),
            lambda: early.read(timeout=0),
        ):
            with pytest.raises(RingUnlinked, match=ring.name):
                use()
        assert new.tail == 1
        assert not ring.is_linked()
        assert new.is_linked()


def test_handle_of_a_removed_ring_opens_nothing_more(ring: Ring) -> None:
    """It says that the ring was removed, not that there is none."""
    fresh = Ring.open(ring.name)
    ringbus.unlink(ring.name)
    for use in (ring.subscribe, lambda: fresh.emit(b"x")):
        with pytest.raises(RingUnlinked):
            use()
    fresh.close()


# Files that are no rings


def test_truncated_file_is_refused(ring: Ring) -> None:
    """Any length but the right one, and the message names both and the remedy."""
    path = file_of(ring.name)
    whole = path.read_bytes()
    ring.close()
    for length in (0, 1, HEADER_BYTES, 4095, 4096, 70_000, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(IncompatibleRing, match=f"{length} bytes.*ringbus rm {ring.name}"):
            Ring.open(ring.name)
    path.write_bytes(whole + b"\0")
    with pytest.raises(IncompatibleRing, match=f"{len(whole) + 1} bytes"):
        Ring.open(ring.name)
    path.write_bytes(whole)
    Ring.open(ring.name).close()


def patched(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


@pytest.mark.parametrize(
    ("offset", "data", "why"),
    [
        (0, b"RINGBUS\1", "does not begin as a ring"),
        (VERSION, struct.pack("<I", 2), "version 2, this library's is 1"),
        (VERSION + 4, struct.pack(">I", 0x01020304), "another byte order"),
        (VERSION + 8, bytes(8), "layout is 0000000000000000"),
        (EPOCH, bytes(8), "no epoch"),
        (CAPACITY, struct.pack("<Q", 65537), "capacity of 65537"),
        (CAPACITY, struct.pack("<Q", 1 << 20), "contradicts"),
    ],
)
def test_header_of_another_kind_is_refused(ring: Ring, offset: int, data: bytes, why: str) -> None:
    """The message says what is the matter."""
    patched(file_of(ring.name), offset, data)
    with pytest.raises(IncompatibleRing, match=why):
        Ring.open(ring.name)


def test_unusable_ring_can_be_removed(ring: Ring) -> None:
    """unlink() needs nothing from the file, and open_or_create() does not replace it by itself."""
    patched(file_of(ring.name), 0, b"not a ring")
    with pytest.raises(IncompatibleRing):
        Ring.open_or_create(ring.name)
    ringbus.unlink(ring.name)
    with Ring.open_or_create(ring.name, size=64 << 10) as new:
        assert new.tail == 0


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(offset=st.integers(0, HEADER_BYTES - 1), bit=st.integers(0, 7))
def test_any_flipped_bit_of_the_header_is_refused(ring: Ring, offset: int, bit: int) -> None:
    """All but the epoch and the time of creation is checked."""
    path = file_of(ring.name)
    with path.open("rb") as file:
        file.seek(offset)
        (byte,) = file.read(1)
    patched(path, offset, bytes([byte ^ 1 << bit]))
    try:
        if EPOCH <= offset < CAPACITY:
            Ring.open(ring.name).close()
        else:
            with pytest.raises(IncompatibleRing):
                Ring.open(ring.name)
    finally:
        patched(path, offset, bytes([byte]))


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(start=st.binary(max_size=200), length=st.sampled_from([0, 100, 4096, 90_112, 200_000]))
def test_random_bytes_are_refused(ring_name: str, start: bytes, length: int) -> None:
    """A file of any bytes under a ring's name is no ring."""
    file_of(ring_name).write_bytes(start.ljust(length, b"\xa5"))
    with pytest.raises(IncompatibleRing):
        Ring.open(ring_name)


def use_damaged(child: Child, name: str) -> None:
    with Ring.open(name) as ring:
        for start in ("oldest", "latest", *range(0, 500, 5)):
            with ring.subscribe(start) as subscriber:
                for _ in range(20):
                    try:
                        if not subscriber.read(50, 0):
                            break
                    except ringbus.RingbusError:
                        pass
        ring.stats()
    child.say("alive")


# Where things are in a ring of 64 KiB.
REGIONS = {
    "hot words": (4096, FLAGS),
    "gates": (16_512, 20_608),
    "lanes": (20_608, 21_120),
    "block words": (21_120, 21_632),
    "chains": (21_632, 21_888),
    "order ring": (21_888, 30_080),
    "records": (32_768, 98_304),
}


@pytest.mark.parametrize("region", REGIONS)
def test_reader_survives_any_damage_behind_the_header(ring_name: str, region: str) -> None:
    """Records are rubbish then, but nothing crashes, and nothing loops."""
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    with Ring.create(ring_name, size=64 << 10) as ring:
        for number in range(500):
            ring.emit(bytes(number))
    good = file_of(ring_name).read_bytes()
    assert len(good) == REGIONS["records"][1]
    start, end = REGIONS[region]
    for turn in range(6):
        damaged = bytearray(good)
        if turn % 2 == 0:
            damaged[start:end] = chance.randbytes(end - start)
        else:
            for _ in range((end - start) // 10):
                damaged[chance.randrange(start, end)] = chance.choice((0, 255, 127, 128))
        file_of(ring_name).write_bytes(damaged)
        with Child(lambda child: use_damaged(child, ring_name)) as child:
            assert child.said() == "alive"
            child.finish()


def test_file_that_is_not_in_memory_is_refused(tmp_path: Path, ring: Ring) -> None:
    """Locks of other file systems prove no life."""
    copy = tmp_path / "ring"
    copy.write_bytes(file_of(ring.name).read_bytes())
    file_system = subprocess.run(
        ["stat", "-f", "-c", "%T", tmp_path], capture_output=True, text=True, check=True
    ).stdout.strip()
    if file_system in {"tmpfs", "hugetlbfs"}:
        go_without(f"{tmp_path} is in memory itself: give pytest a --basetemp on a disk")
    found, why = ffi.new("rb_ring **"), ffi.new("char[]", 200)
    with copy.open("r+b") as file:
        status = lib.rb_ring_attach(file.fileno(), bytes(copy), 0, found, why, 200)
    assert status == lib.RB_INCOMPATIBLE
    assert ffi.string(why) == b"it is not in memory (tmpfs or hugetlbfs)"


def test_ring_marked_as_removed_is_not_used(ring: Ring) -> None:
    """Should a file with the mark still be there, opening ends with an error, and it can go."""
    patched(file_of(ring.name), FLAGS, bytes([lib.RB_FLAG_UNLINKED]))
    for use in (Ring.open, Ring.open_or_create):
        with pytest.raises(RingUnlinked, match=ring.name):
            use(ring.name)
    ringbus.unlink(ring.name)
    assert not file_of(ring.name).exists()


def test_folder_is_refused(ring_name: str) -> None:
    """A folder under the name is no ring."""
    folder = file_of(ring_name)
    folder.mkdir()
    try:
        with pytest.raises(IncompatibleRing, match="not a regular file"):
            Ring.open(ring_name)
    finally:
        folder.rmdir()


def test_symbolic_link_is_not_followed(ring_name: str, ring: Ring) -> None:
    """It may lead anywhere."""
    link = file_of(f"{ring.name}-link")
    link.symlink_to(file_of(ring.name))
    try:
        with pytest.raises(OSError, match=r"."):
            Ring.open(f"{ring.name}-link")
    finally:
        link.unlink()


def test_threads_that_emit_first_at_once_open_one_lane(ring: Ring) -> None:
    """The first emit opens the emitter; there is one for a handle."""
    barrier = threading.Barrier(8)

    def emit() -> None:
        barrier.wait()
        ring.emit(b"x")

    threads = [threading.Thread(target=emit) for _ in range(8)]
    for thread in threads:
        thread.start()
    wait_until(lambda: ring.tail == 8)
    for thread in threads:
        thread.join()
    assert len(ring.stats().lanes) == 1
