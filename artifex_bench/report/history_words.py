"""Histories as text: the cells of their table."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from artifex_bench.core import units
from artifex_bench.core.columns import FORMATS
from artifex_bench.report.history import Series

HEADINGS = ("case", "quantity", "runs", "first", "last", "last vs first", "change points")
LEFT_ALIGNED = (0, 1, 6)


def format_series(series: Series, names: Sequence[str]) -> list[str]:
    """Return the cells of a series, in the order of `HEADINGS`."""
    show = {**FORMATS, "count": "{:.3g}".format}[series.unit]
    known = series.known
    ratio = units.ABSENT if series.ratio is None else units.format_ratio(series.ratio)
    changes = "; ".join(f"{names[one.run]}: {units.format_ratio(one.ratio)}" for one in series.changes)
    return [
        series.label,
        series.quantity,
        str(len(known)),
        show(known[0]),
        show(known[-1]),
        ratio,
        changes or "none",
    ]


def make_history_frame(series: Sequence[Series], names: Sequence[str]) -> pd.DataFrame:
    """Return one row per case, quantity and run, with whether the level changed there."""
    return pd.DataFrame(
        {
            "case": one.label,
            "quantity": one.quantity,
            "unit": one.unit,
            "run": name,
            "value": value,
            "change_ratio": next((change.ratio for change in one.changes if change.run == i), None),
        }
        for one in series
        for i, (name, value) in enumerate(zip(names, one.values, strict=True))
    )
