"""Plots of runs by matplotlib: one file for each kind of plot, and `runs`, which says what each kind of run has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from artifex_bench.core.case import check_choice
from artifex_bench.core.registry import load_attribute
from artifex_bench.report.plots.panels import add_origin
from artifex_bench.report.plots.style import case_styles, finish_figure, plot_style, save_figure
from artifex_bench.report.tables import split_tables


def write_plots(table: pd.DataFrame, folder: Path, suite: str | None = None) -> list[Path]:
    """Write every plot that a run has data for, as PNG files.

    Args:
        table: The run's table, from `load_run`.
        folder: Where the files go; created if it does not exist.
        suite: The run's suite, if it has one.

    Returns:
        The paths of the files.
    """
    folder.mkdir(exist_ok=True)
    with plot_style():
        return [save_figure(figure, folder / f"{name}.png") for name, figure in _plot_run(table, suite)]


def plot_run(table: pd.DataFrame, name: str) -> Any:
    """Return one plot of a run as a figure for a notebook.

    Args:
        table: The run's table, from `load_run`.
        name: The plot's name, such as "tradeoff".

    Returns:
        A closed matplotlib figure.

    Raises:
        CaseError: The run has no data for a plot of that name; the message lists the plots that it has.
    """
    with plot_style():
        figures = {found: finish_figure(figure) for found, figure in _plot_run(table)}
    check_choice("plot", name, figures)
    return figures[name]


def _plot_run(table: pd.DataFrame, suite: str | None = None) -> Iterator[tuple[str, Any]]:
    if table.empty:
        return
    styles = case_styles(table)
    for _, shown, rows in split_tables(table, suite):
        if shown.plots and (rows.status == "ok").any():
            for name, figure in load_attribute(shown.plots)(rows, styles):
                add_origin(figure, rows)
                yield name, figure
