"""The guard of the hot path: it counts, fails on growth, and keeps a reason for each figure."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from missing import go_without

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import guard  # noqa: E402  (benchmarks is no installed package)

COUNTS = {"emit": 100.0, "emit_many": 80.0, "read": 60.0}


def entry(**changes: Any) -> guard.Entry:
    fields = {"date": "2026-01-01", "compiler": "gcc 12", "reason": "first", "instructions": COUNTS}
    return guard.Entry(**{**fields, **changes})


@pytest.mark.slow
def test_a_slower_emit_fails_and_the_way_out_is_told(tmp_path: Path) -> None:
    """Against figures of which one is 10 % too low: as if emit took 11 % more instructions."""
    if shutil.which("valgrind") is None:
        go_without("there is no valgrind (Debian: apt install valgrind)")
    kept = guard.load(guard.FIGURES)[-1]
    emit = round(kept.instructions["emit"] * 0.9, 1)
    doctored = entry(
        compiler=guard.compiler_name(), instructions={**kept.instructions, "emit": emit}
    )
    figures = tmp_path / "guard.json"
    figures.write_text(json.dumps([asdict(doctored)]))
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.guard", "--figures", str(figures)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    # What the figures kept are about, and a count of today that may be some percent off them.
    told = re.search(r"emit by (\d+(\.\d)?) %", done.stderr)
    assert told, done.stderr
    assert guard.GROWTH < float(told[1]) <= 11.2 + guard.GROWTH
    assert "--accept" in done.stderr
    assert "emit_many by" not in done.stderr
    assert "read by" not in done.stderr


def test_the_figures_kept_are_whole_and_each_has_a_reason() -> None:
    """Those of the repository, down to the oldest."""
    entries = guard.load(guard.FIGURES)
    assert entries
    for one in entries:
        assert all(count > 0 for count in one.instructions.values())


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"reason": " "}, "no reason"),
        ({"instructions": {"emit": 1.0}}, "are not of"),
    ],
    ids=["no reason", "two missing"],
)
def test_figures_that_are_not_whole_are_refused(
    tmp_path: Path, changes: dict[str, Any], why: str
) -> None:
    """Rather than compared with half of them."""
    path = tmp_path / "guard.json"
    path.write_text(json.dumps([asdict(entry(**changes))]))
    with pytest.raises(guard.GuardError, match=why):
        guard.load(path)


def test_a_file_that_is_no_list_of_figures_is_refused(tmp_path: Path) -> None:
    """Its name is in the message."""
    path = tmp_path / "guard.json"
    path.write_text('[{"emit": 5}]')
    with pytest.raises(guard.GuardError, match=r"guard\.json is no list of figures"):
        guard.load(path)


def test_a_figure_is_changed_only_with_a_reason(tmp_path: Path) -> None:
    """It is added to the others, so the file tells how the figure came about."""
    path = tmp_path / "guard.json"
    with pytest.raises(guard.GuardError, match="needs a reason"):
        guard.accept(path, [], "gcc 12", COUNTS, "  ")
    guard.accept(path, [entry()], "gcc 12", {**COUNTS, "emit": 90.0}, "one copy less")
    first, second = guard.load(path)
    assert first == entry()
    assert (second.reason, second.instructions["emit"]) == ("one copy less", 90.0)


def test_the_newest_figures_of_the_same_compiler_count() -> None:
    """Those of another stand in where there are none, with more room."""
    old, new, other = entry(), entry(reason="second"), entry(compiler="gcc 14")
    assert guard.figures_for([old, new, other], "gcc 12") == (new, guard.GROWTH)
    assert guard.figures_for([old, new], "gcc 14") == (new, guard.FOREIGN_GROWTH)
    with pytest.raises(guard.GuardError, match="no figures"):
        guard.figures_for([], "gcc 12")


def test_growth_up_to_the_limit_passes() -> None:
    """And fewer instructions always do."""
    counts = {"emit": 105.0, "emit_many": 84.1, "read": 30.0}
    assert set(guard.grown(COUNTS, counts, 5.0)) == {"emit_many"}


def test_only_instructions_of_the_core_itself_are_counted() -> None:
    """No other library's, none of the clock, and what a call cost inside is not counted twice."""
    profile = """\
ob=(1) /core.so
fl=(1) /csrc/emitter.c
fn=(1) emit
10 7
+1 3
cfi=(2) /csrc/clock.c
cob=(2) /libc.so
cfn=(2) memcpy
calls=1 0
* 1000
-1 5
fi=(2)
20 300
fe=(1)
12 2

ob=(2)
fl=(3) /libc/memcpy.S
fn=(2)
0 1000

ob=(1)
fl=(4) /csrc/pool.c
fn=(3) reserve
20 4
"""
    assert guard.own_instructions(profile, "/core.so") == 21
