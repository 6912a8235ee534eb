"""A comparison of two runs: the ratio of each case and quantity, with its interval."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib import ticker

from artifex_bench.report.plots.panels import add_panel_legend, join_origin, mark_truncated_axes, write_below
from artifex_bench.report.plots.style import COLOURS, finish_figure, plot_style, save_figure
from artifex_bench.report.text import shorten_labels

STYLES = {  # change -> colour and marker
    "regression": (COLOURS[2], "X"),
    "improvement": (COLOURS[3], "P"),
    "unsure": (COLOURS[5], "D"),
    "same": (COLOURS[0], "o"),
}


def write_comparison(found: pd.DataFrame, path: Path) -> Path:
    """Write the figure of a comparison to a file.

    Args:
        found: Rows of `compare_runs`.
        path: The file; its ending names the format, such as .png or .svg.

    Returns:
        The path.

    Raises:
        ValueError: No row has a ratio, or the ending names no format.
    """
    with plot_style():
        return save_figure(_plot_ratios(found), path)


def plot_comparison(found: pd.DataFrame) -> Any:
    """Return the figure of a comparison for a notebook: one panel for each quantity, one line for each case.

    Args:
        found: Rows of `compare_runs`.

    Raises:
        ValueError: No row has a ratio.
    """
    with plot_style():
        return finish_figure(_plot_ratios(found))


def _plot_ratios(found: pd.DataFrame) -> Any:
    shown = found[found.ratio.notna()]
    if shown.empty:
        raise ValueError("nothing to draw: no case has figures in both runs")
    quantities = list(dict.fromkeys(shown.quantity))
    labels = list(dict.fromkeys(shown.label))
    high = 1.2 + 0.26 * len(labels)
    figure, panels = plt.subplots(
        1, len(quantities), figsize=(2.6 * len(quantities) + 2, high), sharey=True, squeeze=False
    )
    for panel, quantity in zip(panels[0], quantities, strict=True):
        for change, (colour, marker) in STYLES.items():
            rows = shown[(shown.quantity == quantity) & (shown.change == change)]
            if rows.empty:
                continue
            spread = [(rows.ratio - rows.ratio_low).fillna(0), (rows.ratio_high - rows.ratio).fillna(0)]
            places = [labels.index(label) for label in rows.label]
            panel.errorbar(
                rows.ratio.astype(float),
                places,
                xerr=[part.astype(float).clip(lower=0) for part in spread],
                linestyle="none",
                color=colour,
                marker=marker,
                capsize=2,
                label=change,
            )
        panel.xaxis.set_major_locator(ticker.MaxNLocator(4, steps=[1, 2, 5, 10]))
        panel.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}x"))
        panel.set_xlim(*_around_one(shown[shown.quantity == quantity]))
        panel.axvline(1, color="k", linestyle="--", linewidth=1)
        panel.set_title(quantity, fontsize=9)
        panel.set_xlabel("new / base")
        mark_truncated_axes(panel, "x")
    panels[0][0].set_yticks(range(len(labels)), shorten_labels(labels))
    panels[0][0].invert_yaxis()
    add_panel_legend(figure, panels[0])
    origins = found.attrs.get("origins", {})
    notes = [f"{run}: {join_origin(origin)}" for run, origin in origins.items()]
    write_below(figure, ["bars: 95 % intervals of the ratio", *notes])
    return figure


def _around_one(rows: pd.DataFrame) -> tuple[float, float]:
    """Limits that hold every interval and 1, and are not narrower than from 0.9 to 1.1."""
    seen = pd.concat([rows.ratio, rows.ratio_low, rows.ratio_high]).astype(float)
    return min(0.9, seen.min() / 1.05), max(1.1, seen.max() * 1.05)
