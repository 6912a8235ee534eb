"""Advice on rematerialization from steps and peaks that were measured on this device. No JAX."""

from __future__ import annotations

from typing import Any

import pandas as pd

from artifex_bench.advice.data import (
    Advice,
    Candidate,
    Confidence,
    Doubt,
    Level,
    Limits,
    Question,
    Reason,
    Rejection,
    judge_confidence,
    reject_unusable,
    select_figures,
)
from artifex_bench.core.units import is_present
from artifex_bench.kinds.remat_groups import is_plan_of_strategy

PEAK = "compiled_peak_bytes"  # every device has it, and it does not vary
ORDER = {Question.FASTEST: ["step_seconds", PEAK], Question.LEAST_MEMORY: [PEAK, "step_seconds"]}


def choose_strategy(group: str, rows: pd.DataFrame, memory: float | None, time_ratio: float | None) -> Advice:
    """Choose a strategy from cases that ran on the local target.

    With `memory`, the choice is the fastest strategy that meets the budgets. Without, or if no step was timed, it is
    the one with the least peak.

    Args:
        group: Title of the rows.
        rows: The rows of one shape.
        memory: Budget of the compiled and measured peaks in bytes; None: no budget.
        time_ratio: Budget of the step time, as a multiple of strategy `none`; None: no budget.

    Returns:
        The advice.
    """
    timed = time_ratio is not None or bool(rows.step_seconds.notna().any())
    question = Question.FASTEST if timed and memory is not None else Question.LEAST_MEMORY
    limits = Limits(memory_bytes=memory, time_ratio=time_ratio)
    unusable = {row.strategy: why for row in rows.itertuples() if (why := reject_unmeasured(row, timed))}
    usable = rows[~rows.strategy.isin(unusable)]
    over = {row.strategy: why for row in usable.itertuples() if (why := _reject_over_budget(row, limits))}
    rejected = {**unusable, **over}
    meets = usable[~usable.strategy.isin(over)]
    if meets.empty:
        nearest = _find_fastest(usable) if memory is None else None
        return Advice(question, limits, group, None, None, None, nearest or find_least_peak(usable), rejected)
    ranked = list(meets.sort_values(ORDER[question]).itertuples())
    rejected |= {row.strategy: _reject_behind(row, ranked, question) for row in ranked[2:]}
    choice, runner_up = (*(describe_candidate(row, memory) for row in ranked[:2]), None)[:2]
    return Advice(question, limits, group, choice, runner_up, _judge(ranked, question, limits, timed), None, rejected)


def find_least_peak(rows: pd.DataFrame) -> Candidate | None:
    """Return the case with the least peak, the larger of compiled and measured; None if no peak is known."""
    peaks = rows[[PEAK, "measured_peak_bytes"]].max(axis=1)
    if peaks.notna().sum() == 0:
        return None
    return Candidate(rows.strategy[peaks.idxmin()], {"needed_bytes": float(peaks.min())})


def _find_fastest(rows: pd.DataFrame) -> Candidate | None:
    ratios = rows.set_index("strategy").time_ratio.dropna()
    return Candidate(str(ratios.idxmin()), {"time_ratio": float(ratios.min())}) if len(ratios) else None


def reject_unmeasured(row: Any, timed: bool) -> Rejection | None:
    """Return why no budget can make a case worth choosing; if any step was `timed`, its step must be too."""
    if (why := reject_unusable(row)) is not None:
        return why
    if timed and not is_present(row.step_seconds):
        return Rejection(Reason.NOT_TIMED)
    return None if is_present(getattr(row, PEAK)) else Rejection(Reason.NO_PEAK)


def find_needed_bytes(row: Any) -> float:
    """Return the larger of the compiled and the measured peak."""
    return float(max(peak for peak in (getattr(row, PEAK), row.measured_peak_bytes) if is_present(peak)))


def _reject_over_budget(row: Any, limits: Limits) -> Rejection | None:
    memory = limits.memory_bytes
    needed = find_needed_bytes(row)
    if memory is not None and needed > memory:
        is_compiled = getattr(row, PEAK) == needed
        reason = Reason.OVER_MEMORY_BUDGET if is_compiled else Reason.OVER_MEMORY_BUDGET_MEASURED
        return Rejection(reason, {"needed_bytes": needed, "over_bytes": needed - memory})
    ratio = 1.0 if row.strategy == "none" else row.time_ratio
    if limits.time_ratio is None:
        return None
    if not is_present(ratio):
        return Rejection(Reason.NO_BASELINE)
    if ratio > limits.time_ratio:
        figures = select_figures(row, "time_ratio", "time_ratio_low")
        perhaps = figures.get("time_ratio_low", ratio) <= limits.time_ratio
        return Rejection(Reason.PERHAPS_OVER_TIME_BUDGET if perhaps else Reason.OVER_TIME_BUDGET, figures)
    return None


def _reject_behind(row: Any, ranked: list[Any], question: Question) -> Rejection:
    """Why a case that meets the limits is neither the choice nor the runner-up."""
    for other in ranked:
        faster, smaller = other.step_seconds <= row.step_seconds, getattr(other, PEAK) <= getattr(row, PEAK)
        if other.strategy != row.strategy and faster and smaller:
            return Rejection(Reason.DOMINATED, select_figures(row, "step_seconds", PEAK), other.strategy)
    reason = Reason.SLOWER if question is Question.FASTEST else Reason.LARGER
    return Rejection(reason, select_figures(row, "step_seconds", PEAK))


def describe_candidate(row: Any, memory: float | None) -> Candidate:
    """Return a case that meets the limits, with its figures."""
    figures = select_figures(row, "step_seconds")
    if row.strategy != "none":
        figures |= select_figures(row, "time_ratio", "time_ratio_low", "time_ratio_high")
    figures |= select_figures(row, PEAK, "measured_peak_bytes")
    if memory is not None:
        figures["spare_bytes"] = memory - find_needed_bytes(row)
    return Candidate(row.strategy, figures, row.plan if is_plan_of_strategy(row) else None)


def _judge(ranked: list[Any], question: Question, limits: Limits, timed: bool) -> Confidence:
    best, *others = ranked
    time, high = limits.time_ratio, best.time_ratio_high
    doubts: tuple[Doubt, ...] = (Doubt.TIME_BUDGET,) if time is not None and is_present(high) and high > time else ()
    if question is Question.FASTEST:
        rivals = {row.strategy: row.step_seconds_low for row in others}
        return judge_confidence(best.step_seconds_low, best.step_seconds_high, best.contended, rivals, doubts)
    if not timed:  # the answer is exact; what it costs is not known
        return Confidence(Level.HIGH, (Doubt.NOT_TIMED,))
    doubts = ((Doubt.CONTENDED,) if best.contended else ()) + doubts
    return Confidence(Level.LOW if doubts else Level.HIGH, doubts)
