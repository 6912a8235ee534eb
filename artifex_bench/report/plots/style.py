"""The style that all plots share: one colour and marker for each strategy, fonts and axes."""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib import ticker
from matplotlib.transforms import ScaledTranslation

from artifex_bench.core import units
from artifex_bench.core.kind import case_names
from artifex_bench.report.text import shorten_label

# For marks and lines: the hues of Okabe & Ito 2008, darkened to a contrast of 3:1 on white (WCAG 2.2, 1.4.11).
COLOURS = ("#1F2933", "#0072B2", "#C14E00", "#00805D", "#B3518A", "#8C6D1F", "#5B4FC7", "#A4133C")
# Markers tell lines apart without colour. There are 13, which shares no factor with the 8 colours: 104 pairs.
MARKERS = "oDs^vPX<>ph*d"
FILLS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe & Ito 2008, with edges
HATCHES = ("", "///", "...")
INK, MUTED, RULE = "#1F2933", "#5F6B7A", "#BBBBBB"  # text; secondary text and fronts; lines of reference
BAR_GAP = 5.0  # points between intervals that would overlap
RECOMMENDED = "#B54708"  # the ring around the recommended case
MIB = 2**20
_STYLE: Any = {"font.size": 9, "axes.grid": True, "grid.color": "#DDDDDD", "axes.axisbelow": True, "figure.dpi": 130}
_STYLE["text.parse_math"] = False  # a name may hold dollars
Styles = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Quantity:
    """A column of a run's table as an axis.

    Attributes:
        column: The column's name.
        label: The axis label, without a unit.
        unit: "seconds" or "bytes", as in the column, or "" for a number without a unit.
        largest: The value that chooses the unit of the axis; None for the largest one that is plotted.
    """

    column: str
    label: str
    unit: str
    largest: float | None = None

    def scale(self, rows: pd.DataFrame) -> tuple[str, float]:
        """Return the axis label with a unit that suits these rows, and that unit's size in seconds or bytes."""
        largest = rows[self.column].max() if self.largest is None else self.largest
        unit, size = units.choose_unit(self.unit, largest)
        return f"{self.label} ({unit})" if unit else self.label, size

    def with_unit_of(self, rows: pd.DataFrame) -> Quantity:
        """Return the quantity with a unit that suits these rows, for panels whose axes are compared."""
        return dataclasses.replace(self, largest=rows[self.column].max())


def assign_styles(names: Iterable[str]) -> Styles:
    """Give each name a colour and marker that no other name has, however many there are."""
    return {name: {"color": COLOURS[i % len(COLOURS)], "marker": _marker(i)} for i, name in enumerate(names)}


def _marker(i: int) -> Any:
    pairs = len(COLOURS) * len(MARKERS)
    # beyond the pairs: stars of 6 points, then of 7, each in every colour
    return MARKERS[i % len(MARKERS)] if i < pairs else (6 + (i - pairs) // len(COLOURS), 1, 0)


def case_styles(table: pd.DataFrame) -> Styles:
    """Return one style for each case name of a run, for all its plots and its page. Strategy none comes first.

    Args:
        table: The whole run, failed cases included, so that every plot of the run assigns the same styles.
    """
    return assign_styles(sorted(dict.fromkeys(case_names(table)), key=lambda name: name != "none"))


def plot_style() -> Any:
    """Return a context in which figures have the style of this package."""
    return plt.rc_context(_STYLE)


def finish_figure(figure: Any) -> Any:
    """Lay out and close a figure, so that a notebook shows it once, where it is named; returns the figure."""
    with ignore_missing_glyphs():
        figure.draw_without_rendering()
    plt.close(figure)
    return figure


def save_figure(figure: Any, path: Path) -> Path:
    """Write and close a figure; the same figure gives the same bytes."""
    try:
        with ignore_missing_glyphs():
            figure.savefig(path, bbox_inches="tight", metadata={"Software": None} if path.suffix == ".png" else None)
    finally:
        plt.close(figure)
    return path


@contextlib.contextmanager
def ignore_missing_glyphs() -> Iterator[None]:
    """Silence warnings about glyphs that the font lacks. Names may be in any script; a box stands for each glyph."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        warnings.filterwarnings("ignore", "Matplotlib currently does not support", UserWarning)
        yield


def plot_mark(panel: Any, index: Any, x: float, y: float, **look: Any) -> None:
    """Draw the marker of one case.

    In an SVG the marker has the id `mark-<index>`, by which the page finds the case.

    Args:
        panel: The axes to draw on.
        index: The index of the case's row in the run's table.
        x: Position along the x axis.
        y: Position along the y axis.
        **look: Keywords of `Axes.plot`, such as the case's style.
    """
    panel.plot([x], [y], linestyle="none", gid=f"mark-{index}", **look)


def interval_lengths(rows: pd.DataFrame, column: str, unit: float = 1) -> Any:
    """Return how far the 95 % interval of a column reaches below and above its median, as `errorbar` takes it.

    Args:
        rows: Rows of a run's table.
        column: The column of the medians.
        unit: Size of the axis's unit.

    Returns:
        An array [2, rows] in that unit, 0 where a row has no interval; None if the column has no intervals.
    """
    if f"{column}_low" not in rows:
        return None
    middle = rows[column]
    reach = [middle - rows[f"{column}_low"], rows[f"{column}_high"] - middle]
    return np.nan_to_num(np.array(reach, float)).clip(0) / unit


def dodge_bars(places: Sequence[float], lows: Sequence[float], highs: Sequence[float]) -> list[float]:
    """Return how far to the side of its marker each interval is drawn, so that it overlaps no other one.

    Args:
        places: Where the markers are along the axis, in points.
        lows: The lower ends of the intervals.
        highs: Their upper ends.

    Returns:
        The offset of each in points, mostly 0.
    """
    taken: list[tuple[float, float, float]] = []
    offsets = []
    for place, low, high in zip(places, lows, highs, strict=True):
        for step in sorted(range(-5, 6), key=abs):
            spot = place + BAR_GAP * step
            if all(abs(spot - other) >= BAR_GAP or high < least or most < low for other, least, most in taken):
                break
        taken.append((spot, low, high))
        offsets.append(spot - place)
    return offsets


def shift_right(panel: Any, points: float) -> Any:
    """Return the transform of a panel's data, moved to the right by some points.

    The limits of the axes do not follow what is drawn with it: see `include_values`.
    """
    return panel.transData + ScaledTranslation(points / 72, 0, panel.figure.dpi_scale_trans)


def include_values(panel: Any, across: Any, *ups: Any) -> None:
    """Let the limits of a panel include these values: positions along x, and several heights at each."""
    for up in ups:
        panel.update_datalim(np.column_stack([np.asarray(across, float), np.asarray(up, float)]))
    panel.autoscale_view()


def set_log_axis(axis: Any, unit: str | None = None) -> None:
    """Make an axis logarithmic, with ticks at 1, 2, 5 in plain numbers.

    Args:
        axis: The x or y axis of a panel.
        unit: The unit of the values, for ticks such as "60 ms"; None for ticks such as "2x".
    """
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(ticker.EngFormatter(unit) if unit else ticker.StrMethodFormatter("{x:g}x"))
    axis.set_minor_formatter(ticker.NullFormatter())


def legend_label(name: str) -> str:
    """Return the name as a legend shows it. Matplotlib leaves out labels that begin with an underscore."""
    return shorten_label(f" {name}" if name.startswith("_") else name)
