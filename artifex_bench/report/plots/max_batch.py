"""The largest batch that fits: estimated throughput over the batch."""

from __future__ import annotations

import textwrap
from typing import Any

import pandas as pd

from artifex_bench.core.record import PUBLISHED_STEPS
from artifex_bench.kinds.max_batch import group_by_model
from artifex_bench.report.plots.labels import Label, place_labels
from artifex_bench.report.plots.panels import add_style_legend, freeze_layout, titled_panels, write_below
from artifex_bench.report.plots.style import Styles, plot_mark, set_log_axis


def plot_throughput(fitting: pd.DataFrame, styles: Styles) -> Any:
    """Return a figure of estimated samples per second over the batch, one panel for each target and shape.

    Args:
        fitting: The cases that fit and have an estimate.
        styles: The style of each case name. The largest batch of a strategy is filled and named.
    """
    groups = [
        (f"{target}, {title.partition(':')[0]}: {textwrap.fill(title.partition(': ')[2], 62)}", own)
        for title, rows in group_by_model(fitting)
        for target, own in rows.groupby("target")
    ]
    figure, panels = titled_panels([title for title, _ in groups], wide=6.0, high=4.2)
    answers = [_plot_searches(panel, rows, styles) for panel, (_, rows) in zip(panels, groups, strict=True)]
    freeze_layout(figure)
    missing = [
        label.text.rpartition(": ")[0]
        for panel, labels in zip(panels, answers, strict=True)
        for label in place_labels(panel, labels, 8)
    ]
    add_style_legend(figure, styles, missing)
    write_below(figure, [f"filled: the largest that fits; open: smaller ones. Estimates: {PUBLISHED_STEPS}."])
    return figure


def _plot_searches(panel: Any, rows: pd.DataFrame, styles: Styles) -> list[Label]:
    """Plot each strategy's batches, and return the largest of each as a label."""
    labels = []
    for strategy, own in rows.groupby("strategy", sort=False):
        own = own.sort_values("batch")
        look = styles[str(strategy)]
        rate = own.batch / own.estimated_step_seconds
        panel.plot(own.batch, rate, linewidth=1, alpha=0.5, color=look["color"])
        for index in own.index:
            filled = index == own.index[-1]
            face, size = (look["color"], 9) if filled else ("white", 4.5)
            plot_mark(panel, index, own.batch[index], rate[index], **look, markerfacecolor=face, markersize=size)
        batch = own.batch.iloc[-1]
        labels.append(Label((batch, rate.iloc[-1]), f"{strategy}: {batch:g}", strong=False))
    set_log_axis(panel.xaxis)
    panel.xaxis.set_major_formatter("{x:g}")
    panel.margins(0.15)
    panel.set_ylim(0, 1.15 * panel.dataLim.y1)
    panel.set_xlabel("batch")
    panel.set_ylabel("estimated throughput (samples/s)")
    return labels
