"""The results that are often quoted as typical: 1.3x time and 0.5x memory for all, 1.15x and 0.7x for selective."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pandas as pd

from artifex_bench.core.units import interval
from artifex_bench.kinds.remat_groups import group_by_shape
from artifex_bench.report.papers.found import Found

SELECTIVE = r"every-\d+"
QUOTED = {"all": (1.3, 0.5), SELECTIVE: (1.15, 0.7)}  # strategies -> time and memory, relative to none


def _timed(table: pd.DataFrame, wanted: str) -> Iterator[tuple[str, pd.Series, pd.Series]]:
    """(where, none, the strategy) of every shape of which both were timed; `wanted` is a pattern."""
    for title, rows in group_by_shape(table[table.step_seconds.notna()]):
        none = rows[rows.strategy == "none"]
        for _, row in rows[rows.strategy.str.fullmatch(wanted)].iterrows():
            if len(none) == 1:
                yield f"{title}; {row.strategy}", none.iloc[0], row


def times(wanted: str) -> Callable[[pd.DataFrame], Iterator[Found]]:
    """Step time of the strategy, relative to none."""

    def find(table: pd.DataFrame) -> Iterator[Found]:
        for where, none, row in _timed(table, wanted):
            again = row.recomputed_flops / none.gradient_flops
            why = (
                f"95 % interval {interval(row.time_ratio_low, row.time_ratio_high)}; {again:.0%} of the FLOPs are "
                f"done again, and {row.residual_ratio:.2f}x of the residuals go through memory"
            )
            if row.contended or none.contended:
                why += "; contended: others used the processors in a round"
            yield Found(where, QUOTED[wanted][0], row.time_ratio, why)

    return find


def memory(wanted: str) -> Callable[[pd.DataFrame], Iterator[Found]]:
    """Compiled peak of the strategy, relative to none."""

    def find(table: pd.DataFrame) -> Iterator[Found]:
        for where, none, row in _timed(table, wanted):
            state = (none.parameter_bytes + none.optimizer_bytes) / none.compiled_peak_bytes
            share = none.residual_bytes / none.compiled_peak_bytes
            why = (
                f"residuals come to {share:.0%} of the peak of none, {row.residual_ratio:.2f}x of them are left; "
                f"parameters and optimizer state come to {state:.0%}, "
                f"which no strategy touches (not all are alive at once)"
            )
            yield Found(where, QUOTED[wanted][1], row.compiled_peak_ratio, why)

    return find
