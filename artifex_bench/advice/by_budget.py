"""What is chosen at any memory budget: the candidates of each group, best first. The page's slider uses it. No JAX."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

import artifex_bench.advice.aot as aot
import artifex_bench.advice.remat as remat
from artifex_bench.advice.data import Candidate, Level, Limits, Question, Rejection
from artifex_bench.core.case import LOCAL
from artifex_bench.core.units import is_present
from artifex_bench.kinds.remat_groups import group_by_shape


@dataclass(frozen=True)
class RankedCandidate:
    """A case that is chosen if it fits and none before it does.

    Attributes:
        case: Index of its row.
        candidate: Its name and figures.
        needed_bytes: The least budget that it fits.
        low: Lower end of the 95 % interval of its step; None if there is none.
        high: Upper end of it.
        contended: Whether other processes used the CPU while it was timed.
    """

    case: int
    candidate: Candidate
    needed_bytes: float
    low: float | None
    high: float | None
    contended: bool


@dataclass(frozen=True)
class Ranking:
    """The candidates of one group of cases.

    Attributes:
        group: Title of the group.
        question: What the choice is best at.
        candidates: Best first. With a budget, the choice is the first that fits, the runner-up the second.
        level: How certain every choice is; None if the intervals of those that fit decide (`judge_confidence`).
        rejected: Name -> why, for the cases that no budget makes worth choosing.
        cases: Number of cases of the group. The only case of a group is never chosen.
    """

    group: str
    question: Question
    candidates: tuple[RankedCandidate, ...]
    level: Level | None
    rejected: dict[str, Rejection]
    cases: int


def rank_for_memory(table: pd.DataFrame) -> list[Ranking]:
    """Return the ranking of each group of a remat run, as `advise` ranks it under a memory budget."""
    groups = group_by_shape(table)
    return [(_rank_local if rows.target.iloc[0] == LOCAL else _rank_aot)(group, rows) for group, rows in groups]


def _rank_local(group: str, rows: pd.DataFrame) -> Ranking:
    timed = bool(rows.step_seconds.notna().any())
    question = Question.FASTEST if timed else Question.LEAST_MEMORY
    rejected = {row.strategy: why for row in rows.itertuples() if (why := remat.reject_unmeasured(row, timed))}
    ranked = rows[~rows.strategy.isin(rejected)].sort_values(remat.ORDER[question])
    candidates = (
        _make_candidate(row, remat.describe_candidate(row, None), remat.find_needed_bytes(row))
        for row in ranked.itertuples()
    )
    return Ranking(group, question, tuple(candidates), None if timed else Level.HIGH, rejected, len(rows))


def _rank_aot(group: str, rows: pd.DataFrame) -> Ranking:
    question = aot.choose_question(rows)
    limits = aot.find_limits(rows, None, None)
    rejected = {row.strategy: why for row in rows.itertuples() if (why := aot.reject_case(row, limits, question))}
    ranked = rows[~rows.strategy.isin(rejected)].sort_values([aot.RANKED_BY[question], remat.PEAK])
    candidates = (
        _make_candidate(row, aot.describe_candidate(row, Limits(), question), row.needed_peak_bytes)
        for row in ranked.itertuples()
    )
    return Ranking(group, question, tuple(candidates), Level.LOW, rejected, len(rows))


def _make_candidate(row: Any, candidate: Candidate, needed: float) -> RankedCandidate:
    low, high = (float(end) if is_present(end) else None for end in (row.step_seconds_low, row.step_seconds_high))
    return RankedCandidate(int(row.Index), candidate, float(needed), low, high, bool(row.contended))
