"""The plot behind advice on saving: what each interval loses, and how flat the best one lies."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import matplotlib.ticker
import numpy as np
import pandas as pd

from artifex_bench.advice.remat import Plan, name_of, timed
from artifex_bench.checkpointing.frequency import lost_share
from artifex_bench.report.plots.style import case_styles, finish_figure, legend_label, plot_style

SHOWN = 5  # ways to save: more are told apart by the table


def intervals(rows: pd.DataFrame, mtbf_seconds: float) -> Any:
    """The share of time lost over the seconds between saves, a line a way to save, as a figure for a notebook.

    `rows` are those of one state in a checkpoint run (`load_run`); the ways that lose least are shown, each with its
    best interval (Daly 2006), for `mtbf_seconds` between failures.
    """
    plans = [Plan.of(row, mtbf_seconds) for row in timed(rows).itertuples()]
    best = sorted(plans, key=lambda plan: plan.lost)[:SHOWN]
    styles = case_styles(rows)
    with plot_style():
        figure, panel = plt.subplots(figsize=(6.4, 3.8))
        for plan in best:
            seconds = plan.interval_seconds * np.geomspace(0.1, 10, 81)
            cost, restore = plan.save_seconds, plan.row.restore_seconds
            lost = [100 * lost_share(each, cost, mtbf_seconds, restore) for each in seconds]
            (line,) = panel.plot(seconds, lost, markevery=[40], **styles[name_of(plan.row)])
            line.set_label(legend_label(name_of(plan.row)))
        panel.set_xscale("log")
        panel.xaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 3)))
        panel.xaxis.set_major_formatter(matplotlib.ticker.StrMethodFormatter("{x:g}"))
        panel.xaxis.set_minor_formatter(matplotlib.ticker.NullFormatter())
        panel.set_ylim(bottom=0)
        panel.set_xlabel("seconds of training between saves (marked: the best)")
        panel.set_ylabel("time lost (%)")
        panel.legend()
        return finish_figure(figure)
