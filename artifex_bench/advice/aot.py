"""Advice for a device that is not attached: what fits its memory, ranked by an estimate. No JAX."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from artifex_bench.advice.choice import PEAK, Advice, choose, nothing
from artifex_bench.core import units
from artifex_bench.core.case import LOCAL, CaseError
from artifex_bench.core.record import PUBLISHED_STEPS
from artifex_bench.core.units import is_present
from artifex_bench.kinds.remat_columns import show_recomputed
from artifex_bench.kinds.remat_groups import fits_larger_pool, note_on_pool
from artifex_bench.targets import LARGEST_POOL_SHARE, POOL_VARIABLE, load_description, parse_target

NO_TIMES = "a time budget needs measured times, and there nothing was run"


@dataclass(frozen=True)
class Rank:
    """A column that is the better the less it is; in `words` of a row, and what it leaves `unsure`."""

    column: str
    wanted: str
    words: Callable[[Any], str]
    unsure: str
    unknown: str


ESTIMATE = Rank(
    "estimated_step_seconds",
    "the shortest estimated step",
    lambda row: f"an estimated {units.seconds(row.estimated_step_seconds)} a step",
    f"its time is an estimate ({PUBLISHED_STEPS})",
    "its time cannot be estimated",
)
AGAIN = Rank(
    "recomputed_flops",
    "the least computed again",
    lambda row: f"{show_recomputed(row)} FLOPs",
    "its time is not known, nor estimated, over a mesh",
    "what it computes again is not known without the case of none",
)


def of_target(table: pd.DataFrame, target: str) -> pd.DataFrame:
    """The rows of that target. Raises CaseError when there is none of that name, or the run has none of its cases:
    peaks of another device say nothing of it.
    """
    target = parse_target(target)
    if target != LOCAL:
        load_description(target)
    found = table[table.target == target]
    if found.empty:
        has = ", ".join(dict.fromkeys(table.target))
        raise CaseError(f"target {target!r}: the run has none of its cases, only of {has}; run with --target {target}")
    return found


def fitting(title: str, rows: pd.DataFrame, memory: int | None, time: float | None) -> Advice:
    """The strategy with the shortest estimated step among those whose peak fits the target's capacity, and `memory`
    (bytes) where that is less; over a mesh, where there is no estimate, the one that computes the least again. None is
    chosen for a budget of `time`, which an estimate cannot be held against.
    """
    if time is not None:
        return Advice(title, f"a step of {units.ratio(time)} that of none at most", None, NO_TIMES, None, "", "", {})
    rank = AGAIN if is_present(rows.mesh.iloc[0]) else ESTIMATE
    limits = [float(limit) for limit in (rows.capacity_bytes.min(), memory) if limit is not None and is_present(limit)]
    budget = min(limits, default=math.nan)  # where nothing was compiled
    question = f"{rank.wanted} with a compiled peak of {units.size(budget)} at most"
    fell = {row.strategy: why for row in rows.itertuples() if (why := _why_not(row, budget, rank))}
    ranked = list(rows[~rows.strategy.isin(fell)].sort_values([rank.column, PEAK]).itertuples())
    if not ranked:
        return nothing(title, question, rows[rows[PEAK].notna()], fell)
    fell |= {row.strategy: f"fits, at {rank.words(row)}" for row in ranked[2:]}
    costs = [(row.strategy, _cost(row, budget, rank)) for row in ranked[:2]]
    how_sure = f"it fits by the plan of the device's own compiler, within {units.size(budget)}"
    how_sure += note_on_pool(rows) if budget == rows.capacity_bytes.min() else ""
    return choose(title, question, costs, f"{how_sure}; {rank.unsure}: measure it on the device", fell)


def _why_not(row: Any, budget: float, rank: Rank) -> str | None:
    peak, needed = getattr(row, PEAK), row.needed_peak_bytes
    if row.status != "ok":
        return f"{row.status}: {row.reason}"
    if not is_present(peak):
        return "its peak is not known"
    if fits_larger_pool(row) and budget == row.capacity_bytes:
        return f"needs {units.size(needed)}: fits only with {POOL_VARIABLE}={LARGEST_POOL_SHARE}"
    if needed > budget:
        return f"does not fit: {units.size(needed)}, {units.size(needed - budget)} over"
    if is_present(row.verdict) and row.verdict != "effective":
        return f"{row.verdict}: {row.verdict_reason}"
    if is_present(row.host_temp_bytes) and row.host_temp_bytes > 0:
        return f"fits, with {units.size(peak)}, but what its transfers to the host take is not known"
    if not is_present(getattr(row, rank.column)):
        return f"fits, with {units.size(peak)}, but {rank.unknown}"
    return None


def _cost(row: Any, budget: float, rank: Rank) -> str:
    peak, needed = getattr(row, PEAK), row.needed_peak_bytes
    kernels = f" ({units.size(needed)} with cuBLAS)" if needed > peak else ""
    return f"{rank.words(row)}, compiled peak {units.size(peak)}{kernels}, {units.size(budget - needed)} to spare"
