"""On what, and of what, the numbers are: without this record they say nothing."""

from __future__ import annotations

import os
import platform
import subprocess
import sysconfig
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import apsw

ROOT = Path(__file__).resolve().parent.parent


def environment() -> dict[str, object]:
    """What the machine and the software are, and how busy the machine was."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "governor": _governor(),
        "load": f"{os.getloadavg()[0]:.2f}",
        "python": f"{platform.python_version()} ({_build()})",
        "sqlite": apsw.sqlite_lib_version(),
        "packages": {name: version(name) for name in ("ringbus", "cffi", "apsw")},
        "commit": _commit(),
    }


def filesystem(folder: Path) -> str:
    """The type of the file system that holds the folder, as the kernel names it."""
    best = ("", "unknown")
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, mounted, kind, *_ = line.split()
        if folder.resolve().is_relative_to(mounted) and len(mounted) >= len(best[0]):
            best = (mounted, kind)
    return best[1]


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _governor() -> str:
    path = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    return path.read_text().strip() if path.exists() else "not shown (virtual machine?)"


def _build() -> str:
    """Whether the interpreter was built with profile feedback, which is worth tens of percent."""
    arguments = str(sysconfig.get_config_var("CONFIG_ARGS") or "")
    is_optimised = "--enable-optimizations" in arguments
    return f"{platform.python_compiler()}, {'with' if is_optimised else 'without'} PGO"


def _commit() -> str:
    head = _git("rev-parse", "--short=12", "HEAD")
    if not head:
        return "none"
    return f"{head} with changes" if _git("status", "--porcelain") else head


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
