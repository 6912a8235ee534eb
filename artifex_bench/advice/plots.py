"""The plot behind advice on checkpoints: the time that each interval loses, and how flat the minimum is."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import matplotlib.ticker
import numpy as np
import pandas as pd

from artifex_bench.advice.checkpoint_interval import rank_intervals
from artifex_bench.checkpointing.frequency import lost_share
from artifex_bench.report.plots.labels import Label, label_line_ends
from artifex_bench.report.plots.panels import add_origin, add_style_legend, lay_out
from artifex_bench.report.plots.style import case_styles, finish_figure, legend_label, plot_style

SHOWN = 5  # ways to save; more lines are hard to read, and the table has all


def plot_intervals(rows: pd.DataFrame, mtbf_seconds: float) -> Any:
    """Plot the share of time lost over the seconds between saves, one line per way to save.

    Args:
        rows: The rows of one training state in a checkpoint run (`load_run`).
        mtbf_seconds: Mean time between failures.

    Returns:
        A figure for a notebook. It shows the ways that lose least, each with its best interval (Daly 2006) marked.
    """
    styles = case_styles(rows)
    with plot_style():
        figure, panel = plt.subplots(figsize=(7.2, 4.0), layout="constrained")
        ends: list[Label] = []
        for plan in rank_intervals(rows, mtbf_seconds)[:SHOWN]:
            seconds = plan.interval_seconds * np.geomspace(0.1, 10, 81)
            cost, restore = plan.save_seconds, plan.restore_seconds
            lost = [100 * lost_share(each, cost, mtbf_seconds, restore) for each in seconds]
            (line,) = panel.plot(seconds, lost, markevery=[40], **styles[plan.name])
            line.set_label(legend_label(plan.name))
            ends.append(Label((seconds[-1], lost[-1]), plan.name))
        panel.set_xscale("log")
        panel.xaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 3)))
        panel.xaxis.set_major_formatter(matplotlib.ticker.StrMethodFormatter("{x:g}"))
        panel.xaxis.set_minor_formatter(matplotlib.ticker.NullFormatter())
        panel.set_ylim(bottom=0)
        panel.set_xlabel("seconds of training between saves (marked: the best)")
        panel.set_ylabel("time lost (%)")
        lay_out(figure)
        unnamed = {label.text for label in label_line_ends(panel, ends)}
        add_style_legend(figure, styles, unnamed, line="-")
        add_origin(figure, rows)
        return finish_figure(figure)
