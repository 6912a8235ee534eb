"""Runs as DataFrames: one row per case, units in the names of columns. The form in which results are exchanged."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from artifex_bench.core import store
from artifex_bench.kinds.frames import make_frame


def load_run(path: str | Path) -> pd.DataFrame:
    """Return a run as a tidy DataFrame, one row per case. docs/data.md describes every column.

    Timed columns are medians over all rounds, with bootstrap 95 % intervals (`<name>_low`, `<name>_high`). What was not
    measured is NaN or None.

    Args:
        path: The run's folder, or a file of its records alone.

    Raises:
        StoreError: The folder holds no run, or a damaged one.
    """
    frame = make_frame(store.load_records(Path(path)))
    if Path(path).is_dir():
        frame.attrs["suite"] = store.read_suite(Path(path))  # which table shows the rows
    return frame
