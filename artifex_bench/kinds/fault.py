"""Damaged checkpoints: what a restore returns after one file was damaged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from artifex_bench.checkpoint_io import formats
from artifex_bench.core import units
from artifex_bench.core.case import FaultCase
from artifex_bench.core.columns import Column, Compared, axis_column, axis_columns, common_columns
from artifex_bench.core.kind import Kind, Table, group_by_axes
from artifex_bench.core.record import Record
from artifex_bench.core.results import CaseResult
from artifex_bench.suites import fault

if TYPE_CHECKING:
    import pandas as pd

TABLE = "fault"
SHOWN: dict[str, Any] = {"tables": (TABLE,)}
SHAPE = ("size", "arrays", "dtype")
OUTCOMES = ("detected_trials", "intact_trials", "silent_trials")


def _total(name: str) -> Callable[[CaseResult], float | None]:
    """Return a function that adds the trials of all rounds with one outcome."""

    def add(result: CaseResult) -> float | None:
        counts = [count for record in result.rounds if (count := record.value(name)) is not None]
        return sum(counts) if counts else None

    return add


def _silent_share(result: CaseResult) -> float | None:
    counts = [_total(name)(result) for name in OUTCOMES]
    known: list[float] = [
        count for count in counts if count is not None
    ]  # a process may end before it has sent all of them
    total = sum(known)
    return known[-1] / total if len(known) == len(counts) and total else None


def group_by_state(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield (title, rows) of each training state."""
    for state, rows in group_by_axes(table, (*SHAPE, "seed")):
        title = f"{units.format_bytes(state['size'])} in {state['arrays']} arrays, {state['dtype']}"
        yield title + (f", seed {state['seed']}" if state["seed"] else ""), rows


def _describe_trials(record: Record) -> str:
    return ", ".join(f"{record.value(name):.0f} {name.removesuffix('_trials')}" for name in OUTCOMES)


AXES = (
    axis_column("format", doc="Our layout, plain Orbax, or a peer.", heading="format", priority=0, **SHOWN),
    axis_column("fault", doc="`flip_bit`, `zero_block`, `truncate` or `delete`.", heading="fault", priority=0, **SHOWN),
    axis_column("trials", doc="Trials per round.", unit="count", heading="trials", **SHOWN),
)
KIND = Kind(
    case_type=FaultCase,
    suites={"fault": fault.SUITE},
    measure="artifex_bench.checkpoint_io.corruption:measure",
    columns=(
        *common_columns(axis_columns(FaultCase, AXES)),
        *(
            Column(name, doc, _total(name), "count", heading=heading, compared=compared, **SHOWN)
            for name, doc, heading, compared in (
                ("detected_trials", "Trials in which the restore raised an error.", "detected", None),
                ("intact_trials", "Trials in which every bit came back.", "intact", None),
                (
                    "silent_trials",
                    "Trials in which another state came back without an error.",
                    "silently wrong",
                    Compared(0.0, among=OUTCOMES),
                ),
            )
        ),
        Column("silent_share", "`silent_trials` as a share of all.", _silent_share, "share", heading="share", **SHOWN),
        Column("shown_status", heading="status", text=lambda row: str(row.status), **SHOWN),
    ),
    tables=(
        Table(
            name=TABLE,
            title="Damaged checkpoints: detected, intact, or silently wrong",
            legend="""
each trial damages one file of a fresh copy in one random place and restores · detected: the restore raised an error ·
intact: every bit came back despite the damage · silently wrong: another state came back without an error.
""",
            group_rows=group_by_state,
            plots="artifex_bench.report.plots.runs:plot_fault_run",
            describe_outcome=_describe_trials,
            shape=SHAPE,
        ),
    ),
    check_case=formats.check_case,
    example="--format auto,orbax --trials 60",
)
