"""The largest batch that fits: estimated throughput over the batch."""

from __future__ import annotations

import textwrap
from typing import Any

import pandas as pd

from artifex_bench.core.record import PUBLISHED_STEPS
from artifex_bench.kinds.max_batch import group_by_model
from artifex_bench.report.plots.style import Styles, add_style_legend, set_log_axis, titled_panels


def plot_throughput(fitting: pd.DataFrame, styles: Styles) -> Any:
    """Return a figure of estimated samples per second over the batch, one panel for each target and shape.

    Args:
        fitting: The cases that fit and have an estimate.
        styles: The style of each case name. The largest batch of a strategy is filled.
    """
    groups = [
        (f"{target}, {title.partition(':')[0]}: {textwrap.fill(title.partition(': ')[2], 52)}", own)
        for title, rows in group_by_model(fitting)
        for target, own in rows.groupby("target")
    ]
    figure, panels = titled_panels([title for title, _ in groups])
    for panel, (_, rows) in zip(panels, groups, strict=True):
        for strategy, own in rows.groupby("strategy", sort=False):
            own = own.sort_values("batch")
            look, last = styles[str(strategy)], own.iloc[[-1]]
            rate = own.batch / own.estimated_step_seconds
            panel.plot(own.batch, rate, linewidth=1, alpha=0.5, markerfacecolor="white", markersize=4, **look)
            panel.plot(last.batch, rate.iloc[-1:], linestyle="none", markersize=9, **look)
        set_log_axis(panel.xaxis)
        panel.xaxis.set_major_formatter("{x:g}")
        panel.margins(0.12)
        panel.set_ylim(0, 1.1 * panel.dataLim.y1)
        panel.set_xlabel("batch")
        panel.set_ylabel("estimated throughput (samples/s)")
    note = f"filled: the largest that fits; open: smaller ones. Estimates: {PUBLISHED_STEPS}."
    add_style_legend(figure, styles, note, names=list(fitting.strategy.unique()))
    return figure
