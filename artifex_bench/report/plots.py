"""What plots share: Okabe-Ito colours, a marker of its own for each line, black on white."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib import ticker

from artifex_bench.core.case import check_choice
from artifex_bench.report.text import caption, captions
from artifex_bench.report.views import parts

# Okabe & Ito 2008: told apart with any colour vision; markers and line styles carry the same in black and white.
COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D1F")
MARKERS = "oDs^vPX<>ph*dH8"
HATCHES = ("", "///", "...")
MIB = 2**20
_STYLE: Any = {"font.size": 9, "axes.grid": True, "grid.color": "#DDDDDD", "axes.axisbelow": True, "figure.dpi": 130}
_STYLE["text.parse_math"] = False  # a name may hold dollars
Styles = dict[str, dict[str, Any]]


def write(table: pd.DataFrame, folder: Path, suite: str | None = None) -> list[Path]:
    """Draw every plot that the table has data for into `folder`; returns the paths."""
    folder.mkdir(exist_ok=True)
    with style():
        return [save(figure, folder / f"{name}.png") for name, figure in _drawn(table, suite)]


def show(table: pd.DataFrame, name: str) -> Any:
    """One plot of a run's table, such as "tradeoff", as a figure for a notebook.

    Raises CaseError, naming the plots that the table has data for, when it is none of them.
    """
    with style():
        figures = {found: still(figure) for found, figure in _drawn(table)}
    check_choice("plot", name, figures)
    return figures[name]


def still(figure: Any) -> Any:
    """The figure, finished in the style of now and closed, so that a notebook shows it once: where it is named."""
    with _any_glyphs():
        figure.draw_without_rendering()
    plt.close(figure)
    return figure


@contextlib.contextmanager
def _any_glyphs() -> Iterator[None]:
    """No word of glyphs that the font lacks: names may be of any script, and a box stands for each."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        warnings.filterwarnings("ignore", "Matplotlib currently does not support", UserWarning)
        yield


def _drawn(table: pd.DataFrame, suite: str | None = None) -> Iterator[tuple[str, Any]]:
    usable = table[table.status == "ok"] if not table.empty else table
    if not usable.empty:
        for view, rows in parts(usable, suite):
            if view.PLOTS:
                yield from import_module(view.PLOTS).draw(rows)


def styles(names: Iterable[str]) -> Styles:
    return {
        name: {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)]} for i, name in enumerate(names)
    }


def style() -> Any:
    """A context in which figures look like those of this package."""
    return plt.rc_context(_STYLE)


def save(figure: Any, path: Path) -> Path:
    """Write and close a figure; the same figure gives the same bytes."""
    try:
        with _any_glyphs():
            figure.savefig(path, bbox_inches="tight", metadata={"Software": None} if path.suffix == ".png" else None)
    finally:
        plt.close(figure)
    return path


def titled_panels(titles: list[str], wide: float = 4.6, high: float = 3.6) -> tuple[Any, list[Any]]:
    columns = min(3, len(titles), max(1, math.ceil(math.sqrt(len(titles)))))
    lines = math.ceil(len(titles) / columns)
    figure, axes = plt.subplots(lines, columns, figsize=(wide * columns, high * lines), squeeze=False)
    for axis in axes.flat[len(titles) :]:
        axis.remove()
    panels = list(axes.flat[: len(titles)])
    for panel, title in zip(panels, titles, strict=True):
        panel.set_title("\n".join(captions(title.replace(": ", "\n", 1).split("\n"))), fontsize=9)
    figure.subplots_adjust(hspace=0.55, wspace=0.32)
    return figure, panels


def whiskers(rows: pd.DataFrame, column: str, unit: float = 1) -> Any:
    """How far the 95 % interval of a column reaches down and up in that unit, as `errorbar` takes it: [2, rows], 0
    where there is none; None of a column that has no intervals.
    """
    if f"{column}_low" not in rows:
        return None
    middle = rows[column]
    reach = [middle - rows[f"{column}_low"], rows[f"{column}_high"] - middle]
    return np.nan_to_num(np.array(reach, float)).clip(0) / unit


def readable_log(axis: Any, unit: str | None = None) -> None:
    """A logarithmic axis with ticks at 1, 2, 5 in plain numbers: with the unit ("60 ms"), or as multiples ("2x")."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(ticker.EngFormatter(unit) if unit else ticker.StrMethodFormatter("{x:g}x"))
    axis.set_minor_formatter(ticker.NullFormatter())


def legend_label(name: str) -> str:
    """The name in a legend. Matplotlib leaves out labels that begin with an underscore."""
    return caption(f" {name}" if name.startswith("_") else name)


def legend_below(figure: Any, styles: Styles, note: str, line: Any = "none") -> None:
    handles = [
        matplotlib.lines.Line2D([], [], linestyle=line, label=legend_label(name), markersize=7, **style)
        for name, style in styles.items()
    ]
    columns = 2 if len(figure.axes) < 2 else 3
    height = figure.get_size_inches()[1]
    figure.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.12 / height), ncols=columns)
    rows = math.ceil(len(handles) / columns)
    figure.text(0.5, -(0.42 + 0.2 * rows) / height, note, ha="center", va="top", fontsize=8, color="#444444")
