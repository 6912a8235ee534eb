"""The plot of searches for the largest batch: the batch that fits against the throughput that is estimated of it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

import pandas as pd

from artifex_bench.core.record import PUBLISHED_STEPS
from artifex_bench.kinds.max_batch import group_by_model
from artifex_bench.report.plots import Styles, legend_below, readable_log, styles, titled_panels


def draw(table: pd.DataFrame) -> Iterator[tuple[str, Any]]:
    """(name, figure), where there are estimates of what fits."""
    fitting = table[(table.needed_peak_bytes <= table.capacity_bytes) & table.estimated_step_seconds.notna()]
    if not fitting.empty:
        yield (
            "max_batch",
            _throughput(fitting, styles(sorted(fitting.strategy.unique(), key=lambda name: name != "none"))),
        )


def _throughput(fitting: pd.DataFrame, looks: Styles) -> Any:
    """Estimated samples a second against the batch, a panel a target, a line a strategy; the largest is filled."""
    groups = [
        (f"{target}, {title.partition(':')[0]}: {textwrap.fill(title.partition(': ')[2], 52)}", own)
        for title, rows in group_by_model(fitting)
        for target, own in rows.groupby("target")
    ]
    figure, panels = titled_panels([title for title, _ in groups])
    for panel, (_, rows) in zip(panels, groups, strict=True):
        for strategy, own in rows.groupby("strategy", sort=False):
            own = own.sort_values("batch")
            look, last = looks[str(strategy)], own.iloc[[-1]]
            rate = own.batch / own.estimated_step_seconds
            panel.plot(own.batch, rate, linewidth=1, alpha=0.5, markerfacecolor="white", markersize=4, **look)
            panel.plot(last.batch, rate.iloc[-1:], linestyle="none", markersize=9, **look)
        readable_log(panel.xaxis)
        panel.xaxis.set_major_formatter("{x:g}")
        panel.margins(0.12)
        panel.set_ylim(0, 1.1 * panel.dataLim.y1)
        panel.set_xlabel("batch")
        panel.set_ylabel("estimated throughput (samples/s)")
    legend_below(
        figure,
        looks,
        f"filled: the largest that fits; open: smaller ones. Estimates: {PUBLISHED_STEPS}.",
    )
    return figure
