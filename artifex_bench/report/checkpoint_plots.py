"""Plots of checkpoint and fault runs: latency, efficiency against the raw limit, scaling, the fault matrix."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib import ticker

from artifex_bench.kinds.checkpoint import SHAPE, group_by_state
from artifex_bench.report.plots import (
    COLOURS,
    HATCHES,
    MARKERS,
    MIB,
    legend_label,
    readable_log,
    titled_panels,
    whiskers,
)
from artifex_bench.report.text import captions

RATIOS = (("write_ratio", "save / raw write"), ("read_ratio", "restore / raw read"))


def draw(table: pd.DataFrame) -> Iterator[tuple[str, Any]]:
    """(name, figure) of every plot that the table has data for."""
    if "silent_share" in table:
        yield "faults", _faults(table)
        return
    compared = [(title, rows) for title, rows in group_by_state(table) if len(rows) > 1]
    if compared:
        yield "latency", _latency(compared)
        yield "efficiency", _efficiency(compared)
    for axis in ("size", "arrays", "devices"):
        figure = _scaling(table, axis)
        if figure is not None:
            yield f"scaling_{axis}", figure


def _names(rows: pd.DataFrame) -> list[str]:
    return captions(row.format + (", async" if row.mode == "async" else "") for row in rows.itertuples())


def _latency(groups: list[tuple[str, pd.DataFrame]]) -> Any:
    """What each save costs: until training goes on, and from there until it is committed."""
    figure, panels = titled_panels([title for title, _ in groups], wide=5.4, high=4.4)
    for panel, (_, rows) in zip(panels, groups, strict=True):
        rows = rows.sort_values("committed_seconds")
        blocking = np.minimum(rows.blocking_seconds, rows.committed_seconds)
        parts = (("blocking", blocking), ("in the background or syncing", rows.committed_seconds - blocking))
        start = np.zeros(len(rows))
        for (label, seconds), colour, hatch in zip(parts, COLOURS[5:3:-1], HATCHES, strict=False):
            panel.barh(range(len(rows)), seconds, left=start, label=label, color=colour, hatch=hatch, edgecolor="k")
            start = start + seconds.to_numpy()
        panel.set_yticks(range(len(rows)), _names(rows))
        panel.axvline(rows.raw_write_seconds.median(), color="k", linestyle="--", label="raw write and sync")
        panel.set_xlabel("time a save takes")
        panel.xaxis.set_major_locator(ticker.MaxNLocator(5))
        panel.xaxis.set_major_formatter(ticker.EngFormatter("s"))
        panel.invert_yaxis()
        panel.grid(axis="y", visible=False)
    figure.subplots_adjust(wspace=0.7)
    height = figure.get_size_inches()[1]
    entries = panels[0].get_legend_handles_labels()
    figure.legend(*entries, loc="upper center", ncols=3, bbox_to_anchor=(0.5, -0.1 / height))
    return figure


def _efficiency(groups: list[tuple[str, pd.DataFrame]]) -> Any:
    """Committing and restoring as multiples of the raw write and read beside them, with intervals."""
    figure, panels = titled_panels([title for title, _ in groups], wide=5.4, high=4.4)
    for panel, (_, rows) in zip(panels, groups, strict=True):
        rows = rows.sort_values("write_ratio")
        for i, (column, label) in enumerate(
            (("write_ratio", "save / raw write"), ("read_ratio", "restore / raw read"))
        ):
            panel.errorbar(
                rows[column],
                np.arange(len(rows)) + len(rows) / 100 * (2 * i - 1),
                xerr=whiskers(rows, column),
                linestyle="none",
                marker=MARKERS[i],
                color=COLOURS[1 + i],
                capsize=2,
                label=label,
            )
        panel.set_yticks(range(len(rows)), _names(rows))
        panel.invert_yaxis()
        readable_log(panel.xaxis)
        panel.axvline(1, color="k", linestyle="--")
        panel.set_xlabel("times the raw limit (1 is the machine's)")
    figure.subplots_adjust(wspace=0.7)
    height = figure.get_size_inches()[1]
    entries = panels[0].get_legend_handles_labels()
    figure.legend(*entries, loc="upper center", ncols=2, bbox_to_anchor=(0.5, -0.1 / height))
    return figure


def _scaling(table: pd.DataFrame, axis: str) -> Any | None:
    """Seconds to commit and to restore over one axis, for each format that was measured over it."""
    keys = ["format", *(name for name in ("mode", *SHAPE, "seed") if name != axis)]
    lines = [(key[0], key[1], rows) for key, rows in table.groupby(keys, sort=False, dropna=False)]
    lines = [(name, mode, rows.sort_values(axis)) for name, mode, rows in lines if rows[axis].nunique() > 1]
    if not lines:
        return None
    figure, panels = plt.subplots(1, 2, figsize=(9.2, 3.4), gridspec_kw={"wspace": 0.3})
    scale, unit = (MIB, " (MiB)") if axis == "size" else (1, "")
    for panel, column, limit, label in (
        (panels[0], "committed_seconds", "raw_write_seconds", "time until committed"),
        (panels[1], "restore_seconds", "raw_read_seconds", "time to restore"),
    ):
        for i, (name, mode, rows) in enumerate(lines):
            told = legend_label(f"{name}, {mode}")
            look = {"marker": MARKERS[i % len(MARKERS)], "color": COLOURS[1 + i % 7], "markerfacecolor": "none"}
            panel.errorbar(rows[axis] / scale, rows[column], whiskers(rows, column), capsize=2, label=told, **look)
        rows = lines[0][2]
        panel.plot(rows[axis] / scale, rows[limit], color="k", linestyle="--", label="raw limit")
        panel.set_xscale("log", base=2)
        readable_log(panel.yaxis, "s")
        panel.set_xticks(sorted(table[axis].unique() / scale), [f"{v / scale:g}" for v in sorted(table[axis].unique())])
        panel.set_xlabel(axis + unit)
        panel.set_ylabel(label)
    panels[0].legend()
    return figure


def _faults(table: pd.DataFrame) -> Any:
    """The share of silently wrong restores, a row a format, a column a fault."""
    groups = [(f"{dtype}", rows) for dtype, rows in table.groupby("dtype", sort=False)]
    figure, panels = titled_panels([title for title, _ in groups], wide=5.2, high=4.6)
    for panel, (_, rows) in zip(panels, groups, strict=True):
        matrix = rows.pivot_table(index="format", columns="fault", values="silent_share", sort=False)
        panel.imshow(matrix, cmap="Oranges", vmin=0, vmax=1, aspect="auto")
        panel.set_xticks(range(len(matrix.columns)), captions(c.replace("_", " ") for c in matrix.columns))
        panel.set_yticks(range(len(matrix.index)), captions(matrix.index))
        panel.grid(visible=False)
        for (y, x), share in np.ndenumerate(matrix.to_numpy()):
            panel.text(x, y, f"{share:.0%}", ha="center", va="center", color="white" if share > 0.6 else "black")
        panel.set_xlabel("silently wrong restores")
    return figure
