"""The trade-off: one quantity against another, a marker for each case, the Pareto front as a line."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd

from artifex_bench.core import units
from artifex_bench.core.kind import case_names
from artifex_bench.core.units import is_present
from artifex_bench.kinds.remat_groups import measured_front
from artifex_bench.report.plots.labels import Label, place_labels
from artifex_bench.report.plots.panels import (
    add_style_legend,
    freeze_layout,
    mark_truncated_axes,
    share_limits,
    titled_panels,
    write_below,
)
from artifex_bench.report.plots.style import (
    MUTED,
    RECOMMENDED,
    RULE,
    Quantity,
    Styles,
    dodge_bars,
    ignore_missing_glyphs,
    include_values,
    interval_lengths,
    plot_mark,
    set_log_axis,
    shift_right,
)

TIME_RATIO = Quantity("time_ratio", "step time, x none", "")
PEAK_RATIO = Quantity("compiled_peak_ratio", "compiled peak memory, x none", "")
LIMIT = "#C14E00"  # the capacity of a device, and what lies beyond it


def plot_tradeoff(
    panel: Any, rows: pd.DataFrame, x: Quantity, y: Quantity, front: Collection[Any], styles: Styles, log: bool = False
) -> None:
    """Plot `y` against `x` with 95 % intervals of `y`. Markers of the Pareto front are filled and larger.

    An interval that would overlap another one is drawn beside its marker.

    Args:
        panel: The axes to draw on.
        rows: The cases of one shape; both quantities are present.
        x: The quantity along the x axis.
        y: The quantity along the y axis.
        front: Index labels of the rows on the Pareto front.
        styles: The style of each case name.
        log: Whether both axes are logarithmic. The x axis begins at 0 otherwise.
    """
    (x_label, x_size), (y_label, y_size) = ((q.label, 1.0) if log else q.scale(rows) for q in (x, y))
    across, up = rows[x.column] / x_size, rows[y.column] / y_size
    best = rows[rows.index.isin(front)].sort_values([x.column, y.column]).index
    panel.step(across[best], up[best], where="post", color=MUTED, linestyle="--", linewidth=1, zorder=1)
    _plot_intervals(panel, rows, across, up, interval_lengths(rows, y.column, y_size), styles, log)
    for index, name in zip(rows.index, case_names(rows), strict=True):
        look, filled = styles[name], index in best
        face = look["color"] if filled else "white"
        size = 8 if filled else 6
        plot_mark(panel, index, across[index], up[index], **look, markersize=size, markerfacecolor=face, zorder=3)
    panel.set_xlabel(x_label)
    panel.set_ylabel(y_label)
    if log:
        for axis, values, unit in ((panel.xaxis, across, x.unit), (panel.yaxis, up, y.unit)):
            set_log_axis(axis, "s" if unit == "seconds" else unit or None)
            _reach_a_tick(axis, values[values > 0])
    else:
        panel.margins(0.08, 0.12)
        panel.set_xlim(0, panel.get_xlim()[1])
        mark_truncated_axes(panel)


def _plot_intervals(
    panel: Any, rows: pd.DataFrame, across: Any, up: Any, lengths: Any, styles: Styles, log: bool
) -> None:
    """Plot the intervals of the rows that have one, each where it overlaps no other one."""
    barred = lengths.any(axis=0) if lengths is not None else np.zeros(len(rows), bool)
    if not barred.any():
        return
    below, above = lengths
    include_values(panel, across, up - below, up + above)
    places = _places_in_points(panel, across, log)[barred]
    offsets = dodge_bars(places, (up - below)[barred], (up + above)[barred])
    bars = lengths[:, barred].T[:, :, None]
    for index, name, offset, bar in zip(rows.index[barred], case_names(rows[barred]), offsets, bars, strict=True):
        look = {"color": styles[name]["color"], "linestyle": "none", "linewidth": 1, "capsize": 2}
        panel.errorbar(across[index], up[index], yerr=bar, transform=shift_right(panel, offset), **look)


def _places_in_points(panel: Any, across: pd.Series[float], log: bool) -> Any:
    """Where values will be along the x axis, in points, before its limits are final."""
    values = np.asarray(np.log(across.where(across > 0)) if log else across, float)
    low, high = (np.nanmin(values), np.nanmax(values)) if log else (0, np.nanmax(values))
    width = panel.get_window_extent().width * 72 / panel.figure.dpi
    return np.nan_to_num((values - low) / ((high - low) or 1)) * width


def _reach_a_tick(axis: Any, values: pd.Series[float]) -> None:
    """Widen a logarithmic axis, if its values are so close that no tick may lie between them."""
    if len(values) and values.max() < 2.5 * values.min():
        axis.axes.set(**{f"{axis.axis_name}lim": (values.min() / 1.6, values.max() * 1.6)})


def label_cases(panel: Any, rows: pd.DataFrame, first: Any = None) -> None:
    """Write the names of cases beside their markers, each where it covers no marker, line or other name.

    A name that has no such place is left out.

    Args:
        panel: Axes on which `plot_tradeoff` drew these rows.
        rows: The cases to name, in order of importance.
        first: Index label of the recommended case, which gets a ring and is named before the others.
    """
    if first is not None:
        ring = {"markersize": 15, "markerfacecolor": "none", "markeredgecolor": RECOMMENDED, "markeredgewidth": 1.6}
        panel.plot(*_find_spots(panel)[f"mark-{first}"], marker="o", linestyle="none", zorder=4, **ring)
    with ignore_missing_glyphs():
        panel.figure.draw_without_rendering()
    place_labels(panel, _case_labels(panel, rows, first))


def label_panels(
    figure: Any, panels: list[Any], groups: list[pd.DataFrame], styles: Styles, size: float = 7.5, **look: Any
) -> None:
    """Write the names of cases beside their markers in all panels; a legend has the names that some panel lacks.

    Args:
        figure: The figure; its layout becomes final.
        panels: Its panels.
        groups: The cases that each panel shows as markers.
        styles: The style of each case name.
        size: Font size in points.
        **look: Keywords of `Line2D` that replace those of the styles in the legend.
    """
    freeze_layout(figure)
    missing = [
        label.text
        for panel, rows in zip(panels, groups, strict=True)
        for label in place_labels(panel, _case_labels(panel, rows), size)
    ]
    add_style_legend(figure, styles, missing, **look)


def _find_spots(panel: Any) -> dict[str, Any]:
    return {line.get_gid(): line.get_xydata()[0] for line in panel.get_lines() if line.get_gid()}


def _case_labels(panel: Any, rows: pd.DataFrame, first: Any = None) -> list[Label]:
    spots = _find_spots(panel)
    named = zip(rows.index, case_names(rows), strict=True)
    labels = [Label(tuple(spots[f"mark-{index}"]), name, index == first) for index, name in named]
    return sorted(labels, key=lambda label: not label.strong)


def plot_relative_tradeoffs(groups: list[tuple[str, pd.DataFrame]], styles: Styles) -> Any:
    """Return a figure of step time against compiled peak, both relative to none, with one panel for each shape.

    Args:
        groups: (title, rows) of each shape.
        styles: The style of each case name.
    """
    figure, panels = titled_panels([title for title, _ in groups], wide=5.2, high=4.0)
    for panel, (_, rows) in zip(panels, groups, strict=True):
        plot_tradeoff(panel, rows, PEAK_RATIO, TIME_RATIO, measured_front(rows), styles)
        panel.set_xlim(0, max(1.1, panel.get_xlim()[1]))
        panel.axhline(1, color=RULE, linewidth=0.8, zorder=0)
        panel.axvline(1, color=RULE, linewidth=0.8, zorder=0)
    share_limits(panels, "x")
    share_limits(panels, "y")
    label_panels(figure, panels, [rows for _, rows in groups], styles)
    write_below(figure, ["filled: on the Pareto front (dashed); bars: 95 % intervals"])
    return figure


def mark_capacity(panel: Any, capacity: float, size: float) -> None:
    """Mark the capacity of a device on the x axis: by a line, or by an arrow where it lies far beyond the points.

    Args:
        panel: Axes on which memory runs along x.
        capacity: Bytes that a program gets; NaN where that is not known.
        size: Size of the x axis's unit in bytes.
    """
    if not is_present(capacity) or not math.isfinite(capacity):
        return
    place, right = capacity / size, panel.get_xlim()[1]
    words = f"capacity {units.format_bytes(capacity)}"
    if place < right * 1.3:
        panel.set_xlim(right=max(right, place * 1.05))
        panel.axvspan(place, panel.get_xlim()[1], color=LIMIT, alpha=0.1, linewidth=0)
        panel.axvline(place, color=LIMIT, linewidth=1.2)
    else:
        words += " →"
    panel.text(0.98, 0.97, words, transform=panel.transAxes, ha="right", va="top", fontsize=8, color=LIMIT)
