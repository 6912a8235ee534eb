"""DataFrames from records: one row per case, units in the names of columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from artifex_bench.core.columns import package_version
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
    completed.attrs["origin"] = describe_origin(records)
    return completed


def describe_origin(records: Sequence[Record]) -> dict[str, str]:
    """Return the device, JAX version, date and commit of a run in words, for the footers of its plots.

    What no record has is left out.
    """
    environments = [record.environment for record in records]
    days = sorted(record.started_at[:10] for record in records if record.started_at)
    found = {
        "device": dict.fromkeys(filter(None, map(_describe_device, environments))),
        "jax": dict.fromkeys(f"JAX {version}" for record in records if (version := package_version(record, "jax"))),
        "date": dict.fromkeys((days[0], days[-1])) if days else {},
        "commit": dict.fromkeys(f"commit {one['commit']}" for one in environments if one.get("commit")),
    }
    return {name: (" to " if name == "date" else ", ").join(words) for name, words in found.items() if words}


def _describe_device(environment: Mapping[str, Any]) -> str:
    """The device, and of a CPU its model and cores."""
    device = str(environment.get("device", ""))
    if device != "cpu" or "cpu" not in environment:
        return device
    return f"cpu ({environment['cpu']}, {environment['cores']} cores)" if "cores" in environment else device


def without_infinities(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with NaN for infinite ratios, whose divisor is close to zero."""
    floats = table.select_dtypes("float")
    endless = floats.columns[np.isinf(floats.to_numpy()).any(axis=0)]
    return table.assign(**table[endless].where(np.isfinite(table[endless])))


def make_encodable(value: object) -> object:
    r"""Return text without lone surrogates, which pandas and files refuse, as ``\ud800``; other values unchanged."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
