"""Advice on checkpoints: which way to save loses the least training time, and how often to save. No JAX."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from artifex_bench.advice.data import (
    Advice,
    Candidate,
    Limits,
    Question,
    Reason,
    Rejection,
    judge_confidence,
    reject_unusable,
)
from artifex_bench.checkpoint_io.formats import FORMATS
from artifex_bench.checkpointing.frequency import lost_share, young_daly_interval
from artifex_bench.core.units import is_present


@dataclass(frozen=True)
class IntervalPlan:
    """A way to save, with the interval that loses the least time (Daly 2006).

    Attributes:
        name: Format and mode.
        save_seconds: What a save takes from training: as seen in a loop, and not less than the call blocked.
        restore_seconds: What a restore takes.
        interval_seconds: Training time between two saves.
        lost_share: Share of the time that is lost, from 0 to 1.
        lost_share_low: That share at the lower end of the 95 % interval of a save's cost; None for a single sample.
        lost_share_high: That share at the upper end.
        contended: Whether other processes used the CPU while the case was measured.
    """

    name: str
    save_seconds: float
    restore_seconds: float
    interval_seconds: float
    lost_share: float
    lost_share_low: float | None
    lost_share_high: float | None
    contended: bool


def choose_interval(group: str, rows: pd.DataFrame, mtbf_seconds: float) -> Advice:
    """Choose the way to save that loses the least time, and its interval.

    Args:
        group: Title of the rows.
        rows: The rows of one training state.
        mtbf_seconds: Mean time between failures.

    Returns:
        The advice.
    """
    rejected = {name_saver(row): why for row in rows.itertuples() if (why := _reject(row)) is not None}
    question, limits = Question.LEAST_TIME_LOST, Limits(mtbf_seconds=mtbf_seconds)
    plans = []
    for plan in rank_intervals(rows, mtbf_seconds):
        if _detects_damage(plan) is False:
            rejected[plan.name] = Rejection(Reason.SILENT_LOSS, _describe_candidate(plan).figures)
        else:
            plans.append(plan)
    if not plans:
        return Advice(question, limits, group, None, None, None, None, rejected)
    best, *others = plans
    choice, runner_up = (*map(_describe_candidate, plans[:2]), None)[:2]
    rejected |= {plan.name: Rejection(Reason.LOSES_MORE, _describe_candidate(plan).figures) for plan in others[1:]}
    rivals = {plan.name: plan.lost_share_low for plan in others}
    confidence = judge_confidence(best.lost_share_low, best.lost_share_high, best.contended, rivals)
    return Advice(question, limits, group, choice, runner_up, confidence, None, rejected)


def rank_intervals(rows: pd.DataFrame, mtbf_seconds: float) -> list[IntervalPlan]:
    """Plan the best interval of each way to save that was timed.

    Args:
        rows: Rows of checkpoint cases.
        mtbf_seconds: Mean time between failures.

    Returns:
        The plans; the first loses the least time.
    """
    plans = (_plan_interval(row, mtbf_seconds) for row in rows.itertuples() if _reject(row) is None)
    return sorted(plans, key=lambda plan: plan.lost_share)


def name_saver(row: Any) -> str:
    """Return the name of a way to save: its format and mode."""
    return f"{row.format}, {row.mode}"


def _reject(row: Any) -> Rejection | None:
    if (why := reject_unusable(row)) is not None:
        return why
    timed = is_present(row.blocking_seconds) and row.blocking_seconds > 0 and is_present(row.restore_seconds)
    return None if timed else Rejection(Reason.NOT_TIMED)


def _plan_interval(row: Any, mtbf: float) -> IntervalPlan:
    in_loop = is_present(row.lost_seconds) and row.lost_seconds > row.blocking_seconds
    decides = "lost_seconds" if in_loop else "blocking_seconds"
    restore = float(row.restore_seconds)

    def plan(cost: float) -> tuple[float, float]:
        interval = young_daly_interval(cost, mtbf, restore)
        return interval, lost_share(interval, cost, mtbf, restore)

    cost = float(getattr(row, decides))
    ends = (getattr(row, f"{decides}_{end}") for end in ("low", "high"))
    low, high = (plan(max(end, row.blocking_seconds))[1] if is_present(end) else None for end in ends)
    return IntervalPlan(name_saver(row), cost, restore, *plan(cost), low, high, bool(row.contended))


def _describe_candidate(plan: IntervalPlan) -> Candidate:
    names = ("interval_seconds", "lost_share", "lost_share_low", "lost_share_high", "save_seconds", "restore_seconds")
    figures = {name: value for name in names if (value := getattr(plan, name)) is not None}
    return Candidate(plan.name, figures, detects_damage=_detects_damage(plan))


def _detects_damage(plan: IntervalPlan) -> bool | None:
    """Return whether a restore detects damaged files; None for a format of the user's own or of another version."""
    entry = FORMATS.get(plan.name.partition(",")[0])
    return None if entry is None else entry.detects_damage
