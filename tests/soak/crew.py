"""Seats and houses: who sits where, and how one of them is started, stopped, continued, killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from checkers.verdict import BrokenError, MissingError
from scenarios import Post
from tally import EMITTER, NURSERY, ROLES, Desk, Tally

HERE = Path(__file__).parent
NO_RIGHT = 3  # what a house ends with that may not make a PID namespace


class House:
    """The process whose children most workers are; a group of its own."""

    def __init__(self, program: Path, tally: Path, ring: str, *, is_apart: bool = False) -> None:
        command: list[str | Path] = [program, tally, f"/dev/shm/ringbus.{ring}"]
        command += ["apart"] if is_apart else []
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline() != b"ready\n":
            status = self._process.wait()
            words = self._last_words()
            if status == NO_RIGHT:
                raise MissingError(
                    f"no PID namespace can be made here ({words}): run as root, or in a container "
                    "with CAP_SYS_ADMIN, or name other scenarios with --scenario"
                )
            raise BrokenError(f"a house ended with status {status}: {words}")

    def _last_words(self) -> str:
        assert self._process.stderr is not None
        return self._process.stderr.read().decode().strip()

    def start(self, desk: int) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(b"%d\n" % desk)
        self._process.stdin.flush()

    def people(self) -> list[int]:
        """Pids of all in the group but the house itself, the dead that nobody reaped included."""
        return [pid for pid in in_group(self._process.pid) if pid != self._process.pid]

    def close(self) -> None:
        """Ends it and everybody in it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()


