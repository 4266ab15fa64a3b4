"""Descriptors closed, used up, inherited and passed on: handles need none, and none proves life."""

from __future__ import annotations

import array
import os
import resource
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from helpers import Child, fill, fill_to_the_gate, payload, read_all, seqs, wait_until

from ringbus import GateTaken, Ring, Subscriber
from ringbus.ring.stats import RingStats

LONG = 300.0  # seconds; nothing here takes that long unless something is wrong


def close_all(child: Child) -> None:
    """What daemons do; the lines to the test stay open."""
    low, high = sorted((child._in, child._out))
    os.closerange(3, low)
    os.closerange(low + 1, high)
    os.closerange(high + 1, 4096)
    assert len(descriptors()) <= 5


def take_all_numbers(path: Path) -> list[int]:
    """Other files get the numbers that were closed."""
    return [os.open(path, os.O_RDWR | os.O_CREAT) for _ in range(20)]


def test_subscriber_asleep_hears_after_all_descriptors_are_closed(ring: Ring) -> None:
    """It sleeps on, is woken by another process, and reads on."""

    def run(child: Child) -> None:
        subscriber = Ring.open(ring.name).subscribe()
        found: list[bytes] = []

        def read() -> None:
            while len(found) < 2:
                found.extend(record.payload for record in subscriber.read(timeout=LONG))

        reader = threading.Thread(target=read)
        reader.start()
        wait_until(lambda: sleeps(reader))
        close_all(child)
        child.say("closed")
        reader.join(20)
        child.say(found)

    with Child(run) as child:
        assert child.said() == "closed"
        ring.emit(b"one")
        ring.emit(b"two")
        assert child.said() == str([b"one", b"two"])
        child.finish()


def sleeps(thread: threading.Thread) -> bool:
    stat = Path(f"/proc/self/task/{thread.native_id}/stat").read_text()
    return stat.rsplit(")", 1)[1].split()[0] == "S"


def test_gate_and_waiting_emitter_live_without_descriptors(ring: Ring, tmp_path: Path) -> None:
    """A process that stores as a persister does and one that waits for it: every record arrives.

    Other files get the numbers of the descriptors; nothing is written into them.
    """
    count = 3000

    def store(child: Child) -> None:
        gate = Ring.open(ring.name, observer=True).subscribe(gate="store")
        close_all(child)
        taken = take_all_numbers(tmp_path / "store")
        child.say("ready")
        seen: list[int] = []
        while len(seen) < count:
            records = gate.read(timeout=LONG)
            seen += seqs(records)
            gate.advance(records[-1].seq + 1)
        assert seen == list(range(count))
        child.say([os.fstat(number).st_size for number in taken] == [0] * 20)

    def emit(child: Child) -> None:
        mine = Ring.open(ring.name, policy="block", limit=LONG)
        for number in range(10):
            mine.emit(payload(1, number, 500))
        close_all(child)
        taken = take_all_numbers(tmp_path / "emit")
        for number in range(10, count):
            mine.emit(payload(1, number, 500))
        child.say([os.fstat(number).st_size for number in taken] == [0] * 20)

    with Child(store) as storing:
        storing.said()
        with Child(emit) as emitting:
            assert [emitting.said(60), storing.said(60)] == ["True"] * 2
            emitting.finish()
            storing.finish()


def test_closed_descriptors_hide_no_death(ring: Ring) -> None:
    """Killed, such a process is dead at once; alive, it is alive."""

    def run(child: Child) -> None:
        mine = Ring.open(ring.name)
        gate = mine.subscribe(gate="g")
        mine.emit(b"x")
        close_all(child)
        child.say("closed")
        child.hear()
        gate.close()

    with Child(run) as child:
        child.said()
        assert is_alive(ring)
        child.kill()
        assert not is_alive(ring)


def is_alive(ring: Ring) -> bool:
    """The only emitter, and the gate "g"."""
    lanes = [lane.alive for lane in ring.stats().lanes]
    assert lanes == ([True] if ring.has_gate("g") else [])
    return bool(lanes)


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = max(int(name) for name in os.listdir("/proc/self/fd"))  # noqa: PTH208
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 1, hard))
    taken = []
    try:
        try:
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            pass
        yield
    finally:
        for number in taken:
            os.close(number)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_handles_work_when_no_descriptor_is_left(ring: Ring) -> None:
    """What is open goes on over many laps; opening says why it cannot, and can again later."""
    with ring.subscribe() as subscriber, ring.subscribe(gate="g") as gate:
        ring.emit(b"x")
        with no_descriptor_left():
            emitted = 1 + fill(ring, 3)
            for use in (ring.subscribe, lambda: Ring.open(ring.name)):
                with pytest.raises(OSError, match="maximum number of files open"):
                    use()
            records, missed = read_all(subscriber)
            assert len(records) + missed == emitted
            gate.advance(ring.tail)
        with Ring.open(ring.name) as other:
            assert other.emit(b"y") == emitted
        assert ring.has_gate("g")


def descriptors() -> list[int]:
    """Every one that the process has, but those of the listing itself."""
    found = []
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
        try:
            os.fstat(int(name))
        except OSError:
            continue
        found.append(int(name))
    return found


def files_of(process: int, ring: Ring) -> list[str]:
    """Its descriptors that lead to the ring."""
    links = list(Path(f"/proc/{process}/fd").iterdir())
    targets = [str(link.readlink()) for link in links if link.is_symlink()]
    return [target for target in targets if ring.name in target]


