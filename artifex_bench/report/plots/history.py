"""A history: each figure over runs, relative to its first value, one panel for each quantity."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.lines import Line2D

from artifex_bench.report.history import Series
from artifex_bench.report.plots.style import assign_styles, legend_label, plot_style, save_figure
from artifex_bench.report.text import shorten_labels


def write_history(series: Sequence[Series], names: Sequence[str], path: Path) -> Path:
    """Write the figure of a history to a file whose ending names the format; returns the path."""
    with plot_style():
        return save_figure(_plot_panels(series, names), path)


def _plot_panels(series: Sequence[Series], names: Sequence[str]) -> Any:
    quantities = list(dict.fromkeys(one.quantity for one in series))
    styles = assign_styles(dict.fromkeys(one.label for one in series))
    figure, axes = plt.subplots(
        len(quantities),
        1,
        figsize=(max(6.0, 1.1 * len(names) + 3), 2.6 * len(quantities)),
        sharex=True,
        squeeze=False,
        layout="constrained",
    )
    for panel, quantity in zip(axes[:, 0], quantities, strict=True):
        for one in series:
            if one.quantity == quantity and one.known[0]:
                _plot_series(panel, one, styles[one.label])
        panel.set_ylabel("vs first run")
        panel.set_title(quantity, fontsize=9)
        panel.yaxis.set_major_formatter("{x:g}x")
    axes[-1, 0].set_xticks(range(len(names)), shorten_labels(names), rotation=20, ha="right")
    handles = [Line2D([], [], label=legend_label(name), markersize=4, **look) for name, look in styles.items()]
    figure.legend(handles=handles, loc="outside lower center", title="rings and dotted lines: change points")
    return figure


def _plot_series(panel: Any, series: Series, style: dict[str, Any]) -> None:
    first = series.known[0]
    points = [(run, value / first) for run, value in enumerate(series.values) if value is not None]
    panel.plot(*zip(*points, strict=True), markersize=4, linewidth=1, **style)
    for change in series.changes:
        panel.axvline(change.run, color=style["color"], linewidth=0.8, linestyle=":")
        height = (series.values[change.run] or 0) / first
        panel.plot([change.run], [height], "o", markersize=10, markerfacecolor="none", color=style["color"])
