"""Disks of their own for tests: small ones that are soon full, and files that are read-only."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from missing import go_without


@contextlib.contextmanager
def small_disk(folder: Path, size: str = "2m") -> Iterator[None]:
    """A disk of that size at the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with _mounted(folder, "-t", "tmpfs", "-o", f"size={size}", "tmpfs"):
        yield


@contextlib.contextmanager
def read_only(path: Path) -> Iterator[None]:
    """Whoever opens the file meanwhile cannot write, root included."""
    if os.geteuid() != 0:
        mode = path.stat().st_mode
        path.chmod(0o400)
        yield
        path.chmod(mode)
        return
    with _mounted(path, "--bind", str(path)):
        subprocess.run(["mount", "-o", "remount,bind,ro", path], check=True)
        yield


@contextlib.contextmanager
def _mounted(where: Path, *what: str) -> Iterator[None]:
    if os.geteuid() != 0:
        go_without("only root may mount disks")
    tried = subprocess.run(["mount", *what, where], capture_output=True, check=False)
    if tried.returncode != 0:
        go_without(f"nothing may be mounted here: {tried.stderr.decode()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", where], check=True)


def fill_up(file: Path) -> None:
    """Makes the file as large as its disk lets it become."""
    with file.open("wb", buffering=0) as filler, contextlib.suppress(OSError):
        while filler.write(bytes(4096)):
            pass
