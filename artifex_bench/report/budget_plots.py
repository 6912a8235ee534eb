"""The plot of budgets: the curve of what was planned over the points of the strategies that have a name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from artifex_bench.kinds.remat_groups import group_by_shape
from artifex_bench.report.plots import COLOURS, MARKERS, MIB, legend_below, styles, titled_panels
from artifex_bench.report.text import caption

# those of the first name, which is left out below; hollow, for the ninth has its colour too
PLANNED = {"color": COLOURS[0], "marker": MARKERS[0], "markerfacecolor": "white"}
NEAR = 0.06  # of the width between all points: labels of points that are nearer would lie on one another


def draw(table: pd.DataFrame, column: str, label: str) -> Iterator[tuple[str, Any]]:
    """("budget", figure) where a shape has two budgets or more; `column` is the step in seconds, `label` its name."""
    known = table[table.compiled_peak_bytes.notna() & table[column].notna()]
    groups = [(title, rows) for title, rows in group_by_shape(known) if _planned(rows).sum() > 1]
    if groups:
        yield "budget", _curve(groups, column, label)


def _planned(rows: pd.DataFrame) -> Any:
    return rows.strategy.str.startswith("budget-")


def _near(planned: pd.DataFrame, bytes_apart: float) -> Iterator[pd.DataFrame]:
    """Budgets by rising peak, those together that have one label: apart from the next by more than so many bytes."""
    begins = planned.compiled_peak_bytes.diff() > bytes_apart
    for _, same in planned.groupby(begins.cumsum()):
        yield same


def _curve(groups: list[tuple[str, pd.DataFrame]], column: str, label: str) -> Any:
    """Step time against compiled peak: budgets joined by a line, each strategy by hand a point with a colour."""
    by_hand = dict.fromkeys(name for _, rows in groups for name in rows.strategy[~_planned(rows)])
    looks = {name: look for name, look in styles(["", *by_hand]).items() if name}
    figure, panels = titled_panels([title for title, _ in groups], wide=6.0, high=4.2)
    for panel, (_, rows) in zip(panels, groups, strict=True):
        planned = rows[_planned(rows)].sort_values(["compiled_peak_bytes", column])
        panel.plot(planned.compiled_peak_bytes / MIB, planned[column] * 1e3, zorder=3, markersize=8, **PLANNED)
        for same in _near(planned, NEAR * (rows.compiled_peak_bytes.max() - rows.compiled_peak_bytes.min())):
            told = caption(", ".join(name.removeprefix("budget-") for name in same.strategy))
            at = (same.compiled_peak_bytes.mean() / MIB, same[column].min() * 1e3)
            panel.annotate(told, at, textcoords="offset points", xytext=(0, -20), ha="center", fontsize=8)
        for row in rows[~_planned(rows)].itertuples():
            at_hand = (row.compiled_peak_bytes / MIB, getattr(row, column) * 1e3)
            panel.plot(*at_hand, linestyle="none", markersize=7, **looks[str(row.strategy)])
        panel.margins(0.1, 0.15)
        panel.set_xlabel("compiled peak memory (MiB)")
        panel.set_ylabel(label)
    note = "the line: budgets, in bytes or as shares of the way from the leanest plan to no rematerialization"
    legend_below(figure, {"budget-…": PLANNED, **looks}, note)
    return figure
