"""A run's tables and plots, made anew from its records."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from artifex_bench.core import store
from artifex_bench.report.frame import load_run


def build(folder: Path, plots: bool = True) -> tuple[pd.DataFrame, list[Path]]:
    """Write `table.csv`, `table.md` and `plots/` into the run's folder; the table, and the paths written.

    Runs of the suites that repeat published cases get `papers.md` as well, searches for the largest batch their rows as
    `max_batch.csv` and `.json`.

    Raises StoreError when the folder holds no records or cannot be written.
    """
    from artifex_bench.report import tables, views
    from artifex_bench.report.papers import claims

    table = load_run(folder)
    if table.empty:
        raise store.StoreError(f"{folder} holds no records yet: go on with --resume {folder}")
    try:
        suite = store.suite(folder)
        written = tables.write(table, folder, suite)
        if suite in views.SUITES:
            written += next(views.parts(table, suite))[0].write(table, folder)
        if suite in claims.SUITES and (text := claims.markdown(table)):
            (folder / "papers.md").write_text(text, encoding="utf-8")
            written.append(folder / "papers.md")
        if plots:
            from artifex_bench.report.plots import write_plots

            written += write_plots(table, folder / "plots", suite)
    except OSError as error:
        raise store.StoreError(f"cannot write the report of {folder}: {error.strerror}") from error
    return table, written
