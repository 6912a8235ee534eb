"""A run as a table: one row a case, units in the names of columns. The form in which results are exchanged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from artifex_bench import case as cases
from artifex_bench import store
from artifex_bench.case import RematCase
from artifex_bench.models import entry
from artifex_bench.record import Record
from artifex_bench.stats import Summary, bootstrap_medians, summarize

# Taken once, from the first round that has them: they are the same in every process.
ONCE = (
    "residual_bytes",
    "compiled_peak_bytes",
    "parameter_bytes",
    "optimizer_bytes",
    "gradient_flops",
    "compile_seconds",
    "trace_seconds",
)
TIMED = ("step_seconds", "first_step_seconds", "forward_seconds", "measured_peak_bytes")
CONTENDED_SHARE = 0.1  # of the machine's processor time taken by others while steps were timed


def load_run(path: str | Path) -> pd.DataFrame:
    """A run's folder as a tidy DataFrame, one row a case. Raises StoreError when it cannot be read.

    Columns: the case's axes; `status`, `reason`, `verdict`, `agrees`; medians over all rounds with bootstrap 95 %
    intervals (`step_seconds`, `step_seconds_low`, `step_seconds_high`); the three memory columns `residual_bytes`,
    `compiled_peak_bytes`, `measured_peak_bytes` (with its source); and `time_ratio`, `compiled_peak_ratio`,
    `measured_peak_ratio`, `residual_ratio` to strategy none. What was not measured is NaN or None.
    """
    return frame(store.load(Path(path)))


def frame(records: Sequence[Record]) -> pd.DataFrame:
    """Records as `load_run` gives them."""
    by_case: dict[RematCase, list[Record]] = {}
    for record in records:
        by_case.setdefault(record.case, []).append(record)
    rows = [_row(case, visits) for case, visits in by_case.items()]
    table = pd.DataFrame(rows)
    if not table.empty:
        ratios = [_ratios(case, visits, by_case.get(cases.reference(case), [])) for case, visits in by_case.items()]
        table = pd.concat([table, pd.DataFrame(ratios)], axis=1)
    empty = [name for name in table if table[name].isna().all()]
    return table.astype(dict.fromkeys(empty, float))  # NaN where nothing was measured, which arithmetic goes through


def _row(case: RematCase, visits: list[Record]) -> dict[str, Any]:
    worst = next((v for v in visits if v.status != "ok"), visits[0])
    first = visits[0]
    row: dict[str, Any] = {
        "case": cases.case_id(case),
        **{axis: getattr(case, axis) for axis in cases.axes(type(case))},
    }
    row |= {"status": worst.status, "reason": worst.reason, "rounds": len(visits)}
    row |= {name: _first(visits, name) for name in ONCE}
    for name in TIMED:
        summary = _summary(visits, name)
        row[name] = summary.median if summary else None
        row[f"{name}_low"], row[f"{name}_high"] = (summary.low, summary.high) if summary else (None, None)
    step = _summary(visits, "step_seconds")
    row["samples"] = step.samples if step else 0
    per_step = tokens(case)
    row["throughput_per_second"] = per_step / step.median if step else None
    row["throughput_unit"] = "tokens" if entry(case.model).sequential else "samples"
    source = next((m for v in visits if (m := v.get("measured_peak_bytes"))), None)
    row["measured_peak_source"] = (source.source or source.note) if source else None
    row["verdict"] = first.verdict.name if first.verdict else None
    row["verdict_reason"] = first.verdict.reason if first.verdict else None
    row["agrees"] = first.agreement.ok if first.agreement else None
    row["agreement_reason"] = first.agreement.reason if first.agreement else None
    shares = [share for v in visits if (share := v.value("other_cpu_share")) is not None]
    row["other_cpu_share"] = max(shares) if shares else None
    row["contended"] = bool(shares) and max(shares) > CONTENDED_SHARE
    return row


def tokens(case: RematCase) -> int:
    """Tokens a step, or samples where the model has no sequence."""
    return case.batch * (case.sequence or 1)


def _first(visits: list[Record], probe: str) -> float | None:
    return next((value for v in visits if (value := v.value(probe)) is not None), None)


def _groups(visits: list[Record], probe: str) -> list[tuple[float, ...]]:
    return [m.values for v in visits if (m := v.get(probe)) and m.values]


def _summary(visits: list[Record], probe: str) -> Summary | None:
    return summarize(_groups(visits, probe))


def _ratios(case: RematCase, visits: list[Record], plain: list[Record]) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for name, column in (
        ("residual_bytes", "residual_ratio"),
        ("compiled_peak_bytes", "compiled_peak_ratio"),
        ("measured_peak_bytes", "measured_peak_ratio"),
    ):
        mine, theirs = (_summary(v, name) for v in (visits, plain))
        found[column] = mine.median / theirs.median if mine and theirs and theirs.median else None
    mine_groups, plain_groups = _groups(visits, "step_seconds"), _groups(plain, "step_seconds")
    total, model = _first(visits, "gradient_flops"), _first(plain, "gradient_flops")
    found["model_flops"] = model
    found["recomputed_flops"] = None if total is None or model is None else total - model
    found |= dict.fromkeys(("time_ratio", "time_ratio_low", "time_ratio_high"))
    if mine_groups and plain_groups:
        found["time_ratio"] = _pooled_median(mine_groups) / _pooled_median(plain_groups)
        if case.strategy != "none" and min(map(len, (*mine_groups, *plain_groups))) > 1:
            above = bootstrap_medians([np.asarray(g) for g in mine_groups], seed=1)
            below = bootstrap_medians([np.asarray(g) for g in plain_groups], seed=2)
            low, high = np.quantile(above / below, (0.025, 0.975))
            found["time_ratio_low"], found["time_ratio_high"] = float(low), float(high)
    return found


def _pooled_median(groups: list[tuple[float, ...]]) -> float:
    return float(np.median(np.concatenate([np.asarray(g) for g in groups])))
