"""Forks, programs, multiprocessing and the end of the interpreter: handles survive or refuse."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import time

import pytest
from helpers import DEADLINE, Child, read_all, wait_until

from ringbus import Ring, RingForked

# Fork

FORKING = """
import gc, os, sys
import ringbus
ring = ringbus.Ring.open(sys.argv[1])
ring.emit(b"parent")
gate, sub = ring.subscribe(gate="g"), ring.subscribe()
fresh = ringbus.Ring.open(sys.argv[1])
if os.fork() == 0:
    try:
        ring.emit(b"never")
    except ringbus.RingForked:
        pass
    else:
        os._exit(9)
    with ringbus.Ring.open(sys.argv[1]) as own:
        own.emit(b"child")
    {ending}
    if os.fork() == 0:
        with ringbus.Ring.open(sys.argv[1]) as own:
            own.emit(b"grandchild")
        sys.exit()
    os.wait()
    sys.exit()
assert os.wait()[1] == {status}
assert ring.has_gate("g")
ring.emit(b"still here")
fresh.emit(b"and fresh")
assert [record.payload for record in sub.read(timeout=0)][-2:] == [b"still here", b"and fresh"]
gate.advance(ring.tail)
"""

ENDINGS = {
    "os._exit": ("os._exit(0)", 0),
    "sys.exit": ("sys.exit(0)", 0),
    "collected": ("del ring, gate, sub, fresh; gc.collect(); os._exit(0)", 0),
    "closed": ("[handle.close() for handle in (ring, gate, sub, fresh)]; sys.exit(0)", 0),
    "error": ("sys.stderr = None; raise KeyError", 256),
    "killed": ("os.kill(os.getpid(), 9)", 9),
    "exec": ("os.execvp('true', ['true'])", 0),
    "grandchild": ("", 0),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_forked_child_ends_without_harm(ring: Ring, ending: str) -> None:
    """However it ends, with the finalisers of what it inherited or without: all goes on here."""
    code, status = ENDINGS[ending]
    with ring.subscribe() as subscriber:
        run_program(FORKING.format(ending=code, status=status), ring.name)
        found = [record.payload for record in read_all(subscriber)[0]]
    grandchild = [b"grandchild"] if ending == "grandchild" else []
    assert found == [b"parent", b"child", *grandchild, b"still here", b"and fresh"]
    stats = ring.stats()
    assert not ring.has_gate("g")
    assert stats.lanes == []
    with Ring.open(ring.name) as other:
        other.emit(b"x")  # whoever comes next takes back what was left
    stats = ring.stats()
    assert stats.blocks_free == stats.blocks


def run_program(code: str, *arguments: str) -> str:
    """What it prints; it must end well and say nothing else."""
    run = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=3 * DEADLINE,
    )
    assert (run.returncode, run.stderr) == (0, ""), run.stderr
    return run.stdout


# multiprocessing


def emit_in_a_process(name: str, number: int) -> None:
    with Ring.open(name) as ring:
        ring.emit(b"%d" % number)


def use_inherited(ring: Ring, name: str) -> None:
    with pytest.raises(RingForked):
        ring.emit(b"never")
    emit_in_a_process(name, 0)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes_of_multiprocessing_open_the_ring(ring: Ring, method: str) -> None:
    """With each way of starting them, beside a handle and a gate of the parent."""
    context = multiprocessing.get_context(method)
    with ring.subscribe() as subscriber, ring.subscribe(gate="g"):
        ring.emit(b"parent")
        processes = [
            context.Process(target=emit_in_a_process, args=(ring.name, number))
            for number in range(3)
        ]
        try:
            for process in processes:
                process.start()
            for process in processes:
                process.join(3 * DEADLINE)
                assert process.exitcode == 0
        finally:
            for process in processes:
                process.kill()
        assert sorted(r.payload for r in read_all(subscriber)[0]) == [b"0", b"1", b"2", b"parent"]
        assert ring.has_gate("g")
        assert ring.emit(b"x") == 4


def test_inherited_handle_in_a_process_of_multiprocessing(ring: Ring) -> None:
    """It is refused there, and the process ends with its finalisers without harm."""
    context = multiprocessing.get_context("fork")
    with ring.subscribe(gate="g"):
        ring.emit(b"parent")
        process = context.Process(target=use_inherited, args=(ring, ring.name))
        process.start()
        process.join(3 * DEADLINE)
        assert process.exitcode == 0
        assert ring.has_gate("g")
        assert ring.emit(b"x") == 2


@pytest.mark.parametrize("of", ["ring", "emitting ring", "subscriber"])
def test_handles_do_not_pickle(ring: Ring, of: str) -> None:
    """A handle is of its process; sending its name is the way."""
    if of == "emitting ring":
        ring.emit(b"x")
    with ring.subscribe() as subscriber, pytest.raises(TypeError, match="open the ring there"):
        pickle.dumps(subscriber if of == "subscriber" else ring)


# The end of the interpreter

AT_EXIT = """
import atexit, sys, weakref
import ringbus
ring = ringbus.Ring.open(sys.argv[1])
{first}
class Thing:
    def __init__(self, what):
        self.what = what
    def __del__(self, ring=ring):
        ring.emit(self.what)
