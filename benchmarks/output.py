"""Results for people and for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from benchmarks.harness import Figure, Options, Result, Scenario, Target

Environment = Mapping[str, object]


@dataclass(frozen=True)
class Outcome:
    """A scenario's result, or why it failed."""

    name: str
    scenario: Scenario
    result: Result | None
    error: str = ""


def as_json(environment: Environment, options: Options, outcomes: list[Outcome]) -> str:
    return json.dumps(
        {
            "environment": environment,
            "quick": options.quick,
            "scenarios": [outcome_data(outcome) for outcome in outcomes],
        },
        indent=2,
    )


def outcome_data(outcome: Outcome) -> dict[str, object]:
    """As it is in the JSON."""
    described = {"name": outcome.name, "title": outcome.scenario.title}
    if outcome.result is None:
        return {**described, "ok": False, "error": outcome.error}
    result = outcome.result
    return {
        **described,
        "ok": True,
        "parameters": result.parameters,
        "figures": [_figure(figure) for figure in result.figures],
        "targets": [_target(target) for target in result.targets],
        "notes": list(result.notes),
        "failures": list(result.failures),
    }


def _figure(figure: Figure) -> dict[str, object]:
    return {
        "contender": figure.contender,
        "quantity": figure.quantity,
        "unit": figure.unit,
        "rounds": len(figure.values),
        "median": figure.median,
        "share": figure.share,
        "p10": figure.percentile(10),
        "p90": figure.percentile(90),
    }


def _target(target: Target) -> dict[str, object]:
    return {
        "claim": target.claim,
        "value": target.value,
        "limit": target.limit,
        "unit": target.unit,
        "better": "more" if target.at_least else "less",
        "met": target.is_met,
    }


class Printer:
    """Prints to stdout: tables on a terminal, plain columns elsewhere."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)

    def environment(self, environment: Environment) -> None:
        for name, value in environment.items():
            shown = value
            if isinstance(value, Mapping):
                shown = ", ".join(f"{key} {item}" for key, item in value.items())
            self._line(f"{name:<9} {shown}")

    def outcome(self, outcome: Outcome) -> None:
        self._line(f"\n{outcome.name}: {outcome.scenario.title}")
        result = outcome.result
        if result is None:
            self._line(f"FAILED: {outcome.error}")
            return
        if result.parameters:
            self._line(", ".join(f"{name} {value}" for name, value in result.parameters.items()))
        header = ["", "", "median", "p10", "p90", "unit", "of possible", "rounds"]
        self._table(header, [_row(figure) for figure in result.figures])
        for target in result.targets:
            self._line(_target_line(target))
        for note in result.notes:
            self._line(f"  {note}")
        for failure in result.failures:
            self._line(f"FAILED: {failure}")

    def _table(self, header: list[str], rows: list[list[str]]) -> None:
        if not sys.stdout.isatty():
            for line in _aligned([header, *rows]):
                self._line(line)
            return
        table = Table()
        for number, title in enumerate(header):
            table.add_column(title, justify="right" if 2 <= number <= 4 else "left")
        for row in rows:
            table.add_row(*row)
        self._console.print(table)

    def _line(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)


def warn(text: str) -> None:
    print(f"benchmarks: {text}", file=sys.stderr, flush=True)


def _row(figure: Figure) -> list[str]:
    numbers = (figure.median, figure.percentile(10), figure.percentile(90))
    return [
        figure.contender,
        figure.quantity,
        *(_number(number) for number in numbers),
        figure.unit,
        "" if figure.share is None else f"{figure.share:.3g} %",
        str(len(figure.values)),
    ]


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if 2 <= column <= 4 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _target_line(target: Target) -> str:
    sign = ">=" if target.at_least else "<="
    verdict = "met" if target.is_met else "MISSED"
    limit = f"{sign} {_number(target.limit)} {target.unit}"
    return f"target {verdict}: {target.claim}: {_number(target.value)} (wanted {limit})"
