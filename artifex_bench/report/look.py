"""How the page's charts look: colours, axes, layout. Text has a contrast of 4.5 : 1 on white at least (WCAG 1.4.3)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

INK, MUTED, GRID, FRONT, CHOSEN = "#1F2933", "#5F6B7A", "#E4E7EB", "#0B5FA5", "#B54708"
# For lines: at least 3 : 1 on white (WCAG 1.4.11), told apart by symbol and dash as well.
LINES = ("#1F2933", "#0072B2", "#C14E00", "#00805D", "#B3518A", "#8C6D1F", "#5B4FC7", "#2E86C1")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "x", "star", "hexagon", "pentagon")
DASHES = ("solid", "dash", "dot", "dashdot")
FONT = "system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', Arial, sans-serif"


def axis(title: str, scale: str, values: pd.Series[float]) -> dict[str, Any]:
    """A plotly axis for these values, "linear" from zero or "log"."""
    return {
        "title": {"text": title, "standoff": 8, "font": {"size": 13}},
        "type": scale,
        "rangemode": "tozero",
        "gridcolor": GRID,
        "zerolinecolor": GRID,
        "linecolor": MUTED,
        "ticks": "outside",
        "tickcolor": MUTED,
        "automargin": True,
        **(_ticks(values) if scale == "log" else {}),
    }


def _ticks(values: pd.Series[float]) -> dict[str, Any]:
    """Ticks of a logarithmic axis at 1, 2, 5 in plain numbers; it reaches far enough for one of them."""
    values = values[values > 0]
    if values.empty:  # no place on such an axis
        return {}
    powers = range(math.floor(math.log10(values.min())) - 1, math.ceil(math.log10(values.max())) + 1)
    ticks = [first * 10.0**power for power in powers for first in (1, 2, 5)]
    close = values.max() < 2.5 * values.min()
    reach = {"range": [math.log10(values.min() / 1.6), math.log10(values.max() * 1.6)]} if close else {}
    return {"tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks], **reach}


def apart(values: pd.Series[float], scale: str, least: float = 0.06) -> list[float]:
    """The values, sorted, without those that lie too near to the one before to have a tick of their own."""
    ordered = values.drop_duplicates().sort_values()
    kept: list[float] = []
    last = -math.inf
    for value, place in zip(ordered, places(ordered, scale), strict=True):
        if place - last >= least:
            kept.append(float(value))
            last = place
    return kept


def places(values: pd.Series[float], scale: str) -> pd.Series[float]:
    """Where values lie along their axis, from 0 to 1."""
    values = np.log(values) if scale == "log" else values
    low = values.min() if scale == "log" else 0
    return (values - low) / ((values.max() - low) or 1)


def layout(height: int) -> dict[str, Any]:
    """What the layouts of all charts share; the height in pixels."""
    return {
        "template": None,
        "height": height,
        "margin": {"l": 8, "r": 16, "t": 8, "b": 8},
        "font": {"family": FONT, "size": 13, "color": INK},
        "paper_bgcolor": "#FFFFFF",
        "plot_bgcolor": "#FFFFFF",
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "hovermode": "closest",
        "hoverlabel": {"bgcolor": "#FFFFFF", "bordercolor": MUTED, "font": {"color": INK, "size": 13}, "align": "left"},
    }
