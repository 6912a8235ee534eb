"""Advice: what to choose from the figures of a run, as data (`advise`) and as text (`format_advice`). No JAX.

Figures of a run hold for the device that it was measured on, or compiled for. None is carried over to another device.
"""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from artifex_bench.advice.aot import choose_fitting, select_target
from artifex_bench.advice.checkpoint_interval import choose_interval
from artifex_bench.advice.data import Advice, Reason, Rejection
from artifex_bench.advice.remat import choose_strategy
from artifex_bench.advice.words import format_advice
from artifex_bench.core import units
from artifex_bench.core.case import LOCAL, CaseError
from artifex_bench.kinds.checkpoint import group_by_state
from artifex_bench.kinds.remat_groups import group_by_shape

__all__ = ["Advice", "advise", "format_advice"]

OPTIONS = {"remat": ("memory-budget", "time-budget", "target"), "checkpoint": ("mtbf",)}  # by kind of run


def advise(
    table: pd.DataFrame,
    memory_budget: float | None = None,
    time_budget: float | None = None,
    mtbf_seconds: float | None = None,
    target: str | None = None,
) -> list[Advice]:
    """Advise what to choose in each group of cases of a run.

    A remat run: with `memory_budget`, the fastest strategy that fits. With `time_budget`, the one that needs the least
    memory. With both, the fastest that meets both. Where no step was timed, the one with the least peak. Cases that
    were compiled for an AOT target need no budget: the capacity of the target is one.

    A checkpoint run: the way to save that loses the least time, and its interval (Daly 2006).

    Args:
        table: The DataFrame of a run (`load_run`).
        memory_budget: Limit of the compiled and measured peaks, in bytes.
        time_budget: Limit of the step time, as a multiple of strategy `none`.
        mtbf_seconds: Mean time between failures. Checkpoint runs need it.
        target: AOT target to give advice on; None: all targets of the run.

    Returns:
        The advice for each group.

    Raises:
        CaseError: The budget for that kind of run is missing, is for another kind of run, or cannot be compared with
            anything that was measured; or there is no advice for that kind of run.
    """
    if table.empty:
        raise CaseError("the run has no records yet: continue it with artifex-bench run --resume FOLDER")
    kind = table.kind.iloc[0]
    given = {"memory-budget": memory_budget, "time-budget": time_budget, "mtbf": mtbf_seconds, "target": target}
    for name, value in given.items():
        if kind in OPTIONS and value is not None and name not in OPTIONS[kind]:
            valid = ", ".join(f"--{option}" for option in OPTIONS[kind])
            raise CaseError(f"--{name} does not apply to a {kind} run: valid are {valid}")
    if kind == "remat":
        table = table if target is None else select_target(table, target)
        _check_budgets(table, memory_budget, time_budget)
        return [
            _compare(
                (choose_strategy if rows.target.iloc[0] == LOCAL else choose_fitting)(
                    group, rows, memory_budget, time_budget
                ),
                len(rows),
            )
            for group, rows in group_by_shape(table)
        ]
    if kind == "checkpoint":
        if mtbf_seconds is None:
            raise CaseError("a checkpoint run needs the mean time between failures: pass --mtbf (4h, 30min, 900s)")
        return [
            _compare(choose_interval(group, rows, mtbf_seconds), len(rows)) for group, rows in group_by_state(table)
        ]
    raise CaseError(f"there is no advice for runs of kind {kind!r}: valid are {', '.join(OPTIONS)}")


def _compare(advice: Advice, cases: int) -> Advice:
    """Return the advice, without its choice if that is the only case of its group: it was compared with nothing."""
    if cases > 1 or advice.choice is None:
        return advice
    only = {advice.choice.name: Rejection(Reason.ONLY_CASE, advice.choice.figures)}
    return replace(advice, choice=None, confidence=None, nearest=advice.choice, rejected=only)


def _check_budgets(table: pd.DataFrame, memory: float | None, time_ratio: float | None) -> None:
    """Raise CaseError if a remat run needs a budget, or has no times to compare a time budget with."""
    ran, timed = (table.target == LOCAL).any(), table.step_seconds.notna().any()
    if memory is None and time_ratio is None and ran and timed:
        others = " or --target" if (table.target != LOCAL).any() else ""
        raise CaseError(f"a remat run needs a budget: pass --memory-budget (8GiB), --time-budget (1.1x){others}")
    if time_ratio is not None and not timed:
        where = "" if ran else f" for target {table.target.iloc[0]}"
        raise CaseError(
            f"time budget {units.format_ratio(time_ratio)}: no step was timed{where}: pass --memory-budget instead"
        )
