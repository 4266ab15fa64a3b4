"""Who counts as alive: through fork, exec and closed descriptors."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from helpers import Child, all_free, wait_until

from ringbus import Ring
from ringbus.errors import LimitReached


def test_one_lane_for_each_emitting_handle_and_no_more_than_there_are(ring: Ring) -> None:
    """The refusal names the limit; a lane is free again when its emitter closes."""
    lanes = 8
    handles = [Ring.open(ring.name) for _ in range(lanes)]
    for handle in handles:
        handle.emit(b"x")
    with pytest.raises(LimitReached, match=f"{lanes} at most"):
        ring.emit(b"x")
    handles.pop().close()
    assert ring.emit(b"x") == lanes
    for handle in handles:
        handle.close()
    assert [lane.alive for lane in ring.stats().lanes] == [True]


def hold(child: Child, name: str, then: object) -> None:
    """An emitter and a gate, then whatever `then` does; says "ready" and the lines it returns."""
    ring = Ring.open(name)
    gate = ring.subscribe(gate="g")
    ring.emit(b"x")
    child.say(then() if then else "ready")
    child.hear()
    gate.close()


def signs_of_life(ring: Ring) -> list[bool]:
    """Of the emitter and of the gate."""
    return [any(lane.alive for lane in ring.stats().lanes), ring.has_gate("g")]


def is_alive(ring: Ring) -> bool:
    signs = signs_of_life(ring)
    assert signs[0] == signs[1]
    return signs[0]


def test_stopped_process_is_alive_and_killed_one_is_dead(ring: Ring) -> None:
    """At once, and without any process id."""
    with Child(lambda child: hold(child, ring.name, None)) as child:
        child.said()
        assert is_alive(ring)
        child.stop()
        assert is_alive(ring)
        child.kill()
        assert not is_alive(ring)


def sleeper(**options: object) -> int:
    return subprocess.Popen(["sleep", "300"], **options).pid


def forked_sleeper() -> int:
    pid = os.fork()
    if pid == 0:
        time.sleep(300)
    return pid


@pytest.mark.parametrize(
    "leave_behind",
    [sleeper, lambda: sleeper(close_fds=False), forked_sleeper],
    ids=["exec", "exec with all descriptors", "fork"],
)
def test_children_do_not_keep_the_dead_alive(ring: Ring, leave_behind: object) -> None:
    """Neither an exec'd nor a forked child that goes on living holds the locks."""
    with Child(lambda child: hold(child, ring.name, leave_behind)) as child:
        left = int(child.said())
        try:
            assert is_alive(ring)
            child.kill()
            assert not is_alive(ring)
        finally:
            os.kill(left, signal.SIGKILL)


def test_exec_ends_what_the_process_held(ring: Ring) -> None:
    """The new program knows nothing of the ring: lane and gate are free."""

    def turn_into_sleep(child: Child) -> None:
        hold_handles = Ring.open(ring.name)
        gate = hold_handles.subscribe(gate="g")
        hold_handles.emit(b"x")
        child.say("ready")
        child.hear()
        assert gate
        os.execvp("sleep", ["sleep", "300"])  # noqa: S606

    with Child(turn_into_sleep) as child:
        child.said()
        assert is_alive(ring)
        child.tell("now")
        wait_until(lambda: not any(signs_of_life(ring)))  # they go one after the other


CLOSE_ALL = """
import os, sys
import ringbus
name = sys.argv[1]
ring = ringbus.Ring.open(name)
ring.emit(b"before")
gate, reader = ring.subscribe(gate="g"), ring.subscribe()
os.closerange(3, 1000)
print("closed", flush=True)
sys.stdin.readline()
ring.emit_many([b"a"] * 3000)
assert len(ring.stats().lanes) == 1
assert reader.missed == 0 and ring.has_gate("g")
with ringbus.Ring.open(name) as other, other.subscribe() as late:
    other.emit(b"after")
    assert [record.payload for record in late.read(timeout=0)] == [b"after"]
gate.close()
ring.close()
print("fine", flush=True)
"""


def test_closing_every_descriptor_changes_nothing(ring: Ring) -> None:
    """Daemons do that: the handles go on, and others still see them alive."""
    with subprocess.Popen(
        [sys.executable, "-c", CLOSE_ALL, ring.name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == "closed\n"
        assert is_alive(ring)
        child.stdin.write("go on\n")
        child.stdin.flush()
        assert child.stdout.readline() == "fine\n"
        assert child.wait(20) == 0
    assert all_free(ring)


def test_handles_keep_no_descriptor_open(ring: Ring) -> None:
    """A thousand of them cost no descriptors."""
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    with ring.subscribe(), ring.subscribe(gate="g"), Ring.open(ring.name) as other:
        other.emit(b"x")
        ring.emit(b"x")
        assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_attached_is_whoever_is_not_an_observer(ring_name: str) -> None:
    """Handles and subscribers count; observers and gates do not."""
    with Ring.create(ring_name, size=64 << 10) as ring:
        observer = Ring.open(ring_name, observer=True)
        gate = observer.subscribe(gate="g")
        assert observer.is_attached()
        ring.close()
        assert not observer.is_attached()
        with observer.subscribe():
            assert observer.is_attached()
        assert not observer.is_attached()
        gate.close()
        observer.close()
