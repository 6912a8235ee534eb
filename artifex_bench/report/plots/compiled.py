"""Cases that were compiled for AOT targets: what fits, what it costs by estimate, and meshes."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd

from artifex_bench.core import units
from artifex_bench.core.case import LOCAL
from artifex_bench.core.kind import case_names
from artifex_bench.kinds.remat_groups import SHAPE, describe_shape, estimated_front, group_by_shape, show_fit
from artifex_bench.report.plots.panels import (
    add_legend_below,
    freeze_layout,
    row_panels,
    share_limits,
    titled_panels,
    write_below,
)
from artifex_bench.report.plots.ranking import plot_ranking
from artifex_bench.report.plots.style import COLOURS, Quantity, Styles, legend_label, plot_mark
from artifex_bench.report.plots.tradeoff import label_panels, mark_capacity, plot_tradeoff
from artifex_bench.report.text import shorten_labels

ESTIMATES = "Estimates, not measured."
MOST_NOTES = 12  # cases without a point that a plot names


def plot_estimated_tradeoffs(table: pd.DataFrame, peak: Quantity, step: Quantity, styles: Styles) -> Any:
    """Return a figure of estimated step time against compiled peak, with one panel for each AOT target and shape.

    Args:
        table: Cases for AOT targets; those that have no point are named below.
        peak: The compiled peak.
        step: The estimated step time.
        styles: The style of each case name.
    """
    known = (table.status == "ok") & table[peak.column].notna() & table[step.column].notna()
    groups = [rows for _, rows in group_by_shape(table[known])]
    titles = [f"{rows.target.iloc[0]}, {shape_without_target(rows)}" for rows in groups]
    figure, panels = titled_panels(titles, wide=5.2, high=4.0)
    peak = peak.with_unit_of(table[known])
    for panel, rows in zip(panels, groups, strict=True):
        plot_tradeoff(panel, rows, peak, step, estimated_front(rows), styles)
    share_limits(panels, "x")
    for panel, rows in zip(panels, groups, strict=True):
        mark_capacity(panel, rows.capacity_bytes.iloc[0], peak.scale(rows)[1])
    label_panels(figure, panels, groups, styles)
    note = f"filled: on the Pareto front of what fits (dashed); beyond the line: does not fit. {ESTIMATES}"
    write_below(figure, [note, *_describe_absent(table[~known])])
    return figure


def _describe_absent(rows: pd.DataFrame) -> Iterator[str]:
    """Yield why each case has no point."""
    for row in itertools.islice(rows.itertuples(), MOST_NOTES):
        words = f"not shown: {row.strategy} on {row.target}: "
        if row.status != "ok":
            yield words + f"{row.status}: {row.reason}"
        else:
            yield words + f"no estimated step time; compiled peak {units.format_bytes(row.compiled_peak_bytes)}"
    if len(rows) > MOST_NOTES:
        yield f"not shown: {len(rows) - MOST_NOTES} more cases"


def shape_without_target(rows: pd.DataFrame) -> str:
    """Return the shape of these rows without their target, in lines that fit a panel."""
    name, _, sizes = describe_shape({**rows.iloc[0], "target": LOCAL}).partition(": ")
    return f"{name}: {textwrap.fill(sizes, 62)}"


def plot_mesh_peaks(table: pd.DataFrame, peak: Quantity, styles: Styles) -> Any:
    """Return a figure of the compiled peak of each device of a mesh, one panel for each mesh and shape.

    Args:
        table: Cases that were compiled for a mesh; the peak is present.
        peak: The compiled peak.
        styles: The style of each case name.
    """
    groups = [(f"{rows.target.iloc[0]}, {shape_without_target(rows)}", rows) for _, rows in group_by_shape(table)]
    figure, panels = row_panels(groups)
    peak = peak.with_unit_of(table)
    for panel, (_, rows) in zip(panels, groups, strict=True):
        plot_ranking(panel, rows, peak, styles)
        panel.set_xlabel(f"{peak.scale(rows)[0]} of each device")
        rows = rows.sort_values(peak.column, kind="stable")
        answers = [f"{row.strategy} (fits: {show_fit(row)})" for row in rows.itertuples()]
        panel.set_yticks(range(len(rows)), shorten_labels(answers))
    share_limits(panels, "x")
    for panel, (_, rows) in zip(panels, groups, strict=True):
        mark_capacity(panel, rows.capacity_bytes.iloc[0], peak.scale(rows)[1])
    return figure


def plot_fronts(
    table: pd.DataFrame, x: Quantity, y: Quantity, styles: Styles, front: Callable[[pd.DataFrame], set[int]]
) -> Any:
    """Return a figure with a line for each target, and one panel for each shape that several targets have.

    Args:
        table: Cases that were compiled for AOT targets.
        x: The quantity along the x axis.
        y: The quantity along the y axis.
        styles: The style of each case name, which its markers have.
        front: The index labels of the rows on the Pareto front of one target.
    """
    columns = [axis for axis in (*SHAPE, "seed") if axis != "target"]
    groups = [rows for _, rows in table.groupby(columns, sort=False, dropna=False) if rows.target.nunique() > 1]
    figure, panels = titled_panels([shape_without_target(rows) for rows in groups], wide=6.6, high=4.8)
    # the colour of a target is on its line alone; markers have the style of their strategy
    looks = {
        target: {"color": COLOURS[i % len(COLOURS)], "linestyle": ("-", "--", ":", "-.")[i % 4]}
        for i, target in enumerate(table.target.unique())
    }
    lines: dict[str, Any] = {}
    shown = []
    for panel, rows in zip(panels, groups, strict=True):
        (x_label, x_size), (y_label, y_size) = x.scale(rows), y.scale(rows)
        best = rows.loc[sorted(index for _, own in rows.groupby("target") for index in front(own))]
        for target, own in best.groupby("target", sort=False):
            own = own.sort_values(x.column)
            where = own[x.column] / x_size, own[y.column] / y_size
            (line,) = panel.plot(*where, drawstyle="steps-post", linewidth=1.2, **looks[target])
            line.set_label(legend_label(str(target)))
            lines.setdefault(str(target), line)
        for index, name in zip(best.index, case_names(best), strict=True):
            spot = best[x.column][index] / x_size, best[y.column][index] / y_size
            plot_mark(panel, index, *spot, **styles[name], markersize=7, zorder=3)
        panel.set_xlabel(x_label)
        panel.set_ylabel(y_label)
        panel.margins(0.15, 0.15)
        panel.set_xlim(left=0)
        panel.set_ylim(bottom=0)
        shown.append(best)
    freeze_layout(figure)
    label_panels(figure, panels, shown, styles)
    add_legend_below(figure, list(lines.values()))
    write_below(figure, [f"each point is a strategy on its target's Pareto front. {ESTIMATES}"])
    return figure
