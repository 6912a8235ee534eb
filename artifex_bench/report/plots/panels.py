"""Figures of several panels: their layout, shared axes, and what stands below them: legends, notes, the origin."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.layout_engine import ConstrainedLayoutEngine

from artifex_bench.core.case import LOCAL
from artifex_bench.core.kind import case_names
from artifex_bench.report.plots.style import MUTED, Styles, ignore_missing_glyphs, legend_label
from artifex_bench.report.text import make_printable, shorten_labels

BEGINS = "\n(axis begins at "
LARGEST_RATIO = 12.0  # of the ranges of panels that share an axis: in a smaller panel differences would not be visible


def titled_panels(titles: Sequence[str], wide: float = 4.6, high: float = 3.6) -> tuple[Any, list[Any]]:
    """Return a figure with one panel for each title, in up to three columns.

    Args:
        titles: The title of each panel; a line break follows its first colon.
        wide: Width of a panel in inches.
        high: Height of a panel in inches.

    Returns:
        The figure, and its panels in the order of the titles.
    """
    columns = min(3, len(titles), max(1, math.ceil(math.sqrt(len(titles)))))
    lines = math.ceil(len(titles) / columns)
    return _make_panels(titles, (lines, columns), (wide * columns, high * lines), {})


def row_panels(groups: Sequence[tuple[str, pd.DataFrame]]) -> tuple[Any, list[Any]]:
    """Return a figure with one panel for each group, in which each case has a line of one height.

    Args:
        groups: (title, rows) of each group.

    Returns:
        The figure, and its panels in the order of the groups.
    """
    columns = 1 if len(groups) < 4 else 2 if len(groups) < 9 else 3
    counts = [len(rows) for _, rows in groups]
    heights = [max(counts[i : i + columns]) for i in range(0, len(counts), columns)]
    wide = 4.6 + 0.08 * max(len(name) for _, rows in groups for name in shorten_labels(case_names(rows)))
    size = (wide * columns, sum(1.1 + 0.24 * height for height in heights))
    more = {"height_ratios": [0.5 + 0.24 * height for height in heights]}
    figure, panels = _make_panels([title for title, _ in groups], (len(heights), columns), size, more)
    for i, (panel, count) in enumerate(zip(panels, counts, strict=True)):
        # rows of one height in all panels: a panel with fewer rows than its neighbour has room below them
        panel.set_ylim(heights[i // columns] - 0.4, -0.6)
        panel.set_yticks(range(count))
        panel.grid(axis="y", visible=False)
    return figure, panels


def grid_panels(titles: Sequence[str], columns: int) -> tuple[Any, list[list[Any]]]:
    """Return a figure with a line of panels for each title, and the panels of each line."""
    repeated = [title for title in titles for _ in range(columns)]
    size = (5.8 * columns, 3.5 * len(titles))
    figure, panels = _make_panels(repeated, (len(titles), columns), size, {})
    return figure, [panels[i : i + columns] for i in range(0, len(panels), columns)]


def _make_panels(
    titles: Sequence[str], grid: tuple[int, int], size: tuple[float, float], more: dict[str, Any]
) -> tuple[Any, list[Any]]:
    layout = ConstrainedLayoutEngine(h_pad=0.1, w_pad=0.1)
    figure, axes = plt.subplots(*grid, figsize=size, squeeze=False, layout=layout, gridspec_kw=more)
    for axis in axes.flat[len(titles) :]:
        axis.remove()
    panels = list(axes.flat[: len(titles)])
    for panel, title in zip(panels, titles, strict=True):
        panel.set_title("\n".join(shorten_labels(title.replace(": ", "\n", 1).split("\n"))), fontsize=9)
    return figure, panels


def share_limits(panels: Sequence[Any], axis: str) -> bool:
    """Give panels that are compared the same limits, unless their ranges differ so much that one would look empty.

    Args:
        panels: Panels whose axes have one quantity in one unit.
        axis: "x" or "y".

    Returns:
        Whether the panels have the same limits now.
    """
    limits = [sorted(getattr(panel, f"get_{axis}lim")()) for panel in panels]
    ends = [high for _, high in limits]
    logarithmic = bool(panels) and getattr(panels[0], f"get_{axis}scale")() == "log"
    if panels and not logarithmic and max(ends) > LARGEST_RATIO * min(ends):
        return False
    for panel in panels:
        panel.set(**{f"{axis}lim": (min(low for low, _ in limits), max(ends))})
        mark_truncated_axes(panel, axis)
    return True


def mark_truncated_axes(panel: Any, axes: str = "xy") -> None:
    """Say in the label of each linear axis that does not begin at 0 where it begins."""
    for name in axes:
        axis = getattr(panel, f"{name}axis")
        label = axis.get_label_text().split(BEGINS)[0]
        low, high = sorted(axis.get_view_interval())
        if axis.get_scale() == "linear" and low > 0:
            decimals = max(0, 2 - math.ceil(math.log10(high - low)))
            label += f"{BEGINS}{low:.{decimals}f})"
        axis.set_label_text(label)


def lay_out(figure: Any) -> None:
    """Lay out a figure as it is, so that places in it are known."""
    with ignore_missing_glyphs():
        figure.draw_without_rendering()


def freeze_layout(figure: Any) -> None:
    """Lay out a figure for good, so that labels can be placed in it."""
    if isinstance(figure.get_layout_engine(), ConstrainedLayoutEngine):
        lay_out(figure)
        figure.set_layout_engine("none")


def _lowest(figure: Any) -> tuple[float, float, float]:
    """The left, right and lower end of everything in a figure, in inches."""
    with ignore_missing_glyphs():
        box = figure.get_tightbbox(figure.canvas.get_renderer())
    return box.x0, box.x1, box.y0


def write_below(figure: Any, lines: Iterable[str]) -> None:
    """Write lines of small text below everything that a figure has; long lines are wrapped."""
    freeze_layout(figure)
    left, right, bottom = _lowest(figure)
    width, height = figure.get_size_inches()
    most = max(40, int((right - left) * 72 / (8 * 0.55)))  # characters; those of 8 points are 0.55 of that wide
    words = [part for line in lines if line for part in textwrap.wrap(make_printable(line), most)]
    if words:
        place = (left / width, (bottom - 0.06) / height)
        figure.text(*place, "\n".join(words), ha="left", va="top", fontsize=8, color=MUTED, linespacing=1.35)


def add_legend_below(figure: Any, handles: Sequence[Any]) -> None:
    """Put a legend below everything that a figure has."""
    freeze_layout(figure)
    left, right, bottom = _lowest(figure)
    width, height = figure.get_size_inches()
    longest = max(len(handle.get_label()) for handle in handles)
    columns = max(1, min(len(handles), int((right - left) / (0.5 + 0.075 * longest))))
    place = ((left + right) / 2 / width, (bottom - 0.04) / height)
    figure.legend(handles=handles, loc="upper center", bbox_to_anchor=place, ncols=columns)


def add_style_legend(figure: Any, styles: Styles, names: Iterable[str], line: Any = "none", **look: Any) -> None:
    """Put a legend of styles below everything that a figure has.

    Args:
        figure: The figure.
        styles: The style of each name.
        names: The names to show; without names there is no legend.
        line: The line style of the entries.
        **look: Keywords of `Line2D` that replace those of the styles.
    """
    wanted = set(names)
    handles = [
        matplotlib.lines.Line2D([], [], linestyle=line, label=legend_label(name), markersize=7, **{**style, **look})
        for name, style in styles.items()
        if name in wanted
    ]
    if handles:
        add_legend_below(figure, handles)


def add_panel_legend(figure: Any, panels: Sequence[Any]) -> None:
    """Put a legend of everything with a label in any of the panels below everything that a figure has."""
    entries = [zip(*panel.get_legend_handles_labels(), strict=True) for panel in panels]
    add_legend_below(figure, list({label: handle for pairs in entries for handle, label in pairs}.values()))


def add_origin(figure: Any, table: pd.DataFrame) -> None:
    """Write where a figure's numbers come from below it: device, JAX version, date, and the commit if it is recorded.

    Args:
        figure: The figure.
        table: A run's table; its `attrs` hold the origin.
    """
    origin = dict(table.attrs.get("origin", {}))
    targets = [str(target) for target in dict.fromkeys(table.get("target", ())) if target != LOCAL]
    if targets:
        origin["device"] = f"compiled ahead of time for {', '.join(targets)}"
    write_below(figure, [join_origin(origin)])


def join_origin(origin: Mapping[str, str]) -> str:
    """Return an origin of `describe_origin` as one line."""
    return " · ".join(origin[key] for key in ("device", "jax", "date", "commit") if origin.get(key))
