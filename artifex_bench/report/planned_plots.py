"""Plots of cases compiled for devices that are not there: what fits, and what an estimate says it costs."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Iterator
from typing import Any

import pandas as pd

from artifex_bench.core.case import LOCAL
from artifex_bench.core.record import REAL_STEPS
from artifex_bench.kinds.remat_groups import SHAPE, describe_shape, estimated_front, group_by_shape
from artifex_bench.report import budget_plots
from artifex_bench.report.plots import Styles, legend_below, styles, titled_panels

GIB = 2**30
STEP = f"estimated step time (ms; published: {REAL_STEPS})"


def draw(table: pd.DataFrame) -> Iterator[tuple[str, Any]]:
    """(name, figure) of every plot that the table has data for."""
    known = table[table.compiled_peak_bytes.notna() & table.estimated_step_seconds.notna()]
    if not known.empty:
        yield "absent_tradeoff", _tradeoff(known, styles(known.strategy.unique()))
    yield from budget_plots.draw(known, "estimated_step_seconds", STEP)
    if known.target.nunique() > 1:
        yield "absent_fronts", _fronts(known, styles(known.target.unique()))


def _tradeoff(table: pd.DataFrame, looks: Styles) -> Any:
    """Estimated step time against compiled peak for each target, with its capacity."""
    groups = [rows for _, rows in group_by_shape(table)]
    figure, panels = titled_panels([f"{rows.target.iloc[0]}, {_model(rows)}" for rows in groups])
    for panel, rows in zip(panels, groups, strict=True):
        best = estimated_front(rows)
        for row in rows.itertuples():
            style = looks[str(row.strategy)]
            face = style["color"] if row.Index in best else "white"
            size = 8 if row.Index in best else 6
            panel.plot(
                row.compiled_peak_bytes / GIB,
                row.estimated_step_seconds * 1e3,
                linestyle="none",
                markerfacecolor=face,
                markersize=size,
                **style,
            )
        panel.margins(0.12)
        panel.set_xlim(0, max(panel.get_xlim()[1], 1.12 * rows.compiled_peak_bytes.max() / GIB))
        _mark_capacity(panel, rows.capacity_bytes.iloc[0] / GIB)
        panel.set_xlabel("compiled peak memory (GiB)")
        panel.set_ylabel(STEP)
    legend_below(
        figure,
        looks,
        "filled: on the Pareto front of what fits; beyond the line: does not fit. Estimates, not measured.",
    )
    return figure


def _model(rows: pd.DataFrame) -> str:
    """The shape without its target, in lines that fit a panel."""
    name, _, sizes = describe_shape({**rows.iloc[0], "target": LOCAL}).partition(": ")
    return f"{name}: {textwrap.fill(sizes, 52)}"


def _mark_capacity(panel: Any, capacity: float) -> None:
    """The capacity as a line, or as a word where it is far beyond what is drawn."""
    if capacity < panel.get_xlim()[1] * 1.3:
        panel.set_xlim(right=max(panel.get_xlim()[1], capacity * 1.05))
        panel.axvspan(capacity, panel.get_xlim()[1], color="#D55E00", alpha=0.12, linewidth=0)
        panel.axvline(capacity, color="#D55E00", linewidth=1.2)
    panel.text(0.98, 0.97, f"capacity {capacity:.1f} GiB", transform=panel.transAxes, ha="right", va="top", fontsize=8)


def _fronts(table: pd.DataFrame, looks: Styles) -> Any:
    """The Pareto fronts of one shape on several targets."""
    columns = [axis for axis in (*SHAPE, "seed") if axis != "target"]
    groups = [rows for _, rows in table.groupby(columns, sort=False, dropna=False) if rows.target.nunique() > 1]
    figure, panels = titled_panels([_model(rows) for rows in groups], wide=5.6)
    lines = itertools.cycle(("-", "--", ":", "-."))
    dashes = {name: next(lines) for name in looks}
    for panel, rows in zip(panels, groups, strict=True):
        for target, own in rows.groupby("target", sort=False):
            best = own.loc[sorted(estimated_front(own))].sort_values("compiled_peak_bytes")
            panel.plot(
                best.compiled_peak_bytes / GIB,
                best.estimated_step_seconds * 1e3,
                drawstyle="steps-post",
                linestyle=dashes[str(target)],
                **looks[str(target)],
            )
        panel.set_xlabel("compiled peak memory (GiB)")
        panel.set_ylabel(STEP)
        panel.set_xlim(left=0)
        panel.set_ylim(bottom=0)
    legend_below(
        figure, looks, "each point is a strategy on its target's Pareto front. Estimates, not measured.", line="-"
    )
    return figure
