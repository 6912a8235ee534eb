"""The charts of the page: the trade-off with its Pareto front, budgets, and how cases scale."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from markupsafe import Markup

from artifex_bench.core import units
from artifex_bench.core.kind import Table, case_names
from artifex_bench.core.stats import pareto_front
from artifex_bench.kinds import checkpoint
from artifex_bench.kinds.remat_columns import AOT_TABLE, LOCAL_TABLE
from artifex_bench.kinds.remat_groups import estimated_front
from artifex_bench.report.html.svg import draw_legend_marker, embed_figure
from artifex_bench.report.plots.budget import CURVE, is_planned, plot_budget_curve
from artifex_bench.report.plots.ranking import plot_ranking
from artifex_bench.report.plots.runs import (
    CHECKPOINT_AXES,
    COMMITTED,
    COMPILED_PEAK,
    ESTIMATED_STEP,
    REMAT_AXES,
    RESTORED,
    STEP_TIME,
)
from artifex_bench.report.plots.scaling import plot_scaling, scaled_groups
from artifex_bench.report.plots.style import Quantity, Styles, plot_style
from artifex_bench.report.plots.tradeoff import label_cases, mark_capacity, plot_tradeoff

# Units of the figures, in inches of 72. The page shows one unit as 0.85 to 1.4 pixels: wide enough for a screen of
# 400 pixels without scrolling, and as large as the text around it on a wide one.
WIDTH, HEIGHT, FONT = 6.0, 4.4, 10.5
# Figures of a chart that are drawn, and the cases in them; further figures are tables of their values. A page of 1,000
# cases takes 24 s of a processor without these limits (6.0 MiB), and 9 s with them (2.6 MiB).
MOST_DRAWN, MOST_CASES = 6, 300
ACT = "Point at a case to read its figures. Click it to show only that case."


@dataclass(frozen=True)
class Plan:
    """What is plotted of a kind of run.

    Attributes:
        x: The quantity along x of the trade-off.
        y: The quantity along y of the trade-off.
        axes: The axes that cases may scale over.
        log: Whether axes are logarithmic.
    """

    x: Quantity
    y: Quantity
    axes: tuple[str, ...]
    log: bool = False


@dataclass(frozen=True)
class Figure:
    """What a chart shows at a time.

    Attributes:
        label: The cases that it shows.
        panels: SVG elements side by side.
        legend: (marker, name) of each style.
        headings: Headings of a table of values, in place of the panels.
        values: (index of the case's row, its cells) of that table.
    """

    label: str
    panels: Sequence[Markup] = ()
    legend: Sequence[tuple[Markup, str]] = ()
    headings: Sequence[str] = ()
    values: Sequence[tuple[int, list[str]]] = ()


@dataclass(frozen=True)
class Chart:
    """Figures under one heading, of which the reader chooses one."""

    key: str
    title: str
    caption: str
    figures: list[Figure]


# Name of a table -> what its page plots; faults have no charts.
PLANS: dict[str, Plan] = {
    LOCAL_TABLE: Plan(COMPILED_PEAK, STEP_TIME, REMAT_AXES),
    AOT_TABLE: Plan(COMPILED_PEAK, ESTIMATED_STEP, ()),
    checkpoint.TABLE: Plan(RESTORED, COMMITTED, CHECKPOINT_AXES, log=True),
}


class _Drawer:
    """Makes the SVG elements of one page, with one style for each case name."""

    def __init__(self, table: pd.DataFrame, styles: Styles) -> None:
        self.styles = styles
        self._rows = table
        self._names = dict(zip(table.index, case_names(table), strict=True))

    def draw_figure(
        self,
        key: str,
        label: str,
        rows: pd.DataFrame,
        panels: Sequence[tuple[Callable[[Any], None], tuple[Quantity, ...]]],
        height: float = HEIGHT,
        axis: str | None = None,
        curves: Styles | None = None,
    ) -> Figure:
        """Draw each panel by its function, and describe each case by its setting of the axis and its quantities.

        Beyond the first figures of a chart, return a table of the quantities.
        """
        number = int(key.rpartition("-")[2])
        if number >= MOST_DRAWN or number * len(rows) >= MOST_CASES:
            return self.tabulate(label, rows, list(dict.fromkeys(q for _, own in panels for q in own)), axis)
        elements = []
        for number, (plot, quantities) in enumerate(panels):
            with plot_style(), plt.rc_context({"font.size": FONT, "figure.dpi": 72}):
                figure, axes = plt.subplots(figsize=(WIDTH, height), layout="constrained")
                axes.spines[["top", "right"]].set_visible(False)
                plot(axes)
                title = " against ".join(quantity.label for quantity in quantities)
                describe = partial(self.describe, quantities, axis)
                elements.append(embed_figure(figure, f"{key}-{number}", title, describe))
        styles = {name: self.styles[name] for name in dict.fromkeys(case_names(rows))} if len(rows) else {}
        return Figure(
            label, elements, [(draw_legend_marker(look), name) for name, look in {**(curves or {}), **styles}.items()]
        )

    def tabulate(self, label: str, rows: pd.DataFrame, quantities: Sequence[Quantity], axis: str | None) -> Figure:
        """Return the quantities of the cases as a figure without panels."""
        headings = ["case", *([axis] if axis else []), *(quantity.label for quantity in quantities)]
        values = []
        for index, row in rows.iterrows():
            settings = [setting_words(axis, row[axis])] if axis else []
            numbers = [_words(quantity, row[quantity.column]) for quantity in quantities]
            values.append((int(index), [self._names[index], *settings, *numbers]))
        return Figure(label, headings=headings, values=values)

    def describe(self, quantities: Sequence[Quantity], axis: str | None, index: int) -> str:
        """Return a case's name, setting and quantities in words."""
        row = self._rows.loc[index]
        words = [f"{axis} {setting_words(axis, row[axis])}"] if axis else []
        words += [f"{quantity.label} {_words(quantity, row[quantity.column])}" for quantity in quantities]
        return f"{self._names[index]}: {', '.join(words)}"


def _words(quantity: Quantity, value: float) -> str:
    return units.format_bytes(value) if quantity.unit == "bytes" else units.format_seconds(value)


def draw_charts(rows: pd.DataFrame, table: Table, styles: Styles, chosen: Mapping[str, str | None]) -> Iterator[Chart]:
    """Yield every chart that the table has data for.

    Args:
        rows: The rows of one table.
        table: The table that shows them.
        styles: The style of each case name of the run.
        chosen: The recommended case of each shape.
    """
    plan = PLANS.get(table.name)
    usable = rows[rows.status == "ok"]
    if plan is None or usable.empty:
        return
    drawer = _Drawer(rows, styles)
    both = usable[usable[plan.x.column].notna() & usable[plan.y.column].notna()]
    known = usable[usable[plan.x.column].notna()]
    if not both.empty:
        groups = list(table.group_rows(both))
        yield Chart(
            "tradeoff",
            f"{plan.y.label.partition(',')[0]} against {plan.x.label}".capitalize(),
            "Lower left is better. Filled markers are on the Pareto front, the dashed line. Vertical bars are 95 % "
            f"intervals. {ACT}",
            [
                _draw_tradeoff(drawer, f"tradeoff-{i}", title, rows, plan, chosen)
                for i, (title, rows) in enumerate(groups)
            ],
        )
    untimed = [group for group in table.group_rows(known) if group[1][plan.y.column].isna().all() and len(group[1]) > 1]
    if untimed:
        yield Chart(
            "peaks",
            plan.x.label.capitalize(),
            f"These cases have no {plan.y.label.partition(',')[0]}. {ACT}",
            [_draw_ranking(drawer, f"peaks-{i}", title, rows, plan) for i, (title, rows) in enumerate(untimed)],
        )
    if plan.x is COMPILED_PEAK:
        curves = [(title, rows) for title, rows in table.group_rows(both) if is_planned(rows).sum() > 1]
        if curves:
            yield Chart(
                "budget",
                "Memory budgets",
                "The line joins memory plans by rising budget. Each budget is in bytes, or a share of the way from the "
                f"smallest plan to no rematerialization. {ACT}",
                [_draw_budget(drawer, f"budget-{i}", title, rows, plan) for i, (title, rows) in enumerate(curves)],
            )
    for axis in plan.axes:
        figures = list(_draw_scaling(drawer, usable, table.shape, axis, plan))
        if figures:
            bars = "Bars are 95 % intervals. " if usable[plan.y.column].notna().any() else ""
            yield Chart(f"scaling-{axis}", f"Over {axis}", f"{bars}{ACT}", figures)


def _draw_tradeoff(
    drawer: _Drawer, key: str, title: str, rows: pd.DataFrame, plan: Plan, chosen: Mapping[str, str | None]
) -> Figure:
    if plan.y is ESTIMATED_STEP:
        best = estimated_front(rows)
    else:
        best = set(rows.index[pareto_front(list(zip(rows[plan.x.column], rows[plan.y.column], strict=True)))])
    picked = next((i for i, name in zip(rows.index, case_names(rows), strict=True) if name == chosen.get(title)), None)

    def plot(panel: Any) -> None:
        plot_tradeoff(panel, rows, plan.x, plan.y, best, drawer.styles, plan.log)
        if plan.y is ESTIMATED_STEP:
            mark_capacity(panel, rows.capacity_bytes.iloc[0], plan.x.scale(rows)[1])
        label_cases(panel, rows[rows.index.isin({*best, picked})], picked)

    return drawer.draw_figure(key, title, rows, [(plot, (plan.y, plan.x))])


def _draw_ranking(drawer: _Drawer, key: str, title: str, rows: pd.DataFrame, plan: Plan) -> Figure:
    def plot(panel: Any) -> None:
        plot_ranking(panel, rows, plan.x, drawer.styles)
        if "capacity_bytes" in rows:
            mark_capacity(panel, rows.capacity_bytes.iloc[0], plan.x.scale(rows)[1])

    figure = drawer.draw_figure(key, title, rows, [(plot, (plan.x,))], height=0.9 + 0.26 * len(rows))
    return replace(figure, legend=())  # the names stand on the axis


def _draw_budget(drawer: _Drawer, key: str, title: str, rows: pd.DataFrame, plan: Plan) -> Figure:
    plot = partial(plot_budget_curve, rows=rows, x=plan.x, y=plan.y, styles=drawer.styles)
    named = rows[~is_planned(rows)]
    return drawer.draw_figure(key, title, named, [(plot, (plan.y, plan.x))], curves={"budget-…": CURVE})


def _draw_scaling(
    drawer: _Drawer, table: pd.DataFrame, shape: Sequence[str], axis: str, plan: Plan
) -> Iterator[Figure]:
    """Both quantities over an axis, one figure for each setting of the other axes."""
    others = [column for column in (*shape, "seed") if column != axis and table[column].nunique(dropna=False) > 1]
    for number, rows in enumerate(scaled_groups(table, axis, shape)):
        first = rows.iloc[0]
        settings = [
            f"{column} {setting_words(column, first[column])}"
            for column in others
            if column == "mesh" or units.is_present(first[column])
        ]
        quantities = [quantity for quantity in (plan.y, plan.x) if rows[quantity.column].notna().any()]
        panels = [
            (
                partial(plot_scaling, rows=rows, axis=axis, quantity=quantity, styles=drawer.styles, log=plan.log),
                (quantity,),
            )
            for quantity in quantities
        ]
        if panels:
            key = f"scaling-{axis}-{number}"
            yield drawer.draw_figure(key, ", ".join(settings) or "all cases", rows, panels, axis=axis)


def setting_words(axis: str, value: Any) -> str:
    """Return an axis's setting in words."""
    if not units.is_present(value):
        return "none" if axis == "mesh" else units.ABSENT
    if axis in ("size", "chunk"):
        return units.format_bytes(value)
    return f"{value:g}" if isinstance(value, float) else str(value)
