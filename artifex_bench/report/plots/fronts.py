"""Fronts: the Pareto fronts of one shape on several AOT targets."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pandas as pd

from artifex_bench.kinds.remat_groups import SHAPE
from artifex_bench.report.plots.style import Quantity, Styles, add_style_legend, titled_panels
from artifex_bench.report.plots.tradeoff import shape_without_target


def plot_fronts(
    table: pd.DataFrame, x: Quantity, y: Quantity, styles: Styles, front: Callable[[pd.DataFrame], set[int]]
) -> Any:
    """Return a figure with a line for each target, and one panel for each shape that several targets have.

    Args:
        table: Cases that were compiled for AOT targets.
        x: The quantity along the x axis.
        y: The quantity along the y axis.
        styles: The style of each target.
        front: The index labels of the rows on the Pareto front of one target.
    """
    columns = [axis for axis in (*SHAPE, "seed") if axis != "target"]
    groups = [rows for _, rows in table.groupby(columns, sort=False, dropna=False) if rows.target.nunique() > 1]
    figure, panels = titled_panels([shape_without_target(rows) for rows in groups], wide=5.6)
    lines = itertools.cycle(("-", "--", ":", "-."))
    dashes = {name: next(lines) for name in styles}
    for panel, rows in zip(panels, groups, strict=True):
        (x_label, x_size), (y_label, y_size) = x.scale(rows), y.scale(rows)
        for target, own in rows.groupby("target", sort=False):
            best = own.loc[sorted(front(own))].sort_values(x.column)
            look = {"drawstyle": "steps-post", "linestyle": dashes[str(target)], **styles[str(target)]}
            panel.plot(best[x.column] / x_size, best[y.column] / y_size, **look)
        panel.set_xlabel(x_label)
        panel.set_ylabel(y_label)
        panel.set_xlim(left=0)
        panel.set_ylim(bottom=0)
    note = "each point is a strategy on its target's Pareto front. Estimates, not measured."
    add_style_legend(figure, styles, note, line="-")
    return figure
