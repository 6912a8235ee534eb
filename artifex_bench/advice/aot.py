"""Advice on rematerialization for an AOT target: what fits its memory, ranked by an estimate. No JAX."""

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
    reject_unusable,
    select_figures,
)
from artifex_bench.advice.remat import PEAK, find_least_peak
from artifex_bench.core.case import LOCAL, CaseError
from artifex_bench.core.units import is_present
from artifex_bench.kinds.remat_groups import fits_larger_pool
from artifex_bench.targets import load_description, parse_target

RANKED_BY = {Question.SHORTEST_ESTIMATE: "estimated_step_seconds", Question.LEAST_RECOMPUTATION: "recomputed_flops"}


def select_target(table: pd.DataFrame, target: str) -> pd.DataFrame:
    """Return the rows of a target.

    Raises:
        CaseError: The target is unknown, or the run has no cases of it. Peaks of another device say nothing about it.
    """
    target = parse_target(target)
    if target != LOCAL:
        load_description(target)
    rows = table[table.target == target]
    if rows.empty:
        others = ", ".join(dict.fromkeys(table.target))
        raise CaseError(
            f"target {target!r}: the run has cases of {others} only: compile for it with "
            f"artifex-bench run remat --target {target}"
        )
    return rows


def choose_fitting(group: str, rows: pd.DataFrame, memory: float | None, time_ratio: float | None) -> Advice:
    """Choose a strategy whose compiled peak fits an AOT target.

    The choice has the shortest estimated step. Over a mesh, where steps are not estimated, it recomputes least.

    Args:
        group: Title of the rows.
        rows: The rows of one shape on one AOT target.
        memory: Budget of the peak in bytes, if it is less than the target's capacity; None: the capacity.
        time_ratio: Budget of the step time. No case meets it, because nothing was timed.

    Returns:
        The advice.
    """
    question = choose_question(rows)
    limits = find_limits(rows, memory, time_ratio)
    rejected = {row.strategy: why for row in rows.itertuples() if (why := reject_case(row, limits, question))}
    ranked = rows[~rows.strategy.isin(rejected)].sort_values([RANKED_BY[question], PEAK])
    if ranked.empty:
        nearest = find_least_peak(rows[rows[PEAK].notna()]) if time_ratio is None else None
        return Advice(question, limits, group, None, None, None, nearest, rejected)
    candidates = [describe_candidate(row, limits, question) for row in ranked.itertuples()]
    behind = Reason.SLOWER_ESTIMATE if question is Question.SHORTEST_ESTIMATE else Reason.RECOMPUTES_MORE
    rejected |= {one.name: Rejection(behind, one.figures) for one in candidates[2:]}
    choice, runner_up = (*candidates, None)[:2]
    doubt = Doubt.ESTIMATED_TIME if question is Question.SHORTEST_ESTIMATE else Doubt.UNKNOWN_TIME
    return Advice(question, limits, group, choice, runner_up, Confidence(Level.LOW, (doubt,)), None, rejected)


def choose_question(rows: pd.DataFrame) -> Question:
    """Return what the choice is best at: over a mesh, where steps are not estimated, it recomputes least."""
    return Question.LEAST_RECOMPUTATION if is_present(rows.mesh.iloc[0]) else Question.SHORTEST_ESTIMATE


def find_limits(rows: pd.DataFrame, memory: float | None, time_ratio: float | None) -> Limits:
    """Return the smaller of the budget and the capacity; neither is known if nothing was compiled."""
    capacity, device = rows.capacity_bytes.min(), rows.device_memory_bytes.max()
    if not is_present(capacity) or (memory is not None and memory < capacity):
        return Limits(memory_bytes=memory, time_ratio=time_ratio)
    pooled = is_present(device) and capacity < device
    return Limits(float(capacity), float(device) if pooled else None, time_ratio)


def reject_case(row: Any, limits: Limits, question: Question) -> Rejection | None:
    """Return why a case is not chosen, whatever the others are, or None."""
    if (why := reject_unusable(row)) is not None:
        return why
    if limits.time_ratio is not None:
        return Rejection(Reason.NOT_TIMED)
    memory, needed = limits.memory_bytes, row.needed_peak_bytes
    if not is_present(getattr(row, PEAK)):
        return Rejection(Reason.NO_PEAK)
    if memory is not None and needed > memory:
        pool = fits_larger_pool(row) and memory == row.capacity_bytes
        reason = Reason.NEEDS_LARGER_POOL if pool else Reason.OVER_MEMORY_BUDGET
        return Rejection(reason, {"needed_bytes": float(needed), "over_bytes": float(needed - memory)})
    if is_present(row.host_temp_bytes) and row.host_temp_bytes > 0:
        return Rejection(Reason.HOST_TRANSFERS, select_figures(row, PEAK))
    if not is_present(getattr(row, RANKED_BY[question])):
        estimated = question is Question.SHORTEST_ESTIMATE
        return Rejection(Reason.NO_ESTIMATE if estimated else Reason.NO_BASELINE, select_figures(row, PEAK))
    return None


def describe_candidate(row: Any, limits: Limits, question: Question) -> Candidate:
    """Return a case that fits, with its figures."""
    figures = select_figures(row, RANKED_BY[question], PEAK, "needed_peak_bytes")
    if question is Question.LEAST_RECOMPUTATION and row.model_flops:
        figures["recomputed_share"] = float(row.recomputed_flops / row.model_flops)
    if limits.memory_bytes is not None:
        figures["spare_bytes"] = float(limits.memory_bytes - row.needed_peak_bytes)
    return Candidate(row.strategy, figures)
