"""Small drawings in the cells of a table: a ratio with its interval, a figure over runs. SVG without text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from artifex_bench.core.units import is_present
from artifex_bench.report.history import Series

WIDTH, HEIGHT, EDGE = 150, 26, 6
COLOURS = {"regression": "--mark-2", "improvement": "--mark-3", "unsure": "--mark-5", "same": "--muted"}


def draw_ratio(row: Any, reach: float) -> Markup:
    """Return a ratio on a logarithmic axis from 1 / reach to reach, with its interval and a line at 1."""
    if not is_present(row.ratio) or row.ratio <= 0:
        return Markup()

    def place(ratio: float) -> float:
        share = math.log(min(max(ratio, 1 / reach), reach)) / math.log(reach)
        return WIDTH / 2 + share * (WIDTH / 2 - EDGE)

    middle, colour = HEIGHT / 2, COLOURS[row.change]
    parts = [_line(WIDTH / 2, 2, WIDTH / 2, HEIGHT - 2, "--rule")]
    if is_present(row.ratio_low) and row.ratio_low > 0:
        parts.append(_line(place(row.ratio_low), middle, place(row.ratio_high), middle, colour, 2))
    parts.append(_dot(place(row.ratio), middle, colour, 4))
    return _drawing(parts)


def draw_series(series: Series) -> Markup:
    """Return a figure over runs from 0 to its largest value, with a line through its change points."""
    count, largest = len(series.values), max(series.known)

    def place(run: int, value: float) -> tuple[float, float]:
        share = value / largest if largest else 0.0
        return EDGE + run * (WIDTH - 2 * EDGE) / (count - 1), HEIGHT - 3 - share * (HEIGHT - 8)

    points = [place(run, value) for run, value in enumerate(series.values) if value is not None]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    parts = [Markup('<polyline points="{}" style="fill: none; stroke: var(--mark-1)"/>').format(path)]
    for change in series.changes:
        x, _ = place(change.run, 0)
        parts.append(_line(x, 0, x, HEIGHT, "--mark-2" if change.ratio > 1 else "--mark-3", 2))
    parts += [_dot(x, y, "--mark-1", 2.2) for x, y in points]
    return _drawing(parts)


def _drawing(parts: Sequence[Markup]) -> Markup:
    inside = Markup("").join(parts)
    return Markup('<svg class="cell" viewBox="0 0 {} {}" aria-hidden="true">{}</svg>').format(WIDTH, HEIGHT, inside)


def _line(x: float, y: float, to_x: float, to_y: float, colour: str, width: float = 1) -> Markup:
    look = f"stroke: var({colour}); stroke-width: {width}"
    place = f'x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}"'
    return Markup(f'<line {place} style="{look}"/>')


def _dot(x: float, y: float, colour: str, radius: float) -> Markup:
    return Markup(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" style="fill: var({colour})"/>')
