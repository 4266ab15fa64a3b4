"""A guard of the hot path: how many instructions `emit()`, `emit_many()` and `read()` take.

    python -m benchmarks.guard                     fails if one takes over 5 % more than it should
    python -m benchmarks.guard --accept "REASON"   makes what it counts now the figure to keep to

The time of a call hangs on the machine and its load; the number of its instructions does not. It is
counted by callgrind (Debian: apt install valgrind), of fixed calls (guard_calls.py), and only where
the instruction is the core's own and one of the three builtins is being called. What the
interpreter and the C library do for it (objects, copying, the clock, locks) is left out: that
differs from version to version, and with the processor for which the library picks its copying.
So is the core's own clock (clock.c), which asks the kernel as often as time has passed.

For the same reason the core is compiled for the count, with flags that hang on no interpreter's.
What is left is the compiler, so figures are kept for each version of gcc. With a compiler that has
none the newest of another one stand in, with more room. It sees no slow-down that is not one of
instructions: a cache line shared, a system call more, a copy made twice in the C library.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from benchmarks.environment import ROOT
from benchmarks.guard_calls import RECORDS
from ringbus import _build

FIGURES = Path(__file__).with_name("guard.json")
CALLS = Path(__file__).with_name("guard_calls.py")
CORE = "_core.abi3.so"
# The C functions behind the builtins; the linker may add a suffix to a name.
FUNCTIONS = {
    "emit": "emitter_emit",
    "emit_many": "emitter_emit_many",
    "read": "subscriber_read*",
}
CLOCK = ("/clock.c", "/clock.h", "/ia32intrin.h")
FLAGS = ("-std=c11", "-O2", "-g", "-fPIC", "-shared", "-fno-stack-protector", "-fvisibility=hidden")
GROWTH = 5.0  # percent that pass
FOREIGN_GROWTH = 25.0  # percent that pass where the figures are another compiler's
GAIN = 5.0  # percent below the figure that deserve a new one

Counts = Mapping[str, float]  # instructions for each record


class GuardError(Exception):
    """Nothing could be counted, or there is nothing to compare with."""


@dataclass(frozen=True)
class Entry:
    """Figures that hold until the next of the same compiler, and why they are what they are."""

    date: str
    compiler: str
    reason: str
    instructions: Counts


@click.command()
@click.option("--accept", "reason", metavar="REASON", help="Keep to what is counted now, and why.")
@click.option("--figures", type=click.Path(path_type=Path), default=FIGURES, hidden=True)
def main(*, reason: str | None, figures: Path) -> None:
    """Count the instructions of emit, emit_many and read; fail where they grew over 5 %."""
    try:
        entries = load(figures)
        compiler, counts = compiler_name(), count_all()
        if reason is not None:
            accept(figures, entries, compiler, counts, reason)
            click.echo(f"{figures}: {compiler} has new figures; commit them with the change")
            return
        entry, allowed = figures_for(entries, compiler)
    except GuardError as error:
        raise click.ClickException(str(error)) from error
    for line in lines(entry, counts):
        click.echo(line)
    if entry.compiler != compiler:
        click.echo(
            f"figures of {entry.compiler}, as there are none of {compiler}: {allowed:g} % pass"
        )
    wrong = grown(entry.instructions, counts, allowed)
    if wrong:
        raise click.ClickException(complaint(wrong, allowed))


def load(path: Path) -> list[Entry]:
    """All entries, oldest first; raises `GuardError` unless each is whole and has a reason."""
    try:
        entries = [Entry(**entry) for entry in json.loads(path.read_text())]
    except (OSError, ValueError, TypeError) as error:
        raise GuardError(f"{path} is no list of figures: {error}") from error
    for entry in entries:
        if not entry.reason.strip():
            raise GuardError(f"{path}: the figures of {entry.date} have no reason")
        if set(entry.instructions) != set(FUNCTIONS):
            raise GuardError(
                f"{path}: the figures of {entry.date} are not of {', '.join(FUNCTIONS)}"
            )
    return entries


def figures_for(entries: Sequence[Entry], compiler: str) -> tuple[Entry, float]:
    """The newest figures of the compiler, or of another, and the growth in percent that passes."""
    own = [entry for entry in entries if entry.compiler == compiler]
    if not entries:
        raise GuardError('there are no figures: make some with --accept "first figures"')
    return (own[-1], GROWTH) if own else (entries[-1], FOREIGN_GROWTH)


def accept(
    path: Path, entries: Sequence[Entry], compiler: str, counts: Counts, reason: str
) -> None:
    """Appends the counts to the file."""
    if not reason.strip():
        raise GuardError("--accept needs a reason: who reads the file later asks why")
    entry = Entry(datetime.now(UTC).date().isoformat(), compiler, reason.strip(), counts)
    data = [asdict(one) for one in (*entries, entry)]
    path.write_text(json.dumps(data, indent=2) + "\n")


def growth(figure: float, count: float) -> float:
    """In percent, to the tenth that is shown."""
    return round((count / figure - 1) * 100, 1)


def grown(figures: Counts, counts: Counts, allowed: float) -> dict[str, float]:
    """What takes too many instructions, and by how much in percent."""
    changes = {name: growth(figures[name], counts[name]) for name in figures}
    return {name: change for name, change in changes.items() if change > allowed}


def lines(entry: Entry, counts: Counts) -> list[str]:
    """A table for people."""
    shown = [f"instructions of the core for each record ({entry.compiler}, since {entry.date}):"]
    for name, count in counts.items():
        figure = entry.instructions[name]
        change = growth(figure, count)
        gain = ' (fewer: keep that with --accept "REASON")' if change < -GAIN else ""
        shown.append(f"  {name:<10} {count:8.1f}  figure {figure:8.1f}  {change:+6.1f} %{gain}")
    return shown


def complaint(wrong: Mapping[str, float], allowed: float) -> str:
    what = ", ".join(f"{name} by {change:g} %" for name, change in wrong.items())
    return (
        f"the hot path takes over {allowed:g} % more instructions: {what}.\n"
        "Where they go: valgrind --tool=callgrind, then callgrind_annotate. If they are worth it:\n"
        '  python -m benchmarks.guard --accept "why it takes more"\n'
        "and commit benchmarks/guard.json with the change."
    )


def compiler_name() -> str:
    """Name and major version: minor ones do not change what is made of C."""
    done = subprocess.run([_compiler(), "-dumpversion"], capture_output=True, text=True, check=True)
    return f"{Path(_compiler()).name} {done.stdout.strip().partition('.')[0]}"


def _compiler() -> str:
    return os.environ.get("CC") or "gcc"


def count_all() -> dict[str, float]:
    """Compiles the core and counts; takes half a minute."""
    if shutil.which("valgrind") is None:
        raise GuardError("there is no valgrind. On Debian: apt install valgrind")
    with tempfile.TemporaryDirectory(prefix="ringbus-guard-") as place:
        folder = Path(place)
        build(folder)
        return {name: count(folder, name) for name in FUNCTIONS}


def build(folder: Path) -> None:
    """A copy of the package with a core of its own."""
    package = folder / "ringbus"
    shutil.copytree(ROOT / "ringbus", package, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    source = folder / "_core.c"
    with redirect_stdout(io.StringIO()):
        _build.ffibuilder.emit_c_code(str(source))
    core = ROOT / _build.SOURCES
    command = [_compiler(), *FLAGS, *_build.WEAK, *_build.flags(), f"-I{core}"]
    command += [f"-I{sysconfig.get_path('include')}", str(source)]
    command += [str(path) for path in sorted(core.glob("*.c"))]
    subprocess.run([*command, "-o", str(package / CORE), "-lpthread"], check=True)


def count(folder: Path, name: str) -> float:
    """The core's own instructions for each record."""
    out = folder / f"{name}.callgrind"
    valgrind = ["valgrind", "--quiet", "--tool=callgrind", f"--callgrind-out-file={out}"]
    program = [f"--toggle-collect={FUNCTIONS[name]}", sys.executable, str(CALLS), name]
    environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": str(folder)}
    done = subprocess.run(
        [*valgrind, *program],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise GuardError(f"{name} did not run under valgrind:\n{done.stderr}")
    total = own_instructions(out.read_text(), str(folder / "ringbus" / CORE))
    if total == 0:
        raise GuardError(f"nothing was counted of {name}: is {FUNCTIONS[name]} gone from csrc/?")
    return round(total / RECORDS[name], 1)


def own_instructions(profile: str, library: str) -> int:
    """The sum of the costs inside one object file, without those of what it calls."""
    names = _Names()
    is_own = is_clock = is_call = False
    total = 0
    for line in profile.splitlines():
        kind, _, rest = line.partition("=")
        if kind in ("ob", "cob"):
            name = names.of("ob", rest)
            is_own = name == library if kind == "ob" else is_own
        elif kind in ("fl", "fi", "fe", "cfi", "cfl"):
            name = names.of("fl", rest)
            is_clock = name.endswith(CLOCK) if kind in ("fl", "fi", "fe") else is_clock
        elif kind == "calls":
            is_call = True  # the next line is what the call cost inside
        elif line[:1] in "+-*0123456789" and line:
            total += int(line.split()[1]) if is_own and not (is_call or is_clock) else 0
            is_call = False
    return total


class _Names:
    """A name is told once, and goes by its number from then on."""

    def __init__(self) -> None:
        self._names: dict[tuple[str, str], str] = {}

    def of(self, kind: str, told: str) -> str:
        number, _, name = told.partition(" ")
        return self._names.setdefault((kind, number), name)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.guard")
