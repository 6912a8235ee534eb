"""Budgets: the curve of memory plans among the points of the named strategies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from artifex_bench.report.plots.panels import mark_truncated_axes, titled_panels, write_below
from artifex_bench.report.plots.style import (
    MUTED,
    Quantity,
    Styles,
    plot_mark,
)
from artifex_bench.report.plots.tradeoff import label_panels
from artifex_bench.report.text import shorten_label

# The curve takes no strategy's style: grey is not in COLOURS.
CURVE = {"color": MUTED, "marker": "o", "markerfacecolor": "white"}
NEAR = 0.06  # of the width between all points: labels of nearer points would overlap


def is_planned(rows: pd.DataFrame) -> Any:
    """Return whether each row's strategy is a budget."""
    return rows.strategy.str.startswith("budget-")


def plot_budget_curve(panel: Any, rows: pd.DataFrame, x: Quantity, y: Quantity, styles: Styles) -> None:
    """Plot budgets joined by a line, with the budgets as text, and each named strategy as a marker.

    Args:
        panel: The axes to draw on.
        rows: The cases of one shape; both quantities are present.
        x: The peak.
        y: The step time.
        styles: The style of each case name.
    """
    (x_label, x_size), (y_label, y_size) = x.scale(rows), y.scale(rows)
    planned = rows[is_planned(rows)].sort_values([x.column, y.column])
    panel.plot(planned[x.column] / x_size, planned[y.column] / y_size, color=MUTED, zorder=3)
    for index, row in planned.iterrows():
        plot_mark(panel, index, row[x.column] / x_size, row[y.column] / y_size, zorder=3, markersize=8, **CURVE)
    for same in _near(planned, x.column, NEAR * (rows[x.column].max() - rows[x.column].min())):
        budgets = shorten_label(", ".join(name.removeprefix("budget-") for name in same.strategy))
        spot = (same[x.column].mean() / x_size, same[y.column].min() / y_size)
        panel.annotate(budgets, spot, textcoords="offset points", xytext=(0, -20), ha="center", fontsize=8)
    for index, row in rows[~is_planned(rows)].iterrows():
        look = styles[str(row.strategy)]
        plot_mark(panel, index, row[x.column] / x_size, row[y.column] / y_size, markersize=7, **look)
    panel.margins(0.1, 0.15)
    panel.set_xlabel(x_label)
    panel.set_ylabel(y_label)
    mark_truncated_axes(panel)


def _near(planned: pd.DataFrame, column: str, least: float) -> Iterator[pd.DataFrame]:
    """Rows by rising column, those together that share a label: further than `least` from the next."""
    begins = planned[column].diff() > least
    for _, same in planned.groupby(begins.cumsum()):
        yield same


def plot_budget_curves(groups: list[tuple[str, pd.DataFrame]], x: Quantity, y: Quantity, styles: Styles) -> Any:
    """Return a figure with one panel for each shape.

    Args:
        groups: (title, rows) of each shape.
        x: The peak.
        y: The step time.
        styles: The style of each case name.
    """
    figure, panels = titled_panels([title for title, _ in groups], wide=6.4, high=4.6)
    for panel, (_, rows) in zip(panels, groups, strict=True):
        plot_budget_curve(panel, rows, x, y, styles)
    label_panels(figure, panels, [rows[~is_planned(rows)] for _, rows in groups], styles)
    note = "the line joins budgets: in bytes, or as shares of the way from the smallest plan to no rematerialization"
    write_below(figure, [note])
    return figure
