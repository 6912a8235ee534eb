"""Advice for a device that is not attached: what fits its memory, ranked by an estimate. No JAX."""

from __future__ import annotations

from typing import Any

import pandas as pd

from artifex_bench.advice import PEAK, Advice, choose, nothing
from artifex_bench.case import ATTACHED, CaseError
from artifex_bench.report import units
from artifex_bench.report.units import there
from artifex_bench.targets import ASKED, describe, stored

NO_TIMES = "a time budget needs measured times, and there nothing was run"
HOW_SURE = "certain that it fits, by the device's own compiler; its time is an estimate: measure it on the device"


def of_target(table: pd.DataFrame, target: str) -> pd.DataFrame:
    """The rows of that target. Raises CaseError when there is none of that name, or the run has none of its cases:
    peaks of another device say nothing of it.
    """
    if target != ASKED:
        describe(target)
    found = table[table.target == stored(target)]
    if found.empty:
        has = ", ".join(dict.fromkeys(table.target.replace(ATTACHED, ASKED)))
        raise CaseError(f"target {target!r}: the run has none of its cases, only of {has}; run with --target {target}")
    return found


def fitting(title: str, rows: pd.DataFrame, memory: int | None, time: float | None) -> Advice:
    """The strategy with the shortest estimated step among those whose peak fits the target's capacity, and `memory`
    (bytes) where that is less. None is chosen for a budget of `time`, which an estimate cannot be held against.
    """
    if time is not None:
        return Advice(title, f"a step of {units.ratio(time)} that of none at most", None, NO_TIMES, None, "", "", {})
    budget = min(float(limit) for limit in (rows.capacity_bytes.min(), memory) if limit is not None and there(limit))
    question = f"the shortest estimated step with a compiled peak of {units.size(budget)} at most"
    fell = {row.strategy: why for row in rows.itertuples() if (why := _why_not(row, budget))}
    ranked = list(rows[~rows.strategy.isin(fell)].sort_values(["estimated_step_seconds", PEAK]).itertuples())
    if not ranked:
        return nothing(title, question, rows[rows[PEAK].notna()], fell)
    fell |= {row.strategy: f"fits, with a longer estimate: {units.seconds(_estimate(row))}" for row in ranked[2:]}
    return choose(title, question, [(row.strategy, _cost(row, budget)) for row in ranked[:2]], HOW_SURE, fell)


def _estimate(row: Any) -> float:
    return float(row.estimated_step_seconds)


def _why_not(row: Any, budget: float) -> str | None:
    peak = getattr(row, PEAK)
    if row.status != "ok":
        return f"{row.status}: {row.reason}"
    if not there(peak):
        return "its peak is not known"
    if peak > budget:
        return f"does not fit: {units.size(peak)}, {units.size(peak - budget)} too much"
    if there(row.verdict) and row.verdict != "effective":
        return f"{row.verdict}: {row.verdict_reason}"
    if not there(row.estimated_step_seconds):
        return f"fits, with {units.size(peak)}, but its time cannot be estimated"
    return None


def _cost(row: Any, budget: float) -> str:
    peak = getattr(row, PEAK)
    told = f"an estimated {units.seconds(_estimate(row))} a step, compiled peak {units.size(peak)}"
    return f"{told}, {units.size(budget - peak)} to spare"
