"""Segments: compiled peak over the length of segments, after Chen et al. 2016."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pandas as pd
from matplotlib import ticker

from artifex_bench.kinds.remat_groups import group_by_shape
from artifex_bench.report.plots.style import COLOURS, MARKERS, MIB, titled_panels


def plot_segments(table: pd.DataFrame) -> Any | None:
    """Return a figure of the compiled peak over the length of segments, with sqrt(depth) marked (Chen et al. 2016).

    Args:
        table: Remat cases of one run.

    Returns:
        The figure; None unless one shape was measured with four lengths or more.
    """
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
        axis.set_major_formatter(ticker.ScalarFormatter())
        axis.set_minor_formatter(ticker.NullFormatter())
    panels[0].set_xlabel("layers per segment")
    panels[0].set_ylabel("compiled peak (MiB)")
    panels[0].legend()
    return figure
