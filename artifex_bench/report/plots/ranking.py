"""A ranking: one quantity, a line for each case, the least at the top."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib import ticker

from artifex_bench.core.kind import case_names
from artifex_bench.report.plots.style import Quantity, Styles, plot_mark
from artifex_bench.report.text import shorten_labels


def plot_ranking(panel: Any, rows: pd.DataFrame, quantity: Quantity, styles: Styles) -> None:
    """Plot one quantity of the cases of one shape, from 0.

    Args:
        panel: The axes to draw on.
        rows: The cases; the quantity is present.
        quantity: The quantity along x.
        styles: The style of each case name.
    """
    rows = rows.sort_values(quantity.column, kind="stable")
    label, size = quantity.scale(rows)
    names = case_names(rows)
    for place, (index, name, value) in enumerate(zip(rows.index, names, rows[quantity.column] / size, strict=True)):
        panel.hlines(place, 0, value, color="#DDDDDD", linewidth=1, zorder=1)
        plot_mark(panel, index, value, place, markersize=7, **styles[name])
    panel.set_yticks(range(len(rows)), shorten_labels(names))
    panel.set_ylim(len(rows) - 0.4, -0.6)
    panel.grid(axis="y", visible=False)
    panel.margins(x=0.06)
    panel.set_xlim(0, panel.get_xlim()[1])
    panel.xaxis.set_major_locator(ticker.MaxNLocator(5))
    panel.set_xlabel(label)
