"""Faults: the share of restores from damaged files that were silently wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from artifex_bench.report.plots.style import titled_panels
from artifex_bench.report.text import shorten_labels


def plot_faults(table: pd.DataFrame) -> Any:
    """Return a figure of that share, one line for each format, one column for each fault, one panel for each dtype."""
    groups = [(f"{dtype}", rows) for dtype, rows in table.groupby("dtype", sort=False)]
    figure, panels = titled_panels([title for title, _ in groups], wide=5.2, high=4.6)
    for panel, (_, rows) in zip(panels, groups, strict=True):
        matrix = rows.pivot_table(index="format", columns="fault", values="silent_share", sort=False)
        panel.imshow(matrix, cmap="Oranges", vmin=0, vmax=1, aspect="auto")
        panel.set_xticks(range(len(matrix.columns)), shorten_labels(c.replace("_", " ") for c in matrix.columns))
        panel.set_yticks(range(len(matrix.index)), shorten_labels(matrix.index))
        panel.grid(visible=False)
        for (y, x), share in np.ndenumerate(matrix.to_numpy()):
            panel.text(x, y, f"{share:.0%}", ha="center", va="center", color="white" if share > 0.6 else "black")
        panel.set_xlabel("silently wrong restores")
    return figure
