"""What advice is, whatever it rests on. No JAX."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from artifex_bench.core import units

PEAK = "compiled_peak_bytes"  # what a budget is held against: it exists for every device, and does not vary


@dataclass(frozen=True)
class Advice:
    """For one group of cases: the question, the choice (None: nothing meets it) and its cost, the next best, how sure
    the choice is, and why each other one fell; all in words, names apart.
    """

    cases: str
    question: str
    choice: str | None
    cost: str
    next_best: str | None
    next_cost: str
    how_sure: str
    fell: dict[str, str]


def choose(cases: str, question: str, ranked: Sequence[tuple[str, str]], how_sure: str, fell: dict[str, str]) -> Advice:
    """The first of `ranked`, which are names with their costs, and the second as the next best where there is one."""
    (choice, cost), (next_best, next_cost) = (*ranked, (None, ""))[:2]
    return Advice(cases, question, choice, cost, next_best, next_cost, how_sure, fell)


def nothing(cases: str, question: str, known: pd.DataFrame, fell: dict[str, str], nearest: str = "") -> Advice:
    """Nothing meets it. What comes `nearest` says what would: the least peak, unless other words are given."""
    if not nearest:
        peaks = known[[PEAK, "measured_peak_bytes"]].max(axis=1)
        least = known.loc[peaks.idxmin()] if len(known) else None
        nearest = f"the least is {least.strategy} with {units.size(peaks.min())}" if least is not None else "all fell"
    return Advice(cases, question, None, nearest, None, "", "", fell)
