"""Results that are kept: benchmarks/results.json, and the plots and tables made from it.

A scenario that ran anew replaces itself and leaves the others, each with the machine and the hour
of its own run. What is between the markers of README.md is written here and nowhere else.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks.chart import Series, line_chart

HERE = Path(__file__).resolve().parent
RESULTS, README, PLOTS = HERE / "results.json", HERE / "README.md", HERE / "plots"
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
OURS, CORE = "ringbus", "the core in C"
# Where one row is ringbus and the others are what people use instead.
CONTESTS = (
    "emit_against_peers",
    "one_to_one_throughput",
    "one_to_three_throughput",
    "four_to_one_throughput",
    "fixed_rate_latency",
    "idle_reader",
)
THROUGHPUT = "one_to_one_throughput"
LATENCY = "fixed_rate_latency"
CLOSE = 1.05  # less than that much ahead is a draw

Scenario = Mapping[str, Any]  # as in the JSON
Figure = Mapping[str, Any]


def keep(environment: Mapping[str, object], scenario: Mapping[str, object]) -> None:
    """Adds a scenario to the results, in place of what it was."""
    kept = load()
    kept[str(scenario["name"])] = {**scenario, "environment": dict(environment)}
    RESULTS.write_text(json.dumps(list(kept.values()), indent=1) + "\n")


def load() -> dict[str, Scenario]:
    """By name, in the order in which they were first kept; empty where nothing was."""
    if not RESULTS.exists():
        return {}
    return {scenario["name"]: scenario for scenario in json.loads(RESULTS.read_text())}


def draw(order: Sequence[str]) -> None:
    """Plots and tables anew, from what is kept, in the order of the scenarios."""
    kept = load()
    found = [kept[name] for name in order if name in kept]
    PLOTS.mkdir(exist_ok=True)
    for name, plot in plots(kept):
        (PLOTS / f"{name}.svg").write_text(plot)
    before, _, rest = README.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    README.write_text(f"{before}{BEGIN}\n{tables(found)}{END}{after}")


def plots(kept: Mapping[str, Scenario]) -> Iterator[tuple[str, str]]:
    """The name of each plot, and its SVG."""
    if figures := kept.get(THROUGHPUT, {}).get("figures"):
        series = _series(figures, lambda quantity: quantity.removeprefix("delivered, "))
        categories = list(dict.fromkeys(key for one in series for key in one.values))
        title = "One emitter to one reader, by size of payload"
        yield "throughput", line_chart(title, "records/s, all checked", categories, series)
    if figures := kept.get(LATENCY, {}).get("figures"):
        for rate in dict.fromkeys(figure["quantity"].partition(" at ")[2] for figure in figures):
            of_rate = [one for one in figures if one["quantity"].endswith(f" at {rate}")]
            series = _series(of_rate, lambda quantity: quantity.partition(" at ")[0])
            title = f"Latency at {rate.replace('/s', ' records a second')}"
            name = f"latency-{rate.replace(',', '').removesuffix('/s')}"
            yield (
                name,
                line_chart(title, "µs, from when it was due", list(series[0].values), series),
            )


def _series(figures: Sequence[Figure], category: Callable[[str], str]) -> list[Series]:
    values: dict[str, dict[str, float]] = {}
    for figure in figures:
        values.setdefault(figure["contender"], {})[category(figure["quantity"])] = figure["median"]
    return [Series(name, of, name == OURS, name == CORE) for name, of in values.items()]


def tables(found: Sequence[Scenario]) -> str:
    """Targets, where others are ahead, and all figures."""
    parts = [_machine(found), "### Targets\n", _targets(found), "### Where ringbus is not ahead\n"]
    parts += [_losses(found), "### Throughput by size, and latency\n", _pictures()]
    for scenario in found:
        parts.append(f"### `{scenario['name']}`\n")
        parts.append(f"{scenario['title']}. {_when(scenario)}\n")
        if scenario["ok"]:
            parts += _figures(scenario["figures"])
            said = [*scenario["notes"], *(f"Failed: {one}" for one in scenario["failures"])]
            parts.append("".join(f"- {line}\n" for line in said))
        else:
            parts.append(f"Failed: {scenario['error']}\n")
    return "\n".join(part for part in parts if part)


def _machine(found: Sequence[Scenario]) -> str:
    environment = found[0]["environment"] if found else {}
    named = ("cpu", "cores", "kernel", "governor", "python", "sqlite")
    packages = ", ".join(f"{name} {of}" for name, of in environment.get("packages", {}).items())
    listed = ", ".join(f"{name} {environment[name]}" for name in named if name in environment)
    return f"\nMachine: {listed}; {packages}.\n" if found else ""


def _when(scenario: Scenario) -> str:
    of = scenario["environment"]
    return f"Run {str(of['date'])[:16].replace('T', ' ')} UTC at load {of['load']}."


def _pictures() -> str:
    return "".join(f"![{path.stem}](plots/{path.name})\n" for path in sorted(PLOTS.glob("*.svg")))


def _targets(found: Sequence[Scenario]) -> str:
    lines = ["| scenario | target | wanted | found | |", "|---|---|--:|--:|---|"]
    for scenario in found:
        for target in scenario.get("targets", ()):
            sign = "at least" if target["better"] == "more" else "at most"
            wanted = f"{sign} {number(target['limit'])} {target['unit']}"
            verdict = "" if target["met"] else "**missed**"
            cells = (f"`{scenario['name']}`", target["claim"], wanted, number(target["value"]))
            lines.append(f"| {' | '.join(cells)} | {verdict} |")
    return "\n".join(lines) + "\n"


def _losses(found: Sequence[Scenario]) -> str:
    """Every figure in which something that people use is ahead of ringbus."""
    lines = ["| scenario | figure | ringbus | ahead of it |", "|---|---|--:|---|"]
    for scenario in found:
        if scenario["name"] in CONTESTS and scenario["ok"]:
            lines += _losses_of(scenario)
    return "\n".join(lines) + "\n"


def _losses_of(scenario: Scenario) -> Iterator[str]:
    for quantity, figures in _grouped(scenario["figures"], "quantity"):
        ours = next((one for one in figures if one["contender"] == OURS), None)
        if ours is None:
            continue
        ahead = [
            f"{one['contender']} ({number(one['median'])})"
            for one in figures
            if one["contender"] not in (OURS, CORE) and _is_ahead(one, ours)
        ]
        if ahead:
            cell = f"{number(ours['median'])} {ours['unit']}"
            yield f"| `{scenario['name']}` | {quantity} | {cell} | {', '.join(ahead)} |"


def _is_ahead(one: Figure, other: Figure) -> bool:
    if str(one["unit"]).endswith("/s"):
        return bool(one["median"] > other["median"] * CLOSE)
    return bool(one["median"] * CLOSE < other["median"])


def _figures(figures: Sequence[Figure]) -> Iterator[str]:
    """One table for each unit and each rate: a row for a contender, a column for a quantity."""

    def kind(figure: Figure) -> str:
        return f"{figure['unit']} {str(figure['quantity']).partition(' at ')[2]}"

    for _, of in _grouped(figures, kind):
        quantities = list(dict.fromkeys(figure["quantity"] for figure in of))
        has_share = any(figure["share"] is not None for figure in of)
        head = [of[0]["unit"], *quantities, *(["of possible"] if has_share else [])]
        lines = [f"| {' | '.join(head)} |", f"|---|{'--:|' * (len(head) - 1)}"]
        for contender, row in _grouped(of, "contender"):
            by_quantity = {figure["quantity"]: figure for figure in row}
            cells = [_cell(by_quantity.get(quantity)) for quantity in quantities]
            if has_share:
                cells.append(_shares([by_quantity.get(quantity) for quantity in quantities]))
            name = f"**{contender}**" if contender == OURS else contender
            lines.append(f"| {name} | {' | '.join(cells)} |")
        yield "\n".join(lines) + "\n"


def _grouped(
    figures: Sequence[Figure], by: str | Callable[[Figure], str]
) -> list[tuple[str, list[Figure]]]:
    """As they come first, though what belongs together may lie apart."""
    key: Callable[[Figure], str] = by if callable(by) else lambda figure: str(figure[by])
    order = {name: number for number, name in enumerate(dict.fromkeys(map(key, figures)))}
    ordered = sorted(figures, key=lambda figure: order[key(figure)])
    return [(name, list(of)) for name, of in groupby(ordered, key)]


def _cell(figure: Figure | None) -> str:
    """The median, and how far the rounds lie apart."""
    if figure is None:
        return ""
    median, low, high = (number(figure[key]) for key in ("median", "p10", "p90"))
    return median if figure["rounds"] == 1 or low == high else f"{median} ({low}–{high})"


def number(value: float) -> str:
    """Three digits are more than most of the figures are worth."""
    if abs(value) >= 1000:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.3g}"


def _shares(row: Sequence[Figure | None]) -> str:
    shares = [one["share"] for one in row if one is not None and one["share"] is not None]
    return ", ".join(f"{share:.2g} %" for share in shares)
