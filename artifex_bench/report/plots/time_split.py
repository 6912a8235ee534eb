"""The parts of a training step: forward pass, backward pass with update, and what the strategy adds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from artifex_bench.kinds.remat_groups import group_by_shape
from artifex_bench.report.plots.style import FILLS, HATCHES, add_shared_legend, titled_panels
from artifex_bench.report.text import shorten_labels


def plot_time_split(table: pd.DataFrame) -> Any:
    """Return a figure of each training step as forward pass, backward pass with update, and the strategy's own cost.

    The forward pass is timed alone for strategy none. The other parts are differences of whole steps.

    Args:
        table: Remat cases that ran.
    """
    groups = [(title, rows) for title, rows in group_by_shape(table) if rows.forward_seconds.notna().any()]
    figure, panels = titled_panels([title for title, _ in groups], wide=5.2)
    for panel, (_, rows) in zip(panels, groups, strict=True):
        plain = rows[rows.forward_seconds.notna()].iloc[0]
        forward = min(plain.forward_seconds, plain.step_seconds)
        steps = rows.step_seconds
        shares: tuple[Any, ...] = (
            steps.clip(upper=forward),
            (steps.clip(upper=plain.step_seconds) - forward).clip(lower=0),
        )
        shares = (*shares, (steps - plain.step_seconds).clip(lower=0))
        labels = ("forward", "backward and update", "added by the strategy")
        start = np.zeros(len(rows))
        for share, label, colour, hatch in zip(shares, labels, FILLS[6:3:-1], HATCHES, strict=True):
            panel.barh(range(len(rows)), share * 1e3, left=start, label=label, color=colour, hatch=hatch, edgecolor="k")
            start = start + share.to_numpy() * 1e3
        panel.set_yticks(range(len(rows)), shorten_labels(rows.strategy))
        panel.set_xlim(0, 1.05e3 * steps.max())
        panel.set_xlabel("step time (ms)")
        panel.invert_yaxis()
        panel.grid(axis="y", visible=False)
    figure.subplots_adjust(wspace=1.0)  # room for the longest name of a policy
    add_shared_legend(figure, panels[0], 3)
    return figure
