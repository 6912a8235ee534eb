"""The plot of two runs that are compared: how far each figure moved, and how sure that is."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from artifex_bench.case import check_choice
from artifex_bench.report.plots import COLOURS, STYLE, still

CHANGES = {  # change -> colour and marker
    "same": (COLOURS[0], "o"),
    "unsure": (COLOURS[5], "D"),
    "regression": (COLOURS[2], ">"),
    "improvement": (COLOURS[3], "<"),
}


def ratios(found: pd.DataFrame, quantity: str) -> Any:
    """New over base of one quantity, a line a case, with 95 % intervals, as a figure for a notebook.

    `found` is what `compare` gives. Raises CaseError where it has no row of that quantity.
    """
    check_choice("quantity", quantity, list(found[found.ratio.notna()].quantity.unique()))
    rows = found[(found.quantity == quantity) & found.ratio.notna()]
    with plt.rc_context(STYLE):
        figure, panel = plt.subplots(figsize=(6.4, 0.8 + 0.26 * len(rows)))
        line = pd.Series(range(len(rows)), rows.index)
        for change, (colour, marker) in CHANGES.items():
            these = rows[rows.change == change]
            spread = [(these.ratio - these.ratio_low).fillna(0), (these.ratio_high - these.ratio).fillna(0)]
            if len(these):
                panel.errorbar(
                    these.ratio,
                    line[these.index],
                    xerr=np.array(spread, float).clip(0),
                    linestyle="none",
                    marker=marker,
                    color=colour,
                    markersize=5,
                    elinewidth=1,
                    capsize=2,
                    label=change,
                )
        panel.set_yticks(line, rows.label)
        panel.set_ylim(len(rows) - 0.5, -0.5)
        panel.axvline(1, color="k", linestyle="--", linewidth=0.8)
        panel.set_xlabel(f"{quantity.replace('_', ' ')}, new / base (bars: 95 % intervals)")
        panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.55 / figure.get_size_inches()[1]), ncols=4)
        return still(figure)