def send(to: socket.socket, numbers: list[int]) -> None:
    to.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", numbers))])


def receive(of: socket.socket) -> list[int]:
    numbers = array.array("i")
    _, [(_, _, data)], _, _ = of.recvmsg(1, socket.CMSG_SPACE(200 * numbers.itemsize))
    numbers.frombytes(data[: len(data) // numbers.itemsize * numbers.itemsize])
    return list(numbers)


def test_descriptors_sent_to_another_process_keep_nobody_alive(ring: Ring) -> None:
    """All that an emitter and gate has, through SCM_RIGHTS: it lives and dies by itself."""
    here, there = socket.socketpair()

    def run(child: Child) -> None:
        mine = Ring.open(ring.name)
        gate = mine.subscribe(gate="g")
        mine.emit(b"x")
        send(there, descriptors())
        child.say("sent")
        child.hear()
        gate.close()

    with here, there, Child(run) as child:
        child.said()
        received = receive(here)
        try:
            assert len(received) > 3
            assert not files_of(os.getpid(), ring)
            assert is_alive(ring)
            child.kill()
            assert not is_alive(ring)
        finally:
            for number in received:
                os.close(number)


def test_descriptors_passed_to_a_program_keep_nobody_alive(ring: Ring) -> None:
    """All that an emitter and gate has, through `pass_fds`; the program lives on."""

    def run(child: Child) -> None:
        mine = Ring.open(ring.name)
        gate = mine.subscribe(gate="g")
        mine.emit(b"x")
        child.say(subprocess.Popen(["sleep", "300"], pass_fds=descriptors()).pid)
        child.hear()
        gate.close()

    with Child(run) as child:
        left = int(child.said())
        try:
            assert is_alive(ring)
            child.kill()
            assert not is_alive(ring)
        finally:
            os.kill(left, signal.SIGKILL)


def test_programs_started_while_rings_are_opened_keep_nobody_alive(ring: Ring) -> None:
    """A descriptor in hand for a moment goes to no program, though all are to be inherited.

    Between fork and exec a program that is being started has a copy, so a gate that was closed may
    still look held for that long; once it runs, no more.
    """

    def run(child: Child) -> None:
        started: list[int] = []
        stop = threading.Event()

        def start() -> None:
            programs = (subprocess.Popen(["sleep", "300"], close_fds=False) for _ in range(8))
            started.extend(program.pid for program in programs)
            stop.set()

        starter = threading.Thread(target=start)
        starter.start()
        while not stop.is_set():
            with Ring.open(ring.name) as mine, suppress(GateTaken), mine.subscribe(gate="g"):
                mine.emit(b"x")
        starter.join()
        with Ring.open(ring.name) as mine, mine.subscribe(gate="g"):
            mine.emit(b"x")
        child.say(" ".join(map(str, started)))
        child.hear()

    with Child(run) as child:
        left = [int(number) for number in child.said().split()]
        try:
            assert not is_alive(ring)
            for number in left:
                assert not files_of(number, ring)
        finally:
            for number in left:
                os.kill(number, signal.SIGKILL)
        child.tell("end")
        child.finish()


# Many that ask who is alive


def probe_for_ever(name: str) -> object:
    def run(child: Child) -> None:
        with Ring.open(name, observer=True) as ring:
            child.say("ready")
            while True:
                check_alive(ring.stats())
                assert ring.has_gate("g")

    return run


def check_alive(stats: RingStats) -> None:
    """The first emitter and its gate, whoever else comes and goes."""
    assert stats.lanes[0].alive
    assert [gate.alive for gate in stats.gates if gate.name == "g"] == [True]


def hold(child: Child, name: str) -> None:
    with Ring.open(name) as mine, mine.subscribe(gate="g"):
        mine.emit(b"x")
        child.say("ready")
        child.hear()


def test_many_probers_never_see_the_living_dead(ring: Ring) -> None:
    """Eight processes ask all the time, are stopped anywhere, and are in nobody's way."""
    with Child(lambda child: hold(child, ring.name)) as holder:
        holder.said()
        probers = [Child(probe_for_ever(ring.name)) for _ in range(8)]
        try:
            for prober in probers:
                prober.said()
            for _ in range(10):
                for prober in probers:
                    prober.stop()
                check_alive(ring.stats())
                with Ring.open(ring.name) as brief, ring.subscribe(gate="other"):  # both lock
                    brief.emit(b"y")
                for prober in probers:
                    prober.go_on()
                fill(ring, 1)
            ring.close()
            for prober in probers:
                prober.stop()  # fails unless it runs
            holder.kill()
            with Ring.open(ring.name) as late:
                assert not is_alive(late)
        finally:
            for prober in probers:
                prober.__exit__(None, None, None)


def test_subscribers_of_one_process_are_told_apart(ring: Ring) -> None:
    """Closing one gate proves nothing about another of the same process."""
    gates: list[Subscriber] = [ring.subscribe(gate=name) for name in ("a", "b", "c")]
    gates.pop(1).close()
    assert [ring.has_gate(name) for name in ("a", "b", "c")] == [True, False, True]
    tail = fill_to_the_gate(ring)
    assert ring.tail == tail
    for gate in gates:
        gate.close()
    assert [ring.has_gate(name) for name in ("a", "b", "c")] == [False] * 3
