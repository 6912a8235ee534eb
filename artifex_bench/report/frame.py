"""A run as a table: one row a case, units in the names of columns. The form in which results are exchanged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from artifex_bench.core import case as cases
from artifex_bench.core import store
from artifex_bench.core.case import Case
from artifex_bench.core.record import Record
from artifex_bench.core.stats import Summary, bootstrap_ratios, pooled_median, summarize
from artifex_bench.report.text import encodable

CONTENDED_SHARE = 0.1  # of the machine's processor time taken by others while steps were timed
CONTENDED = ("step_seconds", "other_cpu_share")  # what contention spoils, and what tells of it
ENOUGH = 3  # jobs that were not contended, to do without those that were


def load_run(path: str | Path) -> pd.DataFrame:
    """A run's folder as a tidy DataFrame, one row a case. Raises StoreError when it cannot be read.

    All have `kind`, `case`, the case's axes, `status`, `reason`, `rounds`, `contended`, and `jax`, its version. Timed
    columns are medians over all rounds, with bootstrap 95 % intervals: `step_seconds`, `step_seconds_low`,
    `step_seconds_high`. What was not measured is NaN or None.

    remat: `verdict`, `agrees`; the three memory columns `residual_bytes`, `compiled_peak_bytes`, `measured_peak_bytes`
    (with its source); `time_ratio`, `compiled_peak_ratio`, `measured_peak_ratio`, `residual_ratio` to strategy none;
    `argument_bytes`, `output_bytes`, `temp_bytes`, `host_temp_bytes`, parts of the compiled peak. Of a `target` that is
    not attached `capacity_bytes`, and `estimated_step_seconds`, which is never a measurement.

    checkpoint: `blocking_seconds`, `committed_seconds`, `restore_seconds`, `lost_seconds`, `raw_write_seconds`,
    `raw_read_seconds`; `write_ratio` and `read_ratio` to the raw ones; `state_bytes`, `disk_bytes`, `disk_files`;
    `save_peak_ratio`, `restore_peak_ratio`: resident memory on top, as a multiple of the state.

    fault: `detected_trials`, `intact_trials`, `silent_trials`, `silent_share`.
    """
    return frame(store.load(Path(path)))


def frame(records: Sequence[Record]) -> pd.DataFrame:
    """Records as `load_run` gives them."""
    from artifex_bench.report.views import view

    rows = view(records[0].case.kind).rows(by_case(records)) if records else []
    table = pd.DataFrame([{name: encodable(value) for name, value in row.items()} for row in rows])
    empty = [name for name in table if table[name].isna().all()]
    # NaN where nothing was measured, which arithmetic goes through
    return without_infinities(table.astype(dict.fromkeys(empty, float)))


def without_infinities(table: pd.DataFrame) -> pd.DataFrame:
    """The table with NaN for ratios that no float holds: next to nothing was measured below."""
    floats = table.select_dtypes("float")
    endless = floats.columns[np.isinf(floats.to_numpy()).any(axis=0)]
    return table.assign(**table[endless].where(np.isfinite(table[endless])))


def by_case(records: Sequence[Record]) -> dict[Case, list[Record]]:
    """The jobs to each case, in the order in which cases came: that of the rows of `frame`."""
    found: dict[Case, list[Record]] = {}
    for record in records:
        found.setdefault(record.case, []).append(record)
    return found


def calm(rounds: Sequence[Record]) -> list[Record]:
    """The jobs during which others left the processors alone."""
    return [job for job in rounds if (job.value("other_cpu_share") or 0) <= CONTENDED_SHARE]


def calmed(records: Sequence[Record]) -> list[Record]:
    """The records without the times of contended rounds, of each case that has enough others."""
    quiet = {case: calm(rounds) for case, rounds in by_case(records).items()}

    def told(record: Record) -> Record:
        others = quiet[record.case]
        if record in others or len(others) < ENOUGH:
            return record
        return replace(record, measurements=tuple(m for m in record.measurements if m.probe not in CONTENDED))

    return [told(record) for record in records]


def base(case: Case, rounds: list[Record]) -> dict[str, Any]:
    """The columns that every kind of case has."""
    worst = next((v for v in rounds if v.status != "ok"), rounds[0])
    shares = [share for v in rounds if (share := v.value("other_cpu_share")) is not None]
    return {
        "kind": case.kind,
        "case": cases.case_id(case),
        **{axis: getattr(case, axis) for axis in cases.axes(type(case))},
        "status": worst.status,
        "reason": worst.reason,
        "rounds": len(rounds),
        "other_cpu_share": max(shares) if shares else None,
        "contended": bool(shares) and max(shares) > CONTENDED_SHARE,
        "jax": ", ".join(dict.fromkeys(filter(None, (version(v, "jax") for v in rounds)))) or None,
    }


def version(record: Record, package: str) -> str | None:
    """The version of a package that a record was measured with; None where that is not told."""
    found: str | None = record.environment.get("versions", {}).get(package)
    return found


def medians(rounds: list[Record], probes: Sequence[str]) -> dict[str, float | None]:
    """For each probe its median over all rounds, and the interval as `_low` and `_high`."""
    row: dict[str, float | None] = {}
    for name in probes:
        found = summary(rounds, name)
        row[name] = found.median if found else None
        row[f"{name}_low"], row[f"{name}_high"] = (found.low, found.high) if found else (None, None)
    return row


def first(rounds: list[Record], probe: str) -> float | None:
    """The first value of a probe that is the same in every process."""
    return next((value for v in rounds if (value := v.value(probe)) is not None), None)


def groups(rounds: list[Record], probe: str) -> list[tuple[float, ...]]:
    """A probe's raw values, a group for each process."""
    return [m.values for v in rounds if (m := v.get(probe)) and m.values]


def summary(rounds: list[Record], probe: str) -> Summary | None:
    """Median and interval of a probe over all rounds."""
    return summarize(groups(rounds, probe))


def ratio(
    column: str, values: list[tuple[float, ...]], limit: list[tuple[float, ...]], spread: bool = True
) -> dict[str, float | None]:
    """The ratio of two probes' medians, each over all its groups; with `spread` its interval, as `_low` and `_high`."""
    row: dict[str, float | None] = dict.fromkeys((column, f"{column}_low", f"{column}_high"))
    if values and limit and (median := pooled_median(limit)):
        row[column] = pooled_median(values) / median
        ratios = bootstrap_ratios(values, limit) if spread else None
        if ratios is not None:
            row[f"{column}_low"], row[f"{column}_high"] = map(float, np.quantile(ratios, (0.025, 0.975)))
    return row
