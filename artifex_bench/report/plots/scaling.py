"""Scaling: a quantity over one axis of the cases, a line for each strategy or format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
from matplotlib import ticker

from artifex_bench.core import units
from artifex_bench.core.kind import case_names
from artifex_bench.kinds import checkpoint, remat_groups
from artifex_bench.report.plots.labels import Label, label_line_ends
from artifex_bench.report.plots.panels import (
    add_style_legend,
    grid_panels,
    lay_out,
    share_limits,
    write_below,
)
from artifex_bench.report.plots.style import (
    BAR_GAP,
    MIB,
    Quantity,
    Styles,
    include_values,
    interval_lengths,
    legend_label,
    plot_mark,
    set_log_axis,
    shift_right,
)

WIDEST_DODGE = 60.0  # points that all lines of a panel are moved aside, together
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
    lengths = interval_lengths(known, quantity.column, size)
    barred = lengths is not None and lengths.any()
    heights = known[quantity.column] / size
    include_values(
        panel, known[axis] / unit, heights, *((heights - lengths[0], heights + lengths[1]) if barred else ())
    )
    lines = list(known.groupby(pd.Series(case_names(known), known.index), sort=False))
    step = min(BAR_GAP, WIDEST_DODGE / len(lines)) if barred and lines else 0.0
    for number, (name, points) in enumerate(lines):
        # lines with intervals are moved aside, so that no interval covers another one
        place = {"transform": shift_right(panel, step * (number - (len(lines) - 1) / 2))}
        look = styles[str(name)]
        across, up = points[axis] / unit, points[quantity.column] / size
        bars = interval_lengths(points, quantity.column, size)
        panel.errorbar(
            across, up, bars, color=look["color"], linewidth=1.4, capsize=2, label=legend_label(str(name)), **place
        )
        for index in points.index:  # hollow, so that each of several markers in one place is visible
            plot_mark(panel, index, across[index], up[index], **look, markersize=6, markerfacecolor="none", **place)
    panel.margins(x=0.05 + 0.5 * step * len(lines) / 200)  # a panel is about 200 points wide
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
    titles = [_describe_fixed_axes(rows.iloc[0], axis) for rows in groups]
    return _plot_groups(groups, titles, axis, measured, styles)


def _describe_fixed_axes(first: Any, axis: str) -> str:
    fixed = [f"{o} {first[o]:g}" for o in ("depth", "width", "batch", "sequence") if o != axis and first[o] > 0]
    fixed += [f"seed {first.seed}"] if first.seed else []
    return f"{first.model}, {first['dtype']}, {first['layers']}\n{', '.join(fixed)}"


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
    titles = [_describe_fixed_state(rows.iloc[0], axis) for rows in groups]
    return _plot_groups(groups, titles, axis, quantities, styles, ("raw_write_seconds", "raw_read_seconds"))


def _describe_fixed_state(first: Any, axis: str) -> str:
    """The state in words without the axis that varies."""
    sizes = {"size": units.format_bytes(first["size"]), "arrays": f"{first['arrays']} arrays"}
    shape = {**first, "devices": 1} if axis == "devices" else first
    words = [text for name, text in sizes.items() if name != axis]
    return ", ".join([*words, checkpoint.describe_state(shape).partition(", ")[2]])


def _plot_groups(
    groups: list[pd.DataFrame],
    titles: list[str],
    axis: str,
    quantities: Sequence[Quantity],
    styles: Styles,
    limits: Sequence[str] = (),
) -> Any:
    """Return a figure with a line of panels for each group. With columns of raw limits its axes are logarithmic."""
    whole = pd.concat(groups)
    figure, panels = grid_panels(titles, len(quantities))
    quantities = [quantity.with_unit_of(whole) for quantity in quantities]
    for line, rows in zip(panels, groups, strict=True):
        for column, (panel, quantity) in enumerate(zip(line, quantities, strict=True)):
            plot_scaling(panel, rows, axis, quantity, styles, log=bool(limits))
            if limits:
                raw = rows.sort_values(axis).drop_duplicates(axis)
                panel.plot(raw[axis] / (MIB if axis == "size" else 1), raw[limits[column]], color="k", linestyle="--")
    for compared in zip(*panels, strict=True):
        share_limits(compared, "y")
    lay_out(figure)
    unnamed: set[str] = set()
    for line, rows in zip(panels, groups, strict=True):
        for column, (panel, quantity) in enumerate(zip(line, quantities, strict=True)):
            ends = _line_ends(rows, axis, quantity, bool(limits))
            if limits:
                last = rows.sort_values(axis).drop_duplicates(axis).iloc[-1]
                ends.append(Label((last[axis] / (MIB if axis == "size" else 1), last[limits[column]]), "raw limit"))
            unnamed |= {label.text for label in label_line_ends(panel, ends)}
    add_style_legend(figure, styles, unnamed, line="-", markerfacecolor="none")
    barred = any(f"{quantity.column}_low" in whole for quantity in quantities)
    write_below(figure, ["bars: 95 % intervals; lines with bars are moved aside, so that bars do not overlap"] * barred)
    return figure


def _line_ends(rows: pd.DataFrame, axis: str, quantity: Quantity, log: bool) -> list[Label]:
    """The name of each line at its last point."""
    unit, size = MIB if axis == "size" else 1, 1.0 if log else quantity.scale(rows)[1]
    known = rows[rows[quantity.column].notna()].sort_values(axis)
    last = known.groupby(pd.Series(case_names(known), known.index), sort=False).tail(1)
    return [
        Label((x / unit, y / size), name)
        for x, y, name in zip(last[axis], last[quantity.column], case_names(last), strict=True)
    ]
