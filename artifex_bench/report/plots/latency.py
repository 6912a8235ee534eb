"""What saves and restores take: seconds until training goes on and until committed, and multiples of the raw limit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib import ticker

from artifex_bench.report.plots.panels import add_panel_legend, row_panels, share_limits, write_below
from artifex_bench.report.plots.style import COLOURS, FILLS, HATCHES, MARKERS, interval_lengths, set_log_axis
from artifex_bench.report.text import shorten_labels

RATIOS = (("write_ratio", "save / raw write"), ("read_ratio", "restore / raw read"))
ORDER = "the fastest save first; the order is the same in both plots of saves"


def _names(rows: pd.DataFrame) -> list[str]:
    return shorten_labels(row.format + (", async" if row.mode == "async" else "") for row in rows.itertuples())


def plot_latency(groups: list[tuple[str, pd.DataFrame]]) -> Any:
    """Return a figure of what each save takes: until training goes on, and from there until it is committed.

    Args:
        groups: (title, rows) of each state; the rows are shown in their order.
    """
    figure, panels = row_panels(groups)
    figure.suptitle("Time that a save takes", fontsize=10)
    for panel, (_, rows) in zip(panels, groups, strict=True):
        places = np.arange(len(rows))
        blocking = np.minimum(rows.blocking_seconds, rows.committed_seconds)
        parts = (("training is blocked", blocking), ("until committed", rows.committed_seconds - blocking))
        start = np.zeros(len(rows))
        for (label, seconds), colour, hatch in zip(parts, FILLS[5:3:-1], HATCHES, strict=False):
            panel.barh(
                places, seconds, left=start, label=label, color=colour, hatch=hatch, edgecolor="k", linewidth=0.6
            )
            start = start + seconds.to_numpy()
        # one interval above the middle of the bar and one below it, so that they never overlap
        for column, side in (("blocking_seconds", -0.15), ("committed_seconds", 0.15)):
            lengths = interval_lengths(rows, column)
            panel.errorbar(
                rows[column], places + side, xerr=lengths, linestyle="none", color="k", capsize=2, linewidth=1
            )
        panel.set_yticks(places, _names(rows))
        panel.axvline(rows.raw_write_seconds.median(), color="k", linestyle="--", label="raw write and sync")
        panel.set_xlabel("time of a save")
        panel.xaxis.set_major_locator(ticker.MaxNLocator(6))
        panel.xaxis.set_major_formatter(ticker.EngFormatter("s"))
        panel.set_xlim(left=0)
    share_limits(panels, "x")
    add_panel_legend(figure, panels)
    write_below(figure, [f"bars: 95 % intervals, of blocking above and of committed below; {ORDER}"])
    return figure


def plot_efficiency(groups: list[tuple[str, pd.DataFrame]]) -> Any:
    """Return a figure of committing and restoring as multiples of the raw write and read, with 95 % intervals.

    Args:
        groups: (title, rows) of each state; the rows are shown in their order.
    """
    figure, panels = row_panels(groups)
    figure.suptitle("Saves and restores against the raw limit of the disk", fontsize=10)
    for panel, (_, rows) in zip(panels, groups, strict=True):
        for i, (column, label) in enumerate(RATIOS):
            panel.errorbar(
                rows[column],
                np.arange(len(rows)) + 0.15 * (2 * i - 1),
                xerr=interval_lengths(rows, column),
                linestyle="none",
                marker=MARKERS[i],
                color=COLOURS[1 + i],
                capsize=2,
                label=label,
            )
        panel.set_yticks(range(len(rows)), _names(rows))
        set_log_axis(panel.xaxis)
        panel.axvline(1, color="k", linestyle="--")
        panel.set_xlabel("times the raw limit (1 is the machine's)")
    share_limits(panels, "x")
    add_panel_legend(figure, panels)
    write_below(figure, [f"bars: 95 % intervals; {ORDER}"])
    return figure
