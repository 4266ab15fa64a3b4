"""Making a ring where memory is short, or signals come all the time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from missing import go_without

import ringbus
from ringbus import Ring

TOO_SMALL = """
import os, sys
import ringbus
from pathlib import Path
for size in (1 << 20, 4 << 20):
    try:
        ringbus.Ring.create("r", size=size)
    except ringbus.NoSpace as error:
        print(error)
assert not list(Path("/dev/shm").iterdir()), "a part of a ring was left"
ring = ringbus.Ring.create("r", size=64 << 10)
full = open("/dev/shm/full", "wb", buffering=0)
try:
    while True:
        full.write(bytes(4096))
except OSError:
    pass
with ring.subscribe() as subscriber:
    for _ in range(1000):
        ring.emit(bytes(1000))
"""


def test_full_memory_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    """`NoSpace` names size, what is free and the remedy; a ring that is there never runs full."""
    if os.geteuid() != 0:
        go_without("only root may mount a small /dev/shm of its own")
    mounted = (
        f"mount -t tmpfs -o size=512k tmpfs /dev/shm && exec {sys.executable} -c '{TOO_SMALL}'"
    )
    run = subprocess.run(
        ["unshare", "--mount", "sh", "-c", mounted],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    if "unshare" in run.stderr or "mount:" in run.stderr:
        go_without(f"nothing may be mounted here: {run.stderr}")
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert len(lines) == 2
    for line, size in zip(lines, (1048576, 4194304), strict=True):
        assert f"ring 'r' of {size} bytes, and an eighth more for its index, does not fit" in line
        assert "/dev/shm has 524288 of 524288 bytes free" in line
        for remedy in ("RINGBUS_SIZE", "`ringbus gc`", "docker run --shm-size"):
            assert remedy in line


@pytest.fixture
def signals() -> Iterator[None]:
    """SIGALRM every millisecond."""
    before = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("signals")
def test_signals_do_not_break_creation(ring_name: str) -> None:
    """Allocating pages may be interrupted any number of times."""
    for _ in range(20):
        with Ring.create(ring_name, size=8 << 20) as ring:
            ring.emit(b"x")
        ringbus.unlink(ring_name)
