"""Who else stores an agent, in words for people: its process, and what to do if that hangs."""

from __future__ import annotations

from pathlib import Path


def who_has_open(path: Path) -> str:
    """The process that has the file open, as `/proc` tells it."""
    file = path.resolve()
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and _has_open(process, file):
            return who_is(int(process.name))
    return f"a process that cannot be seen from here; it has {path} open"


def who_is(pid: int) -> str:
    """The process, and what to do about it if it stands still."""
    if not _is_stopped(pid):
        return f"process {pid}"
    return (
        f"process {pid}, which is stopped: `kill -CONT {pid}` lets it go on, "
        f"`kill -9 {pid}` ends it"
    )


def _has_open(process: Path, file: Path) -> bool:
    try:
        return any(_leads_to(link, file) for link in (process / "fd").iterdir())
    except OSError:  # it has ended, or is another user's
        return False


def _leads_to(link: Path, file: Path) -> bool:
    try:
        return link.readlink() == file
    except OSError:  # closed meanwhile
        return False


def _is_stopped(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state in ("T", "t")
