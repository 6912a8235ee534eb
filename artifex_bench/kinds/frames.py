"""DataFrames from records: one row per case, units in the names of columns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from artifex_bench.core.record import Record
from artifex_bench.core.registry import load_kind
from artifex_bench.core.results import case_results


def make_frame(records: Sequence[Record]) -> pd.DataFrame:
    """Return records as `load_run` returns them: one row per case, all of one kind."""
    if not records:
        return pd.DataFrame()
    kind = load_kind(records[0].case.kind)
    columns = [column for column in kind.columns if column.value is not None]
    rows = [
        {name: make_encodable(value) for column in columns for name, value in column.cells(result)}
        for result in case_results(records)
    ]
    table = pd.DataFrame(rows)
    empty = [name for name in table if table[name].isna().all()]
    # a column without values is NaN, so that arithmetic works
    table = without_infinities(table.astype(dict.fromkeys(empty, float)))
    completed: pd.DataFrame = kind.add_columns(table)
    return completed


def without_infinities(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with NaN for infinite ratios, whose divisor is close to zero."""
    floats = table.select_dtypes("float")
    endless = floats.columns[np.isinf(floats.to_numpy()).any(axis=0)]
    return table.assign(**table[endless].where(np.isfinite(table[endless])))


def make_encodable(value: object) -> object:
    r"""Return text without lone surrogates, which pandas and files refuse, as ``\ud800``; other values unchanged."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
