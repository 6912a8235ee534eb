"""Heatmaps of the page: one number for each pair of two axes, as a table whose cells are shaded."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from artifex_bench.core import units
from artifex_bench.core.units import is_present
from artifex_bench.kinds import fault, max_batch

SEARCHES = (
    ("largest_batch", "Largest batch that fits", lambda row: units.format_whole(row.largest_batch)),
    (
        "estimated_samples_per_second",
        "Estimated samples per second of that batch",
        lambda row: units.format_count(row.estimated_samples_per_second),
    ),
)


@dataclass(frozen=True)
class Heatmap:
    """A shaded table.

    Attributes:
        title: What the numbers are.
        caption: How to read them.
        corner: The names of both axes.
        columns: The headings of the columns.
        rows: The heading and the cells of each row; a cell is (words, shade from 0 to 1), None where there is no case.
    """

    title: str
    caption: str
    corner: str
    columns: list[str]
    rows: list[tuple[str, list[tuple[str, float] | None]]]


def make_heatmaps(table: str, rows: pd.DataFrame) -> Iterator[Heatmap]:
    """Yield the heatmaps of a table of cases, by its name; most tables have none."""
    if table == fault.TABLE:
        for title, own in fault.group_by_state(rows):
            yield _make_fault_map(title, own)
    if table == max_batch.TABLE:
        for title, own in max_batch.group_by_model(rows):
            searches = max_batch.tabulate_searches(own)
            for column, words, show in SEARCHES:
                if searches[column].notna().any():
                    yield _make_search_map(f"{words}: {title}", searches, column, show)


def _make_fault_map(title: str, rows: pd.DataFrame) -> Heatmap:
    def show(row: Any) -> tuple[str, float]:
        if not is_present(row.silent_share):
            return str(row.status), 0.0
        trials = row.silent_trials + row.detected_trials + row.intact_trials
        return f"{row.silent_trials:.0f} of {trials:.0f}", float(row.silent_share)

    return Heatmap(
        f"Restores that were silently wrong: {title}",
        "Each cell counts the restores of a damaged checkpoint that returned wrong data without an error, among all "
        "trials. A stronger shade is worse.",
        "format, damage",
        *_pivot(rows, "format", "fault", show),
    )


def _make_search_map(title: str, searches: pd.DataFrame, column: str, show: Callable[[Any], str]) -> Heatmap:
    largest = searches.groupby("target")[column].max()

    def cell(row: Any) -> tuple[str, float]:
        value = getattr(row, column)
        if is_present(value):
            return show(row), float(value / largest[row.target])
        return (str(row.status) if row.status != "ok" else "none fits" if math.isnan(row.largest_batch) else "–"), 0.0

    shades = "The shade is relative to the best strategy of the target, which has the strongest one."
    return Heatmap(title, shades, "strategy, target", *_pivot(searches, "strategy", "target", cell))


def _pivot(
    rows: pd.DataFrame, down: str, across: str, show: Callable[[Any], tuple[str, float]]
) -> tuple[list[str], list[tuple[str, list[tuple[str, float] | None]]]]:
    cells = {(str(getattr(row, down)), str(getattr(row, across))): show(row) for row in rows.itertuples()}
    columns = list(dict.fromkeys(key for _, key in cells))
    names = dict.fromkeys(name for name, _ in cells)
    return columns, [(name, [cells.get((name, column)) for column in columns]) for name in names]
