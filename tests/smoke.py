"""Tries an installed ringbus: a record goes round a ring, and the command tells its version.

Run it by hand with the interpreter that has ringbus installed: `python tests/smoke.py`.
"""

import os
import subprocess
import sys
import sysconfig
from importlib.metadata import version
from pathlib import Path

import ringbus


def try_ring() -> None:
    """Creates a ring, emits, reads the records back and removes the ring."""
    name = f"smoke-{os.getpid()}"
    with ringbus.Ring.create(name, size=64 << 10) as ring:
        try:
            with ring.subscribe() as subscriber:
                first = ring.emit(b"hello")
                records = subscriber.read(timeout=5)
        finally:
            ringbus.unlink(name)
    found = [(record.seq, record.payload) for record in records]
    if found != [(first, b"hello")]:
        sys.exit(f"the ring gave back {found}, not record {first} with b'hello'")


def try_command() -> None:
    """Asks the installed command for its version."""
    command = Path(sysconfig.get_path("scripts"), "ringbus")
    said = subprocess.run([command, "--version"], check=True, capture_output=True, text=True).stdout
    if version("ringbus") not in said:
        sys.exit(f"`ringbus --version` said {said!r}, not {version('ringbus')}")


if __name__ == "__main__":
    try_ring()
    try_command()
    print(f"ringbus {version('ringbus')} works with Python {sys.version.split()[0]}")
