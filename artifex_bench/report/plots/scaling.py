"""Scaling: a quantity over one axis of the cases, a line for each strategy or format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib import ticker

from artifex_bench.kinds import checkpoint, remat_groups
from artifex_bench.report.plots.style import (
    MIB,
    Quantity,
    Styles,
    add_style_legend,
    case_names,
    interval_lengths,
    legend_label,
    plot_mark,
    set_log_axis,
)
from artifex_bench.report.text import shorten_labels

NEAR = 0.06  # of an axis: tick labels that are nearer to each other would overlap


def plot_scaling(
    panel: Any, rows: pd.DataFrame, axis: str, quantity: Quantity, styles: Styles, log: bool = False
) -> None:
    """Plot a quantity over an axis, with 95 % intervals.

    Args:
        panel: The axes to draw on.
        rows: Cases that differ in their name and in this axis alone.
        axis: The column along x.
        quantity: The column along y.
        styles: The style of each case name.
        log: Whether both axes are logarithmic. The y axis begins at 0 otherwise.
    """
    label, size = (quantity.label, 1.0) if log else quantity.scale(rows)
    unit = MIB if axis == "size" else 1
    known = rows[rows[quantity.column].notna()].sort_values(axis)
    for name, points in known.groupby(pd.Series(case_names(known), known.index), sort=False):
        look = styles[str(name)]
        across, up = points[axis] / unit, points[quantity.column] / size
        lengths = interval_lengths(points, quantity.column, size)
        panel.errorbar(
            across, up, lengths, color=look["color"], linewidth=1.4, capsize=2, label=legend_label(str(name))
        )
        for index in points.index:  # hollow, so that each of several markers in one place is visible
            plot_mark(panel, index, across[index], up[index], **look, markersize=6, markerfacecolor="none")
    panel.set_xlabel("size (MiB)" if axis == "size" else axis)
    panel.set_ylabel(label)
    if log:
        panel.set_xscale("log", base=2)
        panel.xaxis.set_minor_locator(ticker.NullLocator())
        set_log_axis(panel.yaxis, "s")
    else:
        panel.set_ylim(bottom=0)
    ticks = _distant_ticks(panel, sorted((rows[axis] / unit).unique()))
    panel.set_xticks(ticks, [f"{tick:g}" for tick in ticks])


def _distant_ticks(panel: Any, values: Sequence[float]) -> list[float]:
    """The values without those that lie too near to the one before to have a tick label of their own."""
    kept: list[float] = []
    last = float("-inf")
    for value in values:
        place = panel.transAxes.inverted().transform(panel.transData.transform((value, panel.get_ylim()[1])))[0]
        if place - last >= NEAR:
            kept.append(value)
            last = place
    return kept


def scaled_groups(table: pd.DataFrame, axis: str, shape: Sequence[str]) -> Iterator[pd.DataFrame]:
    """Yield the rows that differ in their name and in one axis alone, without names that have one point.

    Args:
        table: Cases of one kind.
        axis: The axis that varies within each group.
        shape: All axes that tell shapes of this kind apart.
    """
    others = [column for column in (*shape, "seed") if column != axis]
    for _, rows in table.groupby(others, sort=False, dropna=False):
        names = pd.Series(case_names(rows), rows.index)
        lines = rows[rows.groupby(names)[axis].transform("nunique") > 1]
        if not lines.empty:
            yield lines


def plot_remat_scaling(table: pd.DataFrame, axis: str, quantities: Sequence[Quantity], styles: Styles) -> Any | None:
    """Return a figure with one panel for each quantity, and one line of panels for each setting of the other axes.

    Args:
        table: Remat cases that ran.
        axis: The axis along x.
        quantities: The quantities along y; those without data are left out.
        styles: The style of each case name.

    Returns:
        The figure; None if no case was measured over this axis.
    """
    groups = list(scaled_groups(table, axis, remat_groups.SHAPE))
    measured = [q for q in quantities if any(rows[q.column].notna().any() for rows in groups)]
    if not measured:
        return None
    size = (4.6 * len(measured), 3.4 * len(groups))
    grid = {"hspace": 0.6, "wspace": 0.3}
    figure, panels = plt.subplots(len(groups), len(measured), figsize=size, squeeze=False, gridspec_kw=grid)
    for line, rows in zip(panels, groups, strict=True):
        first = rows.iloc[0]
        fixed = [f"{o} {first[o]:g}" for o in ("depth", "width", "batch", "sequence") if o != axis and first[o] > 0]
        fixed += [f"seed {first.seed}"] if first.seed else []
        title = f"{first.model}, {first['dtype']}, {first['layers']}\n{', '.join(fixed)}"
        for panel, quantity in zip(line, measured, strict=True):
            plot_scaling(panel, rows, axis, quantity, styles)
            panel.set_title("\n".join(shorten_labels(title.split("\n"))), fontsize=9)
    note = "bars: 95 % intervals" if any(q.column == "step_seconds" for q in measured) else ""
    hollow = {name: {**style, "markerfacecolor": "none"} for name, style in styles.items()}
    add_style_legend(figure, hollow, note, line="-", names=list(pd.concat(groups).strategy.unique()))
    return figure


def plot_checkpoint_scaling(
    table: pd.DataFrame, axis: str, quantities: Sequence[Quantity], styles: Styles
) -> Any | None:
    """Return a figure of the seconds to commit and to restore over one axis, beside the raw limit of the disk.

    Args:
        table: Checkpoint cases.
        axis: The axis along x.
        quantities: The quantities along y: first the save, then the restore.
        styles: The style of each case name.

    Returns:
        The figure; None if no format was measured over this axis.
    """
    groups = list(scaled_groups(table, axis, checkpoint.SHAPE))
    if not groups:
        return None
    figure, panels = plt.subplots(1, 2, figsize=(9.2, 3.4), gridspec_kw={"wspace": 0.3})
    unit = MIB if axis == "size" else 1
    for panel, quantity, limit in zip(panels, quantities, ("raw_write_seconds", "raw_read_seconds"), strict=True):
        for rows in groups:
            plot_scaling(panel, rows, axis, quantity, styles, log=True)
        limits = groups[0].sort_values(axis).drop_duplicates(axis)
        panel.plot(limits[axis] / unit, limits[limit], color="k", linestyle="--", label="raw limit")
        ticks = sorted(table[axis].unique() / unit)
        panel.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    entries = dict(zip(*reversed(panels[0].get_legend_handles_labels()), strict=True))  # each name once
    panels[0].legend(entries.values(), entries)
    return figure
