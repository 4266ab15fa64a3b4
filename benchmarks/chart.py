"""Line charts as SVG: categories along the bottom, a logarithmic scale up the side.

Each line has its name at its right end, so nobody has to look colours up; names that would lie on
each other are moved apart. The colours follow the reader's light or dark setting.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 860, 500
LEFT, RIGHT, TOP, BOTTOM = 70, 220, 56, 44
LINE_OF_TEXT = 15.0  # the least distance between two names
COLOURS = ("#3b6fb6", "#2f8f6b", "#8a5cb8", "#b8862b", "#3c93a8", "#a1527f", "#6b7a2f", "#7d6a5a")
DASHES = ("", "6 3", "2 3")
STYLE = """
  text { font: 12px system-ui, sans-serif; fill: #444 }
  .title { font-size: 16px; font-weight: 600; fill: #111 }
  .grid { stroke: #ddd } .first { font-weight: 700 }
  .line { fill: none; stroke-width: 1.6; stroke-linejoin: round }
  .line.first { stroke-width: 3.5 } .limit { stroke-dasharray: 2 4 }
  @media (prefers-color-scheme: dark) {
    text { fill: #bbb } .title { fill: #eee } .grid { stroke: #3a3a3a } .back { fill: #161616 }
  }
"""


@dataclass(frozen=True)
class Series:
    """One line. `is_first` is what the chart is about, `is_limit` what cannot be passed."""

    name: str
    values: Mapping[str, float]  # by category
    is_first: bool = False
    is_limit: bool = False


def line_chart(title: str, unit: str, categories: Sequence[str], series: Sequence[Series]) -> str:
    """The chart as the text of an SVG file."""
    values = [value for one in series for value in one.values.values() if value > 0]
    scale = _Scale(min(values), max(values))
    step = (WIDTH - LEFT - RIGHT) / max(1, len(categories) - 1)
    places = {category: LEFT + step * number for number, category in enumerate(categories)}
    parts = [*_frame(title, unit, places, scale)]
    drawn = sorted(series, key=lambda one: one.is_first)  # what it is about lies on top
    colours = _colours(series)
    parts += [_line(one, places, scale, colours[one.name]) for one in drawn]
    parts += _names(drawn, places, scale, colours)
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">\n'
        f"<title>{escape(title)}</title><style>{STYLE}</style>\n"
        f'<rect class="back" width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>\n{body}\n</svg>\n'
    )


class _Scale:
    """From a value to its height, by powers of ten."""

    def __init__(self, least: float, most: float) -> None:
        self.low = math.floor(math.log10(least))
        self.high = max(math.ceil(math.log10(most)), self.low + 1)

    def y(self, value: float) -> float:
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def _frame(title: str, unit: str, places: Mapping[str, float], scale: _Scale) -> list[str]:
    parts = [_text(LEFT, 24, title, kind="title"), _text(LEFT, 44, unit)]
    for power in range(scale.low, scale.high + 1):
        y = scale.y(10.0**power)
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        parts.append(_text(LEFT - 8, y + 4, short(10.0**power), anchor="end"))
    for category, x in places.items():
        parts.append(_text(x, HEIGHT - BOTTOM + 22, category, anchor="middle"))
    return parts


def _colours(series: Sequence[Series]) -> dict[str, tuple[str, str]]:
    """A colour and a way of dashing for each; those in between get what is left in turn."""
    found = {}
    others = [one for one in series if not (one.is_first or one.is_limit)]
    for number, one in enumerate(others):
        found[one.name] = COLOURS[number % len(COLOURS)], DASHES[number // len(COLOURS) % 3]
    for one in series:
        if one.is_first:
            found[one.name] = "#e0481c", ""
        elif one.is_limit:
            found[one.name] = "#888888", "2 4"
    return found


def _line(one: Series, places: Mapping[str, float], scale: _Scale, colour: tuple[str, str]) -> str:
    points = [
        f"{places[category]:.1f},{scale.y(value):.1f}"
        for category, value in one.values.items()
        if value > 0
    ]
    kind = "line first" if one.is_first else "line"
    stroke, dash = colour
    return (
        f'<polyline class="{kind}" points="{" ".join(points)}" stroke="{stroke}"'
        f' stroke-dasharray="{dash}"><title>{escape(one.name)}</title></polyline>'
    )


def _names(
    series: Sequence[Series],
    places: Mapping[str, float],
    scale: _Scale,
    colours: Mapping[str, tuple[str, str]],
) -> list[str]:
    ends = []
    for one in series:
        last = [(category, value) for category, value in one.values.items() if value > 0][-1]
        ends.append((scale.y(last[1]), places[last[0]], one))
    ends.sort(key=lambda end: end[0])
    parts: list[str] = []
    for y, (end, x, one) in zip(_apart([end[0] for end in ends]), ends, strict=True):
        stroke, _ = colours[one.name]
        start = WIDTH - RIGHT + 12
        parts.append(
            f'<line x1="{x:.1f}" y1="{end:.1f}" x2="{start - 3}" y2="{y:.1f}" stroke="{stroke}"'
            ' stroke-width="0.6"/>'
        )
        parts.append(
            _text(start, y + 4, one.name, kind="first" if one.is_first else "", fill=stroke)
        )
    return parts


def _apart(heights: Sequence[float]) -> list[float]:
    """The heights, from the top down, each at least a line of text below the one before."""
    placed: list[float] = []
    for height in heights:
        placed.append(max(height, placed[-1] + LINE_OF_TEXT) if placed else height)
    bottom = HEIGHT - BOTTOM + 10.0
    for number in range(len(placed) - 1, -1, -1):  # what was pushed out comes back up
        placed[number] = min(placed[number], bottom)
        bottom = placed[number] - LINE_OF_TEXT
    return placed


def _text(
    x: float, y: float, text: str, *, kind: str = "", anchor: str = "start", fill: str = ""
) -> str:
    style = f' style="fill:{fill}"' if fill else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}"{style}>'
        f"{escape(text)}</text>"
    )


def short(value: float) -> str:
    """With three digits and k or M, as one reads it."""
    for size, letter in ((1e6, " M"), (1e3, " k")):
        if abs(value) >= size * 0.9995:
            return f"{_digits(value / size)}{letter}"
    return _digits(value)


def _digits(value: float) -> str:
    decimals = 0 if abs(value) >= 99.95 else 1 if abs(value) >= 9.995 else 2
    text = f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
