"""What saves and restores take: seconds until training goes on and until committed, and multiples of the raw limit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib import ticker

from artifex_bench.report.plots.style import (
    COLOURS,
    FILLS,
    HATCHES,
    MARKERS,
    add_shared_legend,
    interval_lengths,
    set_log_axis,
    titled_panels,
)
from artifex_bench.report.text import shorten_labels

RATIOS = (("write_ratio", "save / raw write"), ("read_ratio", "restore / raw read"))


def _names(rows: pd.DataFrame) -> list[str]:
    return shorten_labels(row.format + (", async" if row.mode == "async" else "") for row in rows.itertuples())


def plot_latency(groups: list[tuple[str, pd.DataFrame]]) -> Any:
    """Return a figure of what each save takes: until training goes on, and from there until it is committed.

    Args:
        groups: (title, rows) of each state.
    """
    figure, panels = titled_panels([title for title, _ in groups], wide=5.4, high=4.4)
    for panel, (_, rows) in zip(panels, groups, strict=True):
        rows = rows.sort_values("committed_seconds")
        blocking = np.minimum(rows.blocking_seconds, rows.committed_seconds)
        parts = (("blocking", blocking), ("in the background or syncing", rows.committed_seconds - blocking))
        start = np.zeros(len(rows))
        for (label, seconds), colour, hatch in zip(parts, FILLS[5:3:-1], HATCHES, strict=False):
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
    add_shared_legend(figure, panels[0], 3)
    return figure


def plot_efficiency(groups: list[tuple[str, pd.DataFrame]]) -> Any:
    """Return a figure of committing and restoring as multiples of the raw write and read, with 95 % intervals.

    Args:
        groups: (title, rows) of each state.
    """
    figure, panels = titled_panels([title for title, _ in groups], wide=5.4, high=4.4)
    for panel, (_, rows) in zip(panels, groups, strict=True):
        rows = rows.sort_values("write_ratio")
        for i, (column, label) in enumerate(RATIOS):
            panel.errorbar(
                rows[column],
                np.arange(len(rows)) + len(rows) / 100 * (2 * i - 1),
                xerr=interval_lengths(rows, column),
                linestyle="none",
                marker=MARKERS[i],
                color=COLOURS[1 + i],
                capsize=2,
                label=label,
            )
        panel.set_yticks(range(len(rows)), _names(rows))
        panel.invert_yaxis()
        set_log_axis(panel.xaxis)
        panel.axvline(1, color="k", linestyle="--")
        panel.set_xlabel("times the raw limit (1 is the machine's)")
    figure.subplots_adjust(wspace=0.7)
    add_shared_legend(figure, panels[0], 2)
    return figure
