"""The page's charts, by plotly: the trade-off with its Pareto front, and how cases scale. Points carry their case."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from artifex_bench.core import units
from artifex_bench.core.stats import pareto_front
from artifex_bench.report import look
from artifex_bench.report.views import view_of


@dataclass(frozen=True)
class Quantity:
    """A column of the table as an axis; `unit` is "seconds" or "bytes"."""

    column: str
    label: str
    unit: str


@dataclass(frozen=True)
class Plan:
    """What is drawn of a kind of case: what is traded for what, and the axes that it may scale over."""

    x: Quantity
    y: Quantity
    scale: str
    axes: tuple[str, ...]


@dataclass(frozen=True)
class Chart:
    """Figures under one heading, one shown at a time: {which cases: figure}."""

    key: str
    title: str
    caption: str
    figures: dict[str, go.Figure]


PLANS = {
    "remat": Plan(
        Quantity("compiled_peak_bytes", "compiled peak", "bytes"),
        Quantity("step_seconds", "step time", "seconds"),
        "linear",
        ("depth", "width", "batch", "sequence"),
    ),
    "checkpoint": Plan(
        Quantity("restore_seconds", "time to restore", "seconds"),
        Quantity("committed_seconds", "time until committed", "seconds"),
        "log",
        ("size", "arrays", "devices"),
    ),
}
# Kind of case -> the columns that tell the cases of one shape apart; the table that decides begins with them.
NAMED = {"remat": ("strategy",), "checkpoint": ("format", "mode"), "fault": ("format", "fault")}
Told = Mapping[tuple[str, str], str]  # (title of the shape, name of the case) -> its figures in words


def names(rows: pd.DataFrame) -> list[str]:
    """What the rows of one shape are called."""
    columns = NAMED[rows.kind.iloc[0]]
    return [", ".join(map(str, values)) for values in zip(*(rows[column] for column in columns), strict=True)]


def charts(table: pd.DataFrame, told: Told, chosen: Mapping[str, str | None]) -> Iterator[Chart]:
    """Every chart that the table has data for; `chosen` is the recommended case of each shape."""
    plan = PLANS.get(table.kind.iloc[0])
    usable = table[table.status == "ok"]
    if plan is None or usable.empty:
        return
    x, y = plan.x, plan.y
    both = usable[usable[x.column].notna() & usable[y.column].notna()]
    shapes = view_of(table).shapes
    if not both.empty:
        yield Chart(
            "tradeoff",
            f"{y.label} against {x.label}".capitalize(),
            "Down and to the left is better. Nothing measured lies below the line. Bars are 95 % intervals. Point at a "
            "case to read its figures; click it to see it alone in the table.",
            {title: _tradeoff(title, rows, plan, told, chosen.get(title)) for title, rows in shapes(both)},
        )
    elif usable[x.column].notna().sum() > 1:
        yield Chart(
            "peaks",
            x.label.capitalize(),
            "Steps were not timed in this run. Point at a case to read its figures; click it to see it alone.",
            {title: _ranked(title, rows, x, told) for title, rows in shapes(usable[usable[x.column].notna()])},
        )
    for axis in plan.axes:
        figures = dict(_scaling(usable, axis, plan))
        if figures:
            bars = "Bars are 95 % intervals." if usable[y.column].notna().any() else ""
            yield Chart(f"scaling-{axis}", f"Over {axis}", bars, figures)


def _tradeoff(title: str, rows: pd.DataFrame, plan: Plan, told: Told, chosen: str | None) -> go.Figure:
    x, y = plan.x, plan.y
    (x_unit, x_size), (y_unit, y_size) = (units.choose_unit(q.unit, rows[q.column].max()) for q in (x, y))
    rows = rows.assign(name=names(rows))
    front = rows.iloc[pareto_front(list(zip(rows[x.column], rows[y.column], strict=True)))].sort_values(x.column)
    picked = rows[rows.name == chosen]
    figure = go.Figure()
    figure.add_scatter(
        x=(front[x.column] / x_size).tolist(),
        y=(front[y.column] / y_size).tolist(),
        mode="lines",
        line={"shape": "hv", "color": look.MUTED, "width": 1, "dash": "dot"},
        hoverinfo="skip",
        showlegend=False,
    )
    labelled = _labels(picked, rows, front, plan)
    groups = (
        ("other cases", rows.drop(index=front.index.union(picked.index)), "circle-open", look.MUTED, 9),
        ("on the Pareto front", front.drop(index=picked.index, errors="ignore"), "circle", look.FRONT, 10),
        ("recommended", picked, "diamond", look.CHOSEN, 13),
    )
    for label, points, symbol, colour, size in groups:
        if points.empty:
            continue
        figure.add_scatter(
            x=(points[x.column] / x_size).tolist(),
            y=(points[y.column] / y_size).tolist(),
            name=label,
            mode="markers" if label == "other cases" else "markers+text",
            marker={"symbol": symbol, "color": colour, "size": size, "line": {"width": 2 if "open" in symbol else 0}},
            error_y={**_bars(points, y.column, y_size), "color": colour},
            text=[escape(name) if name in labelled else "" for name in points.name],
            textposition=[labelled.get(name, "bottom left") for name in points.name],
            textfont={"color": colour},
            cliponaxis=False,
            customdata=[[title, name, told[title, name]] for name in points.name],
            hovertemplate="%{customdata[2]}<extra></extra>",
        )
    return figure.update_layout(
        **look.layout(420),
        xaxis=look.axis(f"{x.label} ({x_unit})", plan.scale, rows[x.column] / x_size),
        yaxis=look.axis(f"{y.label} ({y_unit})", plan.scale, rows[y.column] / y_size),
    )


def _bars(points: pd.DataFrame, column: str, size: float) -> dict[str, Any]:
    """The 95 % intervals of a column, in a unit of that size; {} where it has none."""
    if f"{column}_low" not in points:
        return {}
    up, down = points[f"{column}_high"] - points[column], points[column] - points[f"{column}_low"]
    reach = {"array": up, "arrayminus": down}
    told = {name: (by.fillna(0) / size).clip(lower=0).tolist() for name, by in reach.items()}
    return {**told, "thickness": 1, "width": 3}


def _labels(picked: pd.DataFrame, rows: pd.DataFrame, front: pd.DataFrame, plan: Plan) -> dict[str, str]:
    """Which cases of the front are named in the plot, and where: below the front, where nothing lies, and not too near
    to another; the recommended one first.
    """
    across, up = (look.places(rows[q.column], plan.scale).loc[front.index] for q in (plan.x, plan.y))
    found: dict[str, tuple[float, float]] = {}
    for name, x, y in sorted(
        zip(front.name, across, up, strict=True), key=lambda spot: spot[0] not in set(picked.name)
    ):
        if all(abs(x - other) > 0.25 or abs(y - height) > 0.08 for other, height in found.values()):
            found[name] = (x, y)
    return {name: "bottom left" if x > 0.35 else "bottom right" for name, (x, _) in found.items()}


def _ranked(title: str, rows: pd.DataFrame, quantity: Quantity, told: Told) -> go.Figure:
    """One quantity, a line a case, the least at the top."""
    unit, size = units.choose_unit(quantity.unit, rows[quantity.column].max())
    rows = rows.assign(name=names(rows)).sort_values(quantity.column, ascending=False)
    figure = go.Figure()
    figure.add_scatter(
        x=(rows[quantity.column] / size).tolist(),
        y=[escape(name) for name in rows.name],
        mode="markers",
        marker={"color": look.FRONT, "size": 10},
        customdata=[[title, name, told[title, name]] for name in rows.name],
        hovertemplate="%{customdata[2]}<extra></extra>",
    )
    axis = look.axis(f"{quantity.label} ({unit}), logarithmic", "log", rows[quantity.column] / size)
    return figure.update_layout(
        **look.layout(120 + 26 * len(rows)),
        xaxis=axis,
        yaxis={"automargin": True, "gridcolor": look.GRID, "type": "category"},  # a name of digits is no number
    )


def _scaling(table: pd.DataFrame, axis: str, plan: Plan) -> Iterator[tuple[str, go.Figure]]:
    """(the settings of the other axes that vary, a figure of both quantities with a line a case)."""
    view = view_of(table)
    others = [column for column in (*view.SHAPE, "seed") if column != axis]
    told = [column for column in others if table[column].nunique(dropna=False) > 1]
    for _, rows in table.groupby(others, sort=False, dropna=False):
        lines = rows.assign(name=names(rows))
        lines = lines[lines.groupby("name")[axis].transform("nunique") > 1]
        if not lines.empty:
            settings = [
                f"{c} {setting(c, lines[c].iloc[0])}" for c in told if c == "mesh" or units.is_present(lines[c].iloc[0])
            ]
            yield ", ".join(settings) or "all cases", _lines(lines.sort_values(axis), axis, plan)


def _lines(rows: pd.DataFrame, axis: str, plan: Plan) -> go.Figure:
    figure = make_subplots(1, 2, horizontal_spacing=0.12)
    unit, size = units.choose_unit("bytes" if axis == "size" else "", rows[axis].max())
    listed: set[str] = set()  # in the legend, each once
    for column, quantity in enumerate((plan.y, plan.x), start=1):
        y_unit, y_size = units.choose_unit(quantity.unit, rows[quantity.column].max())
        for i, (name, line) in enumerate(rows.groupby("name", sort=False)):
            if line[quantity.column].isna().all():
                continue
            figure.add_scatter(
                x=(line[axis] / size).tolist(),
                y=[value if units.is_present(value) else None for value in line[quantity.column] / y_size],
                name=escape(str(name)),
                legendgroup=str(name),
                showlegend=name not in listed,
                mode="lines+markers",
                line={
                    "color": look.LINES[i % len(look.LINES)],
                    "dash": look.DASHES[i // len(look.LINES) % len(look.DASHES)],
                    "width": 1.75,
                },
                marker={"symbol": f"{look.SYMBOLS[i % len(look.SYMBOLS)]}-open", "size": 8},  # what lies below is seen
                error_y=_bars(line, quantity.column, y_size),
                meta=escape(str(name)),  # in the template itself, %{x} in a name would be a figure
                hovertemplate=f"%{{meta}}<br>{axis} %{{x:.4~g}}{unit and f' {unit}'}: %{{y:.3~r}} {y_unit}"
                "<extra></extra>",
                row=1,
                col=column,
            )
            listed.add(str(name))
        figure.update_yaxes(
            **look.axis(f"{quantity.label} ({y_unit})", plan.scale, rows[quantity.column].dropna() / y_size),
            row=1,
            col=column,
        )
    ticks = look.apart(rows[axis] / size, plan.scale)
    shown = {"tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}
    title = f"{axis} ({unit})" if unit else axis
    figure.update_xaxes(**look.axis(title, plan.scale, rows[axis] / size) | shown | {"rangemode": "normal"})
    return figure.update_layout(**look.layout(360))


def setting(axis: str, value: Any) -> str:
    """An axis's setting in words."""
    if not units.is_present(value):
        return "none" if axis == "mesh" else units.ABSENT
    if axis in ("size", "chunk"):
        return units.size(value)
    return f"{value:g}" if isinstance(value, float) else str(value)