def stat_of(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; none if the process is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return text.rsplit(")", 1)[1].split()


def in_group(group: int) -> list[int]:
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [pid for pid in pids if (fields := stat_of(pid)) and int(fields[2]) == group]


def sched_times(pid: int) -> tuple[float, float]:
    """Seconds that it ran, and that it waited for a CPU."""
    try:
        ran, waited, _ = Path(f"/proc/{pid}/schedstat").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0, 0.0
    return int(ran) / 1e9, int(waited) / 1e9


@dataclass
class Watch:
    """A count that has not changed since; from half-way on with the process's times then."""

    count: int
    since: float
    ran: float = -1.0
    waited: float = 0.0


@dataclass
class Seat:
    """One post, the desk that it has, and whoever sits there now."""

    index: int
    post: Post
    tally: Tally
    house: House
    ring: str
    core: int = 0  # 0: any, else one more than its number
    niceness: int = 0
    is_taken: bool = False
    taken: int = 0  # how often so far
    was_killed: bool = False
    is_stopped: bool = False
    python: subprocess.Popen[bytes] | None = None
    watches: dict[str, Watch] = field(default_factory=dict)

    @property
    def desk(self) -> Desk:
        desk: Desk = self.tally.shared.desks[self.index]
        return desk

    @property
    def name(self) -> str:
        return (
            f"desk {self.index}, {'Python ' if self.post.is_python else ''}{ROLES[self.post.role]}"
        )

    def start(self, seed: int, own_member: int) -> None:
        desk, post = self.desk, self.post
        desk.pid, desk.has_ended, desk.status = 0, 0, 0
        desk.role, desk.manner, desk.policy = post.role, post.manner, post.policy
        desk.width, desk.pause_us, desk.own_member = post.width, post.pause_us, own_member
        desk.core, desk.niceness, desk.seed = self.core, self.niceness, seed
        self.was_killed = self.is_stopped = False
        self.is_taken = True
        self.watches.clear()
        if post.is_python:
            self._start_python()
        else:
            self.house.start(self.index)

    def _start_python(self) -> None:
        self.python = subprocess.Popen(
            [
                sys.executable,
                HERE / "python_worker.py",
                self.tally.path,
                self.ring,
                str(self.index),
            ],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self.desk.pid = self.python.pid

    def has_ended(self) -> bool:
        if self.python is not None:
            return self.python.poll() is not None
        return bool(self.desk.has_ended)

    def end(self) -> str:
        """After it has ended: what is wrong with the way it did; "" if nothing is."""
        self.is_taken = False
        if self.python is not None:
            assert self.python.stderr is not None
            words = self.python.stderr.read().decode().strip()
            self.python.stderr.close()
            status = self.python.wait()
            self.python = None
            is_good = status == 0 or (self.was_killed and status == -signal.SIGKILL)
            return "" if is_good else f"{self.name}: status {status}: {words}"
        status = self.desk.status
        is_good = status == 0 or (self.was_killed and status == signal.SIGKILL)
        return "" if is_good else f"{self.name}: wait status {status}"

    def signal(self, number: signal.Signals) -> bool:
        """False if nobody sits here at the moment."""
        if not self.is_taken or self.desk.pid == 0 or self.has_ended():
            return False
        with suppress(ProcessLookupError):  # it ended, and was reaped, this moment
            os.kill(self.desk.pid, number)
            return True
        return False

    def kill(self) -> bool:
        self.was_killed = True
        return self.signal(signal.SIGKILL)

    def stop(self) -> bool:
        self.is_stopped = self.signal(signal.SIGSTOP)
        return self.is_stopped

    def go_on(self) -> None:
        self.is_stopped = False
        self.signal(signal.SIGCONT)
        self.watches.clear()

    def renice(self, niceness: int) -> None:
        with suppress(ProcessLookupError, PermissionError):  # only root may take niceness back
            if self.is_taken and self.desk.pid and not self.has_ended():
                own = os.getpriority(os.PRIO_PROCESS, 0)
                os.setpriority(os.PRIO_PROCESS, self.desk.pid, min(own + niceness, 19))

    def relieve(self) -> None:
        """What starved it is over, if the rights suffice: it shall leave soon."""
        with suppress(ProcessLookupError, PermissionError):
            if self.is_taken and self.desk.pid and not self.has_ended():
                os.sched_setaffinity(self.desk.pid, os.sched_getaffinity(0))
                os.setpriority(os.PRIO_PROCESS, self.desk.pid, os.getpriority(os.PRIO_PROCESS, 0))

    def is_stuck(self, limit: float) -> bool:
        """Without a step for so long, or an emitter without a record for three times so long."""
        counts = {"beats": (self.desk.beats, limit)}
        if self.post.role in {EMITTER, NURSERY}:
            counts["results"] = (self.desk.results, 3 * limit)
        return any(self._stands_still(name, *count) for name, count in counts.items())

    def _stands_still(self, name: str, count: int, limit: float) -> bool:
        watch = self.watches.get(name)
        if watch is None or watch.count != count:
            self.watches[name] = Watch(count, time.monotonic())
            return False
        return time.monotonic() - watch.since > limit / 2 and self._idled(watch, limit)

    def _idled(self, watch: Watch, limit: float) -> bool:
        """Whether it had its time: waiting for a CPU on a busy machine is not hanging."""
        ran, waited = sched_times(self.desk.pid)
        if watch.ran < 0:
            watch.ran, watch.waited, watch.since = ran, waited, time.monotonic()
            return False
        passed = time.monotonic() - watch.since - (waited - watch.waited)
        state = stat_of(self.desk.pid)[:1]
        return passed > limit / 2 and (state != ["R"] or ran - watch.ran > limit / 4)

    def where(self) -> str:
        """For one that hangs: what it says that it does, and where the kernel has it."""
        pid = self.desk.pid
        fields = stat_of(pid)
        words = [f"{self.name}, pid {pid}, doing {self.desk.doing.decode().strip()!r}"]
        words.append(f"state {fields[0] if fields else 'gone'}")
        for name in ("wchan", "syscall", "stack"):
            try:
                text = Path(f"/proc/{pid}/{name}").read_text().strip()
            except OSError as error:
                text = error.strerror or "?"
            words.append(f"{name} {' '.join(text.split())}")
        return ", ".join(words)