atexit.register(lambda: ring.emit(b"atexit"))
kept = Thing(b"del of a global")
circle = Thing(b"del of a circle")
circle.circle = circle
weakref.finalize(kept, ring.emit, b"finalize")
sub, gate = ring.subscribe(), ring.subscribe(gate="g")
"""


def test_emits_while_the_interpreter_ends(ring: Ring) -> None:
    """From atexit, weakref.finalize and `__del__`: all arrive, each once."""
    with ring.subscribe() as subscriber:
        run_program(AT_EXIT.format(first="ring.emit(b'first')"), ring.name)
        found = [record.payload for record in read_all(subscriber)[0]]
    assert found[0] == b"first"
    expected = [b"atexit", b"del of a circle", b"del of a global", b"finalize"]
    assert sorted(found[1:]) == expected
    assert ring.stats().lanes == []
    assert not ring.has_gate("g")


def test_first_emit_at_exit(ring: Ring) -> None:
    """A handle that has not emitted before still opens its emitter."""
    code = """
import atexit, sys
import ringbus
ring = ringbus.Ring.open(sys.argv[1])
atexit.register(lambda: ring.emit(b"atexit"))
"""
    with ring.subscribe() as subscriber:
        run_program(code, ring.name)
        assert [record.payload for record in read_all(subscriber)[0]] == [b"atexit"]


ASLEEP = """
import sys, threading
import ringbus
def for_ever(call):
    threading.Thread(target=lambda: [call() for _ in range(10**6)], daemon=True).start()
ring = ringbus.Ring.open(sys.argv[1], policy="block", limit=300)
for_ever(ring.subscribe().read)
for_ever(lambda: ring.emit(bytes(1000)))
with ringbus.Ring.open(sys.argv[1], policy="fail") as other:
    try:
        while True:
            other.emit(bytes(1000))
    except ringbus.BackPressure as error:
        assert error.gate == "g"
"""


def test_interpreter_ends_while_threads_wait_in_the_ring(ring: Ring) -> None:
    """Daemon threads asleep in read() and at a gate hold nobody up; nothing is left behind."""
    with ring.subscribe(gate="g") as gate:
        for _ in range(3):
            run_program(ASLEEP, ring.name)
            records, missed = read_all(gate)
            assert (len(records) > 50, missed) == (True, 0)
            gate.advance(ring.tail)
        assert ring.stats().lanes == []
        with Ring.open(ring.name) as other:
            other.emit(b"y")
        stats = ring.stats()
        assert stats.blocks_free == stats.blocks


def test_process_killed_in_the_midst_of_forks(ring: Ring) -> None:
    """Children that it forked while its threads opened handles prove nothing of its life."""

    def run(child: Child) -> None:
        def churn() -> None:
            while True:
                with Ring.open(ring.name) as brief:
                    brief.emit(b"x")

        keeper = Ring.open(ring.name)
        gate = keeper.subscribe(gate="g")
        threading.Thread(target=churn, daemon=True).start()
        pids = []
        for _ in range(20):
            pid = os.fork()
            if pid == 0:
                time.sleep(300)
            pids.append(pid)
        child.say(" ".join(map(str, pids)))
        child.hear()
        gate.close()

    with Child(run) as child:
        left = [int(pid) for pid in child.said().split()]
        try:
            assert ring.has_gate("g")
            child.kill()
            wait_until(lambda: not ring.has_gate("g") and ring.stats().lanes == [])
        finally:
            for pid in left:
                os.kill(pid, 9)
