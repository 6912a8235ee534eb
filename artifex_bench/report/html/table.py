"""The page's table of cases: what each cell says, and the raw value that it is sorted by."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd
from pandas.api.types import is_numeric_dtype

from artifex_bench.core import case as cases
from artifex_bench.core import units
from artifex_bench.report import checkpoint, fault, planned, remat
from artifex_bench.report.html.charts import setting_words
from artifex_bench.report.plots.style import NAMED_BY, case_names

# View -> the raw column that each heading is sorted by: "a/b" is a quotient, None sorts by the cell's words.
_SORTED_BY: dict[Any, tuple[str | None, ...]] = {
    remat: (
        *(None, "step_seconds", "time_ratio", "time_ratio_low", "compiled_peak_bytes", "compiled_peak_ratio"),
        *("measured_peak_bytes", "residual_bytes", "recomputed_flops/model_flops", "throughput_per_second"),
        *(None, None, None),
    ),
    planned: (
        *(None, "compiled_peak_bytes", "compiled_peak_ratio", None, "argument_bytes", "temp_bytes"),
        *("host_temp_bytes", "residual_bytes", "estimated_step_seconds", "recomputed_flops/model_flops"),
        *(None, "compile_seconds", None),
    ),
    checkpoint: (
        *(None, None, "blocking_seconds", "committed_seconds", "write_ratio", "write_ratio_low", "lost_seconds"),
        *("restore_seconds", "read_ratio", "read_ratio_low", "disk_bytes", "disk_files"),
        *("save_peak_ratio", "restore_peak_ratio", None),
    ),
    fault: (None, None, "trials", "detected_trials", "intact_trials", "silent_trials", "silent_share", None),
}


@dataclass(frozen=True)
class Cell:
    """A cell of the page's table.

    Attributes:
        words: What it says.
        number: Whether its column holds numbers.
        order: The raw value of a number, to sort by; empty where there is none.
    """

    words: str
    number: bool
    order: str = ""


@dataclass(frozen=True)
class Line:
    """A case in the page's table; `case` is the index of its row in the run's table."""

    case: int
    shape: str
    name: str
    status: str
    cells: list[Cell]


def varying_axes(table: pd.DataFrame, view: Any) -> list[str]:
    """Return the axes that tell shapes apart: they vary over the run, and do not vary within any shape."""
    groups = [rows for _, rows in view.shapes(table)]
    axes = cases.axes(cases.KINDS[table.kind.iloc[0]])
    return [
        axis
        for axis in axes
        if table[axis].nunique(dropna=axis != "mesh") > 1
        and all(rows[axis].nunique(dropna=False) == 1 for rows in groups)
    ]


def table_lines(table: pd.DataFrame, view: Any, axes: list[str]) -> Iterator[Line]:
    """Yield a line for each case: the settings of the axes, then a cell for each heading of the view."""
    columns = _SORTED_BY[view]
    width = len(NAMED_BY[table.kind.iloc[0]])
    numeric = {axis: is_numeric_dtype(table[axis]) for axis in axes}
    for (title, rows), (_, lines, _) in zip(view.shapes(table), view.grouped(table), strict=True):
        row_of = {name: row for name, (_, row) in zip(case_names(rows), rows.iterrows(), strict=True)}
        for line in lines:
            name = ", ".join(line[:width]).removesuffix(" *")
            row = row_of[name]
            settings = [_setting_cell(axis, row[axis], numeric[axis]) for axis in axes]
            figures = [_figure_cell(words, row, column) for words, column in zip(line, columns, strict=True)]
            yield Line(int(row.name), title, name, row.status, settings + figures)


def _setting_cell(axis: str, value: Any, number: bool) -> Cell:
    return Cell(setting_words(axis, value), number, f"{value:.6g}" if number and units.there(value) else "")


def _figure_cell(words: str, row: pd.Series[Any], column: str | None) -> Cell:
    if column is None:
        return Cell(words, False)
    above, _, below = column.partition("/")
    value = row[above]
    if below:
        value = value / row[below] if units.there(value) and row[below] else None
    return Cell(words, True, f"{value:.6g}" if units.there(value) else "")
