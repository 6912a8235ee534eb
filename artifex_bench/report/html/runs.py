"""Pages on several runs: the comparison of two, and the history of many."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from markupsafe import Markup

from artifex_bench.core.units import is_present
from artifex_bench.report import comparison_words, history_words, text
from artifex_bench.report.history import Series
from artifex_bench.report.html.drawings import draw_ratio, draw_series
from artifex_bench.report.html.render import write_template
from artifex_bench.report.html.table import Cell, Line, make_facets

ROWS = 100  # of the table, shown at a time
LEAST_REACH, MOST_REACH = 1.1, 4.0  # of the axis of ratios


def write_comparison_page(table: pd.DataFrame, notes: Sequence[str], base: str, new: str, path: Path) -> Path:
    """Write the page of a comparison of two runs.

    Args:
        table: Rows of `compare_runs`.
        notes: What sets the runs apart (`describe_differences`).
        base: Name of the base run.
        new: Name of the new run.
        path: The file to write.

    Returns:
        The path.
    """
    ends = pd.concat([table.ratio, table.ratio_low, table.ratio_high]).astype(float).dropna()
    ends = ends[ends > 0]
    furthest = float(max(ends.max(), 1 / ends.min())) if len(ends) else LEAST_REACH
    reach = min(max(furthest, LEAST_REACH), MOST_REACH)
    order = ["regression", "unsure", "improvement", "same"]
    shown = table.assign(rank=table.change.map(order.index)).sort_values("rank", kind="stable")
    lines = [
        _make_line(
            number,
            comparison_words.format_row(row),
            (row.base, row.new, row.ratio, row.ratio_low),
            comparison_words.LEFT_ALIGNED,
            4,
            draw_ratio(row, reach),
        )
        for number, row in enumerate(shown.itertuples())
    ]
    return _write(
        path,
        f"{new} compared with {base}",
        f"compare {new}",
        [comparison_words.summarize_changes(table)],
        notes,
        comparison_words.HEADINGS,
        lines,
        f"The drawing shows the ratio of {new} to {base} from {1 / reach:.2g}x to {reach:.2g}x with its 95 % interval. "
        "The line is at 1x. Less is better.",
        table,
    )


def write_history_page(series: Sequence[Series], names: Sequence[str], notes: Sequence[str], path: Path) -> Path:
    """Write the page of a history: one line for each case and quantity.

    Args:
        series: The series (`trace_series`).
        names: The name of each run, the oldest first.
        notes: What sets the runs apart.
        path: The file to write.

    Returns:
        The path.
    """
    shown = sorted(series, key=lambda one: not one.changes)  # what changed comes first
    lines = []
    for number, one in enumerate(shown):
        numbers = (len(one.known), one.known[0], one.known[-1], one.ratio)
        cells = history_words.format_series(one, names)
        lines.append(_make_line(number, cells, numbers, history_words.LEFT_ALIGNED, 2, draw_series(one)))
    changed = sum(bool(one.changes) for one in series)
    return _write(
        path,
        "History",
        "history",
        [f"{len(names)} runs: {', '.join(names)}", f"{changed} of {len(series)} figures changed"],
        notes,
        history_words.HEADINGS,
        lines,
        "The drawing shows the figure in each run, from 0 to its largest value. A vertical line marks a change point: "
        "orange if the level rose, green if it fell.",
        history_words.make_history_frame(series, names),
    )


def _make_line(
    number: int,
    words: Sequence[str],
    numbers: Sequence[float | None],
    left: Sequence[int],
    drawn: int,
    drawing: Markup,
) -> Line:
    """A line of the table: the cells that are not left-aligned have the numbers, in order, to sort by."""
    rest = iter(numbers)
    cells = []
    for i, cell in enumerate(words):
        value = None if i in left else next(rest)
        order = f"{value:.6g}" if value is not None and is_present(value) else ""
        cells.append(Cell(cell, i not in left, order, frozen=i == 0, drawing=drawing if i == drawn else Markup()))
    return Line(number, "", words[0], "ok", cells)


def _write(
    path: Path,
    title: str,
    name: str,
    facts: Sequence[str],
    notes: Sequence[str],
    headings: Sequence[str],
    lines: list[Line],
    legend: str,
    data: pd.DataFrame,
) -> Path:
    facets = [facet for facet in make_facets(lines, headings) if facet.heading in ("quantity", "change")]
    return write_template(
        "runs.html",
        path,
        title=title,
        name=name,
        facts=facts,
        notes=notes,
        headings=headings,
        lines=lines,
        rows=ROWS,
        facets=facets,
        legend=legend,
        packed={"csv": text.format_csv(data), "json": text.format_json_rows(data)},
    )
