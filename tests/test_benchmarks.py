"""The benchmarks: that they run, say what they promise, and believe nothing unchecked."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent

pytestmark = pytest.mark.slow


def benchmarks(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the command to its end, from the project's folder."""
    return python("-m", "benchmarks", *arguments)


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    """What a quick run of one scenario prints as JSON."""
    done = benchmarks("--quick", "--json", "emit_alone")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_report_says_on_what_the_numbers_are(report: dict[str, Any]) -> None:
    """Machine, interpreter, version of the code, and how busy the machine was."""
    assert {"date", "cpu", "cores", "kernel", "governor", "load", "python", "commit"} <= set(
        report["environment"]
    )
    assert report["quick"] is True


def test_scenarios_of_the_history_work() -> None:
    """As a newcomer tries them: quickly."""
    names = ["follow", "history_pages", "persister_latency", "persister_throughput", "sweep_pause"]
    done = benchmarks("--quick", "--json", *names)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["scenarios"]
    assert [(one["name"], one["ok"]) for one in found] == [(name, True) for name in names]


def test_a_figure_has_its_spread_and_never_a_mean(report: dict[str, Any]) -> None:
    """Each number comes with what it is, and with how far the rounds lie apart."""
    (scenario,) = report["scenarios"]
    assert (scenario["name"], scenario["ok"]) == ("emit_alone", True)
    for figure in scenario["figures"]:
        told = {"contender", "quantity", "unit", "rounds", "median", "share", "p10", "p90"}
        assert set(figure) == told
        assert figure["p10"] <= figure["median"] <= figure["p90"]


def test_a_target_says_what_is_wanted_and_whether_it_is_met(report: dict[str, Any]) -> None:
    """A missed one is told; it depends on the machine, and so fails nothing."""
    (scenario,) = report["scenarios"]
    for target in scenario["targets"]:
        assert set(target) == {"claim", "value", "limit", "unit", "better", "met"}
        assert target["met"] == (target["value"] <= target["limit"])


def test_an_unknown_name_is_a_usage_error() -> None:
    """Its message lists the names that there are."""
    done = benchmarks("no_such_scenario")
    assert done.returncode == 2
    assert "emit_alone" in done.stderr


_FAULTY = """
from dataclasses import dataclass
from benchmarks import transports
from benchmarks.command import main
from benchmarks.transports import RingTransport

@dataclass(frozen=True)
class Faulty(RingTransport):
    def open_reader(self, number):
        read = super().open_reader(number)
        return lambda: {change}

if __name__ == "__main__":
    transports.RingTransport = Faulty
    main(["--quick", "--json", "--peer", "multiprocessing.Pipe", {scenario!r}])
"""


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("read()[:-1]", "records were delivered"),  # none, where a read found only one
        ("(read() + read())[::-1]", "wrong records were delivered"),
        ("read() and []", r"\b0 of \d+ records were delivered"),
    ],
    ids=["one missing", "out of order", "nothing"],
)
@pytest.mark.parametrize(
    "name", ["one_to_one_throughput", "one_to_three_throughput", "four_to_one_throughput"]
)
def test_a_reader_that_delivers_short_fails_the_run(
    tmp_path: Path, name: str, change: str, why: str
) -> None:
    """The scenario has no numbers then, and the exit status is 1."""
    script = tmp_path / "faulty.py"
    body = _FAULTY.format(change=change, scenario=name)
    script.write_text(f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n{body}")
    done = python(str(script))
    assert done.returncode == 1, done.stderr
    (scenario,) = json.loads(done.stdout)["scenarios"]
    assert scenario["ok"] is False
    assert re.search(why, scenario["error"])
    assert "figures" not in scenario
