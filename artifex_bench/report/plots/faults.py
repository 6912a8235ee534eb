"""Faults: how many restores from damaged files were silently wrong, with intervals of their share."""

from __future__ import annotations

from typing import Any

import pandas as pd

from artifex_bench.core.stats import wilson_interval
from artifex_bench.kinds.fault import OUTCOMES, group_by_state
from artifex_bench.report.plots.panels import titled_panels, write_below
from artifex_bench.report.text import shorten_labels


def plot_faults(table: pd.DataFrame) -> Any:
    """Return a figure of that count: a line for each format, a column for each fault, a panel for each state.

    Args:
        table: Fault cases whose trials ended.
    """
    groups = list(group_by_state(table))
    formats, faults = list(dict.fromkeys(table.format)), list(dict.fromkeys(table.fault))
    high, wide = 1.4 + 0.42 * len(formats), 0.6 + 1.25 * len(faults) + 0.08 * max(map(len, shorten_labels(formats)))
    figure, panels = titled_panels([title for title, _ in groups], wide=wide, high=high)
    figure.suptitle("Restores from a damaged file that were silently wrong", fontsize=10)
    for panel, (_, rows) in zip(panels, groups, strict=True):
        matrix = rows.pivot_table(index="format", columns="fault", values="silent_share", sort=False)
        matrix = matrix.reindex(index=formats, columns=faults)
        panel.imshow(matrix, cmap="Oranges", vmin=0, vmax=1, aspect="auto")
        panel.set_xticks(range(len(faults)), shorten_labels(str(fault).replace("_", " ") for fault in faults))
        panel.set_yticks(range(len(formats)), shorten_labels(formats))
        panel.grid(visible=False)
        for row in rows.itertuples():
            colour = "white" if row.silent_share > 0.6 else "black"
            place = faults.index(row.fault), formats.index(row.format)
            panel.text(*place, describe_trials(row), ha="center", va="center", fontsize=8, color=colour)
        panel.set_xlabel("fault")
    write_below(figure, ["silently wrong of all trials, and the 95 % interval of their share (Wilson 1927)"])
    return figure


def describe_trials(row: Any) -> str:
    """Return a case's silent trials of all trials, and the interval of their share below."""
    silent, trials = int(row.silent_trials), int(sum(getattr(row, name) for name in OUTCOMES))
    low, high = wilson_interval(silent, trials)
    shares = f"{low:.0%} to {high:.0%}" if silent else f"up to {high:.0%}"
    return f"{silent} of {trials}\n{shares}"
