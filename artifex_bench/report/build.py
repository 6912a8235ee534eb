"""A run's tables and plots, from its records."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from artifex_bench.core import store
from artifex_bench.report.frame import load_run


def write_report(folder: Path, with_plots: bool = True) -> tuple[pd.DataFrame, list[Path]]:
    """Write `table.csv`, `table.md` and `plots/` into a run's folder.

    Searches for the largest batch get `max_batch.csv` and `max_batch.json` as well.

    Returns:
        The rows of its cases, and the paths of the written files.

    Raises:
        StoreError: The folder holds no records, or cannot be written.
    """
    from artifex_bench.report.tables import write_tables

    frame = load_run(folder)
    if frame.empty:
        raise store.StoreError(f"{folder} holds no records yet: go on with --resume {folder}")
    try:
        suite = store.read_suite(folder)
        written = write_tables(frame, folder, suite)
        if with_plots:
            from artifex_bench.report.plots import write_plots

            written += write_plots(frame, folder / "plots", suite)
    except OSError as error:
        raise store.StoreError(f"cannot write the report of {folder}: {error.strerror}") from error
    return frame, written
