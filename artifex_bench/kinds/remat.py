"""Gradient checkpointing: one training step under one rematerialization strategy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from artifex_bench.core import units
from artifex_bench.core.case import LOCAL as LOCAL_TARGET
from artifex_bench.core.case import RematCase
from artifex_bench.core.kind import Kind, Table
from artifex_bench.core.record import PUBLISHED_STEPS, REAL_STEPS, Record
from artifex_bench.core.results import values_by_round
from artifex_bench.core.stats import summarize
from artifex_bench.kinds.max_batch import MAX_BATCH_TABLE
from artifex_bench.kinds.remat_cases import check_remat_cases, expand_remat_grids
from artifex_bench.kinds.remat_columns import AOT_TABLE, COLUMNS, LOCAL_TABLE
from artifex_bench.kinds.remat_groups import (
    LARGER_POOL,
    SHAPE,
    group_by_shape,
    mark_fronts,
    notes_on_compiled,
    notes_on_measured,
)
from artifex_bench.remat.verdict import judge_record
from artifex_bench.suites import chen, papers, remat, remat_aot
from artifex_bench.targets import is_between_pools

if TYPE_CHECKING:
    import pandas as pd


def _local_budgets(table: pd.DataFrame) -> dict[str, float]:
    """The least memory within 1.1 times the time of none; if no step was timed, the least memory."""
    return {"time_budget": 1.1} if table.step_seconds.notna().any() else {}


def _describe_measured(record: Record) -> str:
    steps = summarize(values_by_round([record], "step_seconds"))
    time = units.format_seconds(steps.median) if steps else "not timed"
    words = [f"step {time}", f"compiled peak {units.format_bytes(record.value('compiled_peak_bytes'))}"]
    return ", ".join(words + ([record.verdict.name] if record.verdict else []))


def describe_compiled(record: Record) -> str:
    """Return a case compiled for an AOT target in a few words."""
    words = [f"compiled peak {units.format_bytes(record.value('compiled_peak_bytes'))}"]
    needed = record.needed_peak
    capacity, memory = record.value("capacity_bytes"), record.value("device_memory_bytes")
    if needed is not None and capacity is not None:
        if is_between_pools(needed, capacity, memory or math.nan):
            words.append(f"fits {LARGER_POOL}")
        else:
            words.append(
                "fits" if needed <= capacity else f"does not fit: {units.format_bytes(needed - capacity)} over"
            )
    if (estimated := record.value("estimated_step_seconds")) is not None:
        words.append(f"estimated step {units.format_seconds(estimated)} ({REAL_STEPS})")
    return ", ".join(words + ([record.verdict.name] if record.verdict else []))


LOCAL = Table(
    name=LOCAL_TABLE,
    title="Step time against peak memory",
    legend="""
`*`: on the Pareto front of step time and compiled peak · vs none: relative to the same case without
rematerialization, with a bootstrap 95 % interval for time · peak (compiled): the compiler's plan · peak (measured):
read while steps ran · residuals: what autodiff saves · recomputed: FLOPs done again, as a share of the model's ·
grads equal: loss and gradients agree with strategy none within the tolerance of the dtype.
""",
    group_rows=group_by_shape,
    make_notes=notes_on_measured,
    plots="artifex_bench.report.plots.runs:plot_remat_run",
    describe_outcome=_describe_measured,
    default_budgets=_local_budgets,
    shape=SHAPE,
)
AOT = Table(
    name=AOT_TABLE,
    title="Compiled ahead of time: peak memory and estimated step time",
    legend=f"""
`*`: on the Pareto front of estimated step and compiled peak, among the cases that fit · peak (compiled): the plan of
the device's own compiler · arguments (parameters, optimizer state, batch) and temporaries may share memory · on host:
offloaded, not in the peak · estimated step: every matrix product at the published peak or memory bandwidth, an
estimate and no measurement ({PUBLISHED_STEPS}); none with offloading or a mesh · residuals: what autodiff saves ·
recomputed: FLOPs done again, as a share of the model's.
""",
    group_rows=group_by_shape,
    make_notes=notes_on_compiled,
    plots="artifex_bench.report.plots.runs:plot_compiled_run",
    describe_outcome=describe_compiled,
    default_budgets=lambda table: {},
    shape=SHAPE,
)


def _choose_table(case: Any) -> str:
    return LOCAL_TABLE if case.target == LOCAL_TARGET else AOT_TABLE


KIND = Kind(
    case_type=RematCase,
    suites={"remat": remat.SUITE, "remat-aot": remat_aot.SUITE, "chen": chen.SUITE, "papers": papers.SUITE},
    measure="artifex_bench.remat.measure.stages:measure",
    columns=COLUMNS,
    tables=(LOCAL, AOT, MAX_BATCH_TABLE),
    choose_table=_choose_table,
    expand=expand_remat_grids,
    check_case=lambda case: check_remat_cases([case]),
    judge=judge_record,
    add_columns=mark_fronts,
    example="--model transformer --strategy none,all,dots_saveable --depth 4,8",
)
