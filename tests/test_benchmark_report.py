"""Plots and tables of the benchmarks: made from the results that are kept and nothing else."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import report  # noqa: E402  (benchmarks is no installed package)
from benchmarks.chart import LINE_OF_TEXT, Series, line_chart  # noqa: E402
from benchmarks.command import NAMES  # noqa: E402

SVG = "{http://www.w3.org/2000/svg}"


def figure(contender: str, quantity: str, median: float, unit: str = "records/s") -> dict[str, Any]:
    spread = {"p10": median * 0.9, "p90": median * 1.1, "rounds": 3, "share": None}
    return {
        "contender": contender,
        "quantity": quantity,
        "unit": unit,
        "median": median,
        **spread,
    }


def scenario(name: str, figures: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "name": name,
        "title": "A title",
        "ok": True,
        "figures": figures,
        "targets": [],
        "notes": [],
        "failures": ["zenoh, 1 to 1: wrong records were delivered"],
        "environment": {"date": "2026-01-02T03:04:05+00:00", "load": "0.10", "cpu": "a machine"},
    }


THROUGHPUT = scenario(
    "one_to_one_throughput",
    [
        figure(name, f"delivered, {size} B", rate / size)
        for name, rate in (("ringbus", 4e8), ("slower", 1e8), ("faster", 5e8))
        for size in (64, 256)
    ],
)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in place of benchmarks/, with a README and no results."""
    monkeypatch.setattr(report, "RESULTS", tmp_path / "results.json")
    monkeypatch.setattr(report, "README", tmp_path / "README.md")
    monkeypatch.setattr(report, "PLOTS", tmp_path / "plots")
    (tmp_path / "README.md").write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    return tmp_path


def test_tables_go_between_the_markers_and_nothing_else_changes(place: Path) -> None:
    """Each figure with its spread, and what failed."""
    report.keep(THROUGHPUT["environment"], THROUGHPUT)
    report.draw(NAMES)
    text = (place / "README.md").read_text()
    assert text.startswith(f"before\n{report.BEGIN}\n")
    assert text.endswith(f"{report.END}\nafter\n")
    assert "old" not in text
    assert "| **ringbus** | 6,250,000 (5,620,000–6,880,000) |" in text
    assert "Failed: zenoh" in text
    assert (place / "plots" / "throughput.svg").exists()


def test_whoever_is_ahead_of_ringbus_is_named(place: Path) -> None:
    """In the table of losses; who is behind is not."""
    (row,) = [
        line
        for line in report.tables([THROUGHPUT]).splitlines()
        if line.startswith("| `one_to_one") and "delivered, 64 B" in line
    ]
    assert "faster (7,810,000)" in row
    assert "slower" not in row


def test_a_scenario_that_ran_anew_replaces_itself_alone(place: Path) -> None:
    """And keeps the machine of its own run."""
    for one in (THROUGHPUT, scenario("emit_alone", [])):
        report.keep({"cpu": "first"}, one)
    report.keep({"cpu": "second"}, scenario("emit_alone", [figure("x", "time", 1.0)]))
    kept = report.load()
    assert kept["one_to_one_throughput"]["environment"]["cpu"] == "first"
    assert kept["emit_alone"]["environment"]["cpu"] == "second"
    assert len(kept["emit_alone"]["figures"]) == 1


def test_the_readme_shows_the_results_that_are_kept() -> None:
    """Nobody changed one of them without the other."""
    kept = report.load()
    found = [kept[name] for name in NAMES if name in kept]
    _, _, rest = report.README.read_text().partition(report.BEGIN + "\n")
    assert rest.partition(report.END)[0] == report.tables(found)
    for name, plot in report.plots(kept):
        assert (report.PLOTS / f"{name}.svg").read_text() == plot


def test_the_names_of_lines_do_not_lie_on_each_other() -> None:
    """Though all lines end at the same place; the chart is well-formed, odd names and all."""
    names = [f"<{number}> & more" for number in range(20)]
    chart = line_chart(
        "A & B", "us", ["a", "b"], [Series(name, {"a": 1, "b": 9}) for name in names]
    )
    drawn = ET.fromstring(chart)  # noqa: S314  (it is our own)
    texts = [one for one in drawn.iter(f"{SVG}text") if one.text in names]
    heights = sorted(float(one.attrib["y"]) for one in texts)
    assert len(heights) == len(names)
    gaps = [below - above for above, below in pairwise(heights)]
    assert min(gaps) >= LINE_OF_TEXT - 0.11  # of rounding
