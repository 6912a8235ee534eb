"""The plot of budgets: the curve of what was planned over the points of the strategies that have a name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from artifex_bench.report.plots import COLOURS, MARKERS, MIB, legend_below, styles, titled_panels
from artifex_bench.report.remat import shapes

PLANNED = {"color": COLOURS[0], "marker": MARKERS[0]}  # those of the first name, which is left out below


def draw(table: pd.DataFrame, column: str, label: str) -> Iterator[tuple[str, Any]]:
    """("budget", figure) where a shape has two budgets or more; `column` is the step in seconds, `label` its name."""
    known = table[table.compiled_peak_bytes.notna() & table[column].notna()]
    groups = [(title, rows) for title, rows in shapes(known) if _planned(rows).sum() > 1]
    if groups:
        yield "budget", _curve(groups, column, label)


def _planned(rows: pd.DataFrame) -> Any:
    return rows.strategy.str.startswith("budget-")


def _curve(groups: list[tuple[str, pd.DataFrame]], column: str, label: str) -> Any:
    """Step time against compiled peak: budgets joined by a line, each strategy by hand a point with a colour."""
    by_hand = dict.fromkeys(name for _, rows in groups for name in rows.strategy[~_planned(rows)])
    looks = {name: look for name, look in styles(["", *by_hand]).items() if name}
    figure, panels = titled_panels([title for title, _ in groups], wide=6.0, high=4.2)
    for panel, (_, rows) in zip(panels, groups, strict=True):
        planned = rows[_planned(rows)].sort_values(["compiled_peak_bytes", column])
        panel.plot(planned.compiled_peak_bytes / MIB, planned[column] * 1e3, zorder=3, markersize=8, **PLANNED)
        met = planned.groupby("compiled_peak_bytes", sort=False)  # budgets that came to the same plan share a point
        for peak, same in met:
            told = ", ".join(name.removeprefix("budget-") for name in same.strategy)
            at = (float(peak) / MIB, float(same[column].iloc[0]) * 1e3)
            panel.annotate(told, at, textcoords="offset points", xytext=(0, -13), ha="center", fontsize=8)
        for row in rows[~_planned(rows)].itertuples():
            at_hand = (row.compiled_peak_bytes / MIB, getattr(row, column) * 1e3)
            panel.plot(*at_hand, linestyle="none", markersize=7, **looks[str(row.strategy)])
        panel.margins(0.1, 0.15)
        panel.set_xlabel("compiled peak memory (MiB)")
        panel.set_ylabel(label)
    note = "the line: budgets, in bytes or as shares of the way from the leanest plan to no rematerialization"
    legend_below(figure, {"budget-…": PLANNED, **looks}, note)
    return figure
