"""Segments: compiled peak over the length of segments, after Chen et al. 2016."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
from matplotlib import ticker

from artifex_bench.kinds.remat_groups import group_by_shape
from artifex_bench.report.plots.panels import titled_panels
from artifex_bench.report.plots.style import MIB, MUTED, Styles, plot_mark
from artifex_bench.report.plots.tradeoff import label_panels


def plot_segments(table: pd.DataFrame, styles: Styles) -> Any | None:
    """Return a figure of the compiled peak over the length of segments, with sqrt(depth) marked (Chen et al. 2016).

    Args:
        table: Remat cases of one run.
        styles: The style of each case name.

    Returns:
        The figure; None unless one shape was measured with four lengths or more.
    """
    rows = table[table.strategy.str.fullmatch(r"(segments|nested)-\d+") & table.compiled_peak_bytes.notna()]
    if rows.strategy.nunique() < 4 or len(list(group_by_shape(rows))) != 1:
        return None
    figure, (panel,) = titled_panels([next(group_by_shape(rows))[0]], wide=6.4, high=4.4)
    words = rows.strategy.str.rpartition("-")
    rows = rows.assign(family=words[0], length=words[2].astype(int)).sort_values("length")
    for (family, line), dash in zip(rows.groupby("family", sort=False), ("-", "--"), strict=False):
        panel.plot(line.length, line.compiled_peak_bytes / MIB, color=MUTED, linestyle=dash, linewidth=1, label=family)
    for index, row in rows.iterrows():
        plot_mark(panel, index, row.length, row.compiled_peak_bytes / MIB, **styles[row.strategy], markersize=7)
    depth = int(rows.depth.iloc[0])
    panel.axvline(math.sqrt(depth), color="#888888", linestyle="-.", linewidth=1)
    panel.text(math.sqrt(depth), 1.01, f"sqrt({depth})", transform=panel.get_xaxis_transform(), ha="center", fontsize=8)
    every = table[table.strategy == "all"]
    if not every.empty:
        peak = every.compiled_peak_bytes.iloc[0] / MIB
        panel.axhline(peak, color=styles["all"]["color"], linestyle=":")
        panel.text(1.01, peak, "all", transform=panel.get_yaxis_transform(), va="center", fontsize=8)
    panel.set_xscale("log", base=2)
    panel.set_yscale("log", base=2)
    panel.margins(0.12)
    for axis in (panel.xaxis, panel.yaxis):
        axis.set_major_formatter(ticker.ScalarFormatter())
        axis.set_minor_formatter(ticker.NullFormatter())
    panel.set_title(panel.get_title(), fontsize=9, pad=16)
    panel.set_xlabel("layers per segment")
    panel.set_ylabel("compiled peak (MiB)")
    label_panels(figure, [panel], [rows], styles)
    return figure
