"""Plots of remat runs: the trade-off with its Pareto measured_front, scaling, the parts of a step, Chen's curve."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import matplotlib.pyplot as plt
import matplotlib.ticker
import numpy as np
import pandas as pd

from artifex_bench.core import units
from artifex_bench.kinds.remat_groups import SHAPE, group_by_shape, measured_front
from artifex_bench.report import budget_plots
from artifex_bench.report.plots import (
    COLOURS,
    HATCHES,
    MARKERS,
    MIB,
    Styles,
    legend_below,
    styles,
    titled_panels,
    whiskers,
)
from artifex_bench.report.text import captions


def draw(table: pd.DataFrame) -> Iterator[tuple[str, Any]]:
    """(name, figure) of every plot that the table has data for."""
    looks = styles(table.strategy.unique())
    compared = table[table.time_ratio.notna() & table.compiled_peak_ratio.notna()]
    if not compared.empty:
        yield "tradeoff", _tradeoff(compared, looks)
    for axis in ("depth", "width", "batch", "sequence"):
        figure = _scaling(table, axis, looks)
        if figure is not None:
            yield f"scaling_{axis}", figure
    if table.forward_seconds.notna().any():
        yield "time_split", _time_split(table)
    curve = _segments(table)
    if curve is not None:
        yield "segments", curve
    yield from budget_plots.draw(table, "step_seconds", "step time (ms)")


def _tradeoff(table: pd.DataFrame, looks: Styles) -> Any:
    """Step time against peak memory, both relative to none; the Pareto front joined by a line."""
    groups = list(group_by_shape(table))
    figure, panels = titled_panels([title for title, _ in groups])
    for panel, (_, rows) in zip(panels, groups, strict=True):
        best = rows.loc[[i for i in rows.index if i in measured_front(rows)]].sort_values("compiled_peak_ratio")
        panel.step(best.compiled_peak_ratio, best.time_ratio, where="post", color="#888888", linestyle="--", zorder=1)
        for row in rows.itertuples():
            error = None
            if row.time_ratio_low is not None and not math.isnan(row.time_ratio_low):
                error = [
                    [max(0, row.time_ratio - row.time_ratio_low)],
                    [max(0, row.time_ratio_high - row.time_ratio)],
                ]
            on_front = row.Index in best.index
            style = looks[row.strategy]
            panel.errorbar(
                row.compiled_peak_ratio,
                row.time_ratio,
                yerr=error,
                linestyle="none",
                markersize=8 if on_front else 6,
                markerfacecolor=style["color"] if on_front else "white",
                capsize=2,
                **style,
            )
        panel.set_xlabel("compiled peak memory, x none")
        panel.set_ylabel("step time, x none")
        panel.set_xlim(0, max(1.1, panel.get_xlim()[1]))
        panel.axhline(1, color="#BBBBBB", linewidth=0.8, zorder=0)
        panel.axvline(1, color="#BBBBBB", linewidth=0.8, zorder=0)
    legend_below(figure, looks, "filled: on the Pareto front (dashed); bars: 95 % intervals")
    return figure


OPEN: Any = {"markerfacecolor": "none", "capsize": 2}  # so that of points in one place each is seen
SCALED = (("step_seconds", "seconds", "step time"), ("compiled_peak_bytes", "bytes", "compiled peak"))


def _scaling(table: pd.DataFrame, axis: str, looks: Styles) -> Any | None:
    """Time and memory over one axis, a line a strategy, a row of panels for each setting of the other axes."""
    others = [column for column in (*SHAPE, "seed") if column != axis]
    groups = [rows for _, rows in table.groupby(others, sort=False, dropna=False) if rows[axis].nunique() > 1]
    if not groups:
        return None
    measured = [one for one in SCALED if any(rows[one[0]].notna().any() for rows in groups)]
    size = (4.6 * len(measured), 3.4 * len(groups))
    how = {"hspace": 0.6, "wspace": 0.3}
    figure, panels = plt.subplots(len(groups), len(measured), figsize=size, squeeze=False, gridspec_kw=how)
    for line, rows in zip(panels, groups, strict=True):
        first = rows.iloc[0]
        fixed = [f"{o} {first[o]:g}" for o in ("depth", "width", "batch", "sequence") if o != axis and first[o] > 0]
        fixed += [f"seed {first.seed}"] if first.seed else []
        title = f"{first.model}, {first['dtype']}, {first['layers']}\n{', '.join(fixed)}"
        for panel, (column, quantity, label) in zip(line, measured, strict=True):
            unit, whole = units.choose_unit(quantity, rows[column].max())
            for strategy, points in rows.sort_values(axis).groupby("strategy", sort=False):
                error = whiskers(points, column, whole)
                panel.errorbar(points[axis], points[column] / whole, error, **OPEN, **looks[str(strategy)])
            panel.set_title("\n".join(captions(title.split("\n"))), fontsize=9)
            panel.set_xlabel(axis)
            panel.set_ylabel(f"{label} ({unit})")
            panel.set_xticks(sorted(rows[axis].unique()))
            panel.set_ylim(bottom=0)
    note = "bars: 95 % intervals" if any(column == "step_seconds" for column, *_ in measured) else ""
    shown = {s: {**looks[s], "markerfacecolor": "none"} for s in pd.concat(groups).strategy.unique()}
    legend_below(figure, shown, note, line="-")
    return figure


def _time_split(table: pd.DataFrame) -> Any:
    """A training step as forward pass, backward pass with update, and what the strategy adds to them.

    The forward pass is timed by itself for strategy none; the rest is the difference of whole steps.
    """
    groups = [(title, rows) for title, rows in group_by_shape(table) if rows.forward_seconds.notna().any()]
    figure, panels = titled_panels([title for title, _ in groups], wide=5.2)
    for panel, (_, rows) in zip(panels, groups, strict=True):
        plain = rows[rows.forward_seconds.notna()].iloc[0]
        forward = min(plain.forward_seconds, plain.step_seconds)
        steps = rows.step_seconds
        shares: tuple[Any, ...] = (
            steps.clip(upper=forward),
            (steps.clip(upper=plain.step_seconds) - forward).clip(lower=0),
        )
        shares = (*shares, (steps - plain.step_seconds).clip(lower=0))
        labels = ("forward", "backward and update", "added by the strategy")
        start = np.zeros(len(rows))
        for share, label, colour, hatch in zip(shares, labels, COLOURS[6:3:-1], HATCHES, strict=True):
            panel.barh(range(len(rows)), share * 1e3, left=start, label=label, color=colour, hatch=hatch, edgecolor="k")
            start = start + share.to_numpy() * 1e3
        panel.set_yticks(range(len(rows)), captions(rows.strategy))
        panel.set_xlim(0, 1.05e3 * steps.max())
        panel.set_xlabel("ms a step")
        panel.invert_yaxis()
        panel.grid(axis="y", visible=False)
    figure.subplots_adjust(wspace=1.0)  # room for the longest name of a policy
    height = figure.get_size_inches()[1]
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="upper center", ncols=3, bbox_to_anchor=(0.5, -0.1 / height)
    )
    return figure


def _segments(table: pd.DataFrame) -> Any | None:
    """Compiled peak over the length of segments, with sqrt(depth) marked (Chen et al. 2016)."""
    kinds: dict[str, Callable[[str], bool]] = {
        "segments": lambda s: s.startswith("segments-"),
        "nested": lambda s: s.startswith("nested-"),
    }
    rows = table[table.strategy.str.fullmatch(r"(segments|nested)-\d+")]
    if rows.strategy.nunique() < 4 or len(list(group_by_shape(rows))) != 1:
        return None
    figure, panels = titled_panels([next(group_by_shape(rows))[0]], wide=5.6)
    for i, (kind, chosen) in enumerate(kinds.items()):
        line = rows[rows.strategy.map(chosen)].copy()
        line["length"] = line.strategy.str.rpartition("-")[2].astype(int)
        line = line.sort_values("length")
        panels[0].plot(line.length, line.compiled_peak_bytes / MIB, marker=MARKERS[i], color=COLOURS[i + 1], label=kind)
    depth = int(rows.depth.iloc[0])
    panels[0].axvline(math.sqrt(depth), color="#888888", linestyle="--", label=f"sqrt({depth})")
    every = table[table.strategy == "all"]
    if not every.empty:
        panels[0].axhline(every.compiled_peak_bytes.iloc[0] / MIB, color="#888888", linestyle=":", label="all")
    panels[0].set_xscale("log", base=2)
    panels[0].set_yscale("log", base=2)
    for axis in (panels[0].xaxis, panels[0].yaxis):
        axis.set_major_formatter(matplotlib.ticker.ScalarFormatter())
        axis.set_minor_formatter(matplotlib.ticker.NullFormatter())
    panels[0].set_xlabel("layers a segment")
    panels[0].set_ylabel("compiled peak (MiB)")
    panels[0].legend()
    return figure
