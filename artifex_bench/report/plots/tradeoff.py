"""The trade-off: one quantity against another, a marker for each case, the Pareto front as a line."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.transforms import Bbox

from artifex_bench.core.case import LOCAL
from artifex_bench.core.units import is_present
from artifex_bench.kinds.remat_groups import describe_shape, estimated_front, group_by_shape, measured_front
from artifex_bench.report.plots.style import (
    INK,
    MUTED,
    RECOMMENDED,
    RULE,
    Quantity,
    Styles,
    add_style_legend,
    case_names,
    ignore_missing_glyphs,
    interval_lengths,
    plot_mark,
    set_log_axis,
    titled_panels,
)
from artifex_bench.report.text import shorten_label

TIME_RATIO = Quantity("time_ratio", "step time, x none", "")
PEAK_RATIO = Quantity("compiled_peak_ratio", "compiled peak memory, x none", "")


def plot_tradeoff(
    panel: Any, rows: pd.DataFrame, x: Quantity, y: Quantity, front: Collection[Any], styles: Styles, log: bool = False
) -> None:
    """Plot `y` against `x` with 95 % intervals of `y`. Markers of the Pareto front are filled and larger.

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
    lengths = interval_lengths(rows, y.column, y_size)
    for i, (index, name) in enumerate(zip(rows.index, case_names(rows), strict=True)):
        look = styles[name]
        spot = (across[index], up[index])
        if lengths is not None and lengths[:, i].any():
            panel.errorbar(*spot, yerr=lengths[:, [i]], linestyle="none", linewidth=1, capsize=2, color=look["color"])
        filled = index in best
        face = look["color"] if filled else "white"
        plot_mark(panel, index, *spot, **look, markersize=8 if filled else 6, markerfacecolor=face, zorder=3)
    panel.set_xlabel(x_label)
    panel.set_ylabel(y_label)
    if log:
        for axis, values, unit in ((panel.xaxis, across, x.unit), (panel.yaxis, up, y.unit)):
            set_log_axis(axis, "s" if unit == "seconds" else unit or None)
            _reach_a_tick(axis, values[values > 0])
    else:
        panel.margins(0.08, 0.12)
        panel.set_xlim(0, panel.get_xlim()[1])


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
    spots = {line.get_gid(): line.get_xydata()[0] for line in panel.get_lines() if line.get_gid()}
    if first is not None:
        ring = {"markersize": 15, "markerfacecolor": "none", "markeredgecolor": RECOMMENDED, "markeredgewidth": 1.6}
        panel.plot(*spots[f"mark-{first}"], marker="o", linestyle="none", zorder=4, **ring)
    renderer = panel.figure.canvas.get_renderer()
    panel.figure.draw_without_rendering()
    taken = list(_drawn_boxes(panel, 4 * panel.figure.dpi / 72))
    frame = panel.get_window_extent(renderer)
    order = sorted(zip(rows.index, case_names(rows), strict=True), key=lambda one: one[0] != first)
    for index, name in order:
        look = {"color": RECOMMENDED, "weight": "bold"} if index == first else {"color": INK}
        gap = 10 if index == first else 7
        for right, above in ((True, False), (False, False), (True, True), (False, True)):
            label = panel.annotate(
                shorten_label(name),
                spots[f"mark-{index}"],
                xytext=(gap if right else -gap, gap if above else -gap),
                textcoords="offset points",
                ha="left" if right else "right",
                va="bottom" if above else "top",
                fontsize=9,
                annotation_clip=False,
                **look,
            )
            with ignore_missing_glyphs():
                box = label.get_window_extent(renderer)
            inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
            if inside and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            label.remove()


def _drawn_boxes(panel: Any, reach: float) -> Iterator[Bbox]:
    """The boxes, in pixels, of markers and of the straight parts of lines."""
    for line in panel.get_lines():
        if line.get_gid():
            x, y = panel.transData.transform(line.get_xydata()[0])
            yield Bbox([[x - reach, y - reach], [x + reach, y + reach]])
    paths = [line.get_path().vertices for line in panel.get_lines() if not line.get_gid()]
    paths += [part for bars in panel.collections for part in bars.get_segments()]
    for path in paths:
        for start, end in itertools.pairwise(panel.transData.transform(path)):
            yield Bbox([np.minimum(start, end) - 1, np.maximum(start, end) + 1])


def plot_relative_tradeoffs(groups: list[tuple[str, pd.DataFrame]], styles: Styles) -> Any:
    """Return a figure of step time against compiled peak, both relative to none, with one panel for each shape.

    Args:
        groups: (title, rows) of each shape.
        styles: The style of each case name.
    """
    figure, panels = titled_panels([title for title, _ in groups])
    for panel, (_, rows) in zip(panels, groups, strict=True):
        plot_tradeoff(panel, rows, PEAK_RATIO, TIME_RATIO, measured_front(rows), styles)
        panel.set_xlim(0, max(1.1, panel.get_xlim()[1]))
        panel.axhline(1, color=RULE, linewidth=0.8, zorder=0)
        panel.axvline(1, color=RULE, linewidth=0.8, zorder=0)
    names = pd.concat([rows for _, rows in groups]).strategy.unique()
    add_style_legend(figure, styles, "filled: on the Pareto front (dashed); bars: 95 % intervals", names=list(names))
    return figure


def plot_estimated_tradeoffs(table: pd.DataFrame, peak: Quantity, step: Quantity, styles: Styles) -> Any:
    """Return a figure of estimated step time against compiled peak, with one panel for each AOT target and shape.

    Args:
        table: Cases that were compiled for AOT targets.
        peak: The compiled peak.
        step: The estimated step time.
        styles: The style of each case name.
    """
    groups = [rows for _, rows in group_by_shape(table)]
    figure, panels = titled_panels([f"{rows.target.iloc[0]}, {shape_without_target(rows)}" for rows in groups])
    for panel, rows in zip(panels, groups, strict=True):
        plot_tradeoff(panel, rows, peak, step, estimated_front(rows), styles)
        mark_capacity(panel, rows.capacity_bytes.iloc[0], peak.scale(rows)[1])
    note = "filled: on the Pareto front of what fits; beyond the line: does not fit. Estimates, not measured."
    add_style_legend(figure, styles, note, names=list(table.strategy.unique()))
    return figure


def shape_without_target(rows: pd.DataFrame) -> str:
    """Return the shape of these rows without their target, in lines that fit a panel."""
    name, _, sizes = describe_shape({**rows.iloc[0], "target": LOCAL}).partition(": ")
    return f"{name}: {textwrap.fill(sizes, 52)}"


def mark_capacity(panel: Any, capacity: float, size: float) -> None:
    """Mark the capacity of a device on the x axis, as text alone where it lies far beyond the points.

    Args:
        panel: Axes on which memory runs along x.
        capacity: Bytes that a program gets; NaN where that is not known.
        size: Size of the x axis's unit in bytes.
    """
    if not is_present(capacity) or not math.isfinite(capacity):
        return
    place, right = capacity / size, panel.get_xlim()[1]
    if place < right * 1.3:
        panel.set_xlim(right=max(right, place * 1.05))
        panel.axvspan(place, panel.get_xlim()[1], color="#D55E00", alpha=0.12, linewidth=0)
        panel.axvline(place, color="#D55E00", linewidth=1.2)
    told = f"capacity {capacity / 2**30:.1f} GiB"
    panel.text(0.98, 0.97, told, transform=panel.transAxes, ha="right", va="top", fontsize=8)
