"""Ratios that are often quoted as typical of checkpointing.

1.3x step time and 0.5x memory for `all`, 1.15x and 0.7x for selective checkpointing (every n-th layer).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pandas as pd

from artifex_bench.core.units import format_interval
from artifex_bench.kinds.remat_groups import group_by_shape
from validation.reproduction import Reproduction

SELECTIVE = r"every-\d+"
QUOTED = {"all": (1.3, 0.5), SELECTIVE: (1.15, 0.7)}  # pattern of strategies -> time and memory, relative to none


def _timed_pairs(table: pd.DataFrame, pattern: str) -> Iterator[tuple[str, pd.Series, pd.Series]]:
    """Yield (shape, row of none, row of the strategy) for every shape where both were timed."""
    for title, rows in group_by_shape(table[table.step_seconds.notna()]):
        none = rows[rows.strategy == "none"]
        for _, row in rows[rows.strategy.str.fullmatch(pattern)].iterrows():
            if len(none) == 1:
                yield f"{title}; {row.strategy}", none.iloc[0], row


def compare_time_ratios(pattern: str) -> Callable[[pd.DataFrame], Iterator[Reproduction]]:
    """Make the comparison of step times relative to strategy `none`.

    Args:
        pattern: A key of `QUOTED`.

    Returns:
        A function of a run's table that yields step times as multiples of that of `none`.
    """

    def compare(table: pd.DataFrame) -> Iterator[Reproduction]:
        for shape, none, row in _timed_pairs(table, pattern):
            recomputed = row.recomputed_flops / none.gradient_flops
            reason = (
                f"95 % interval {format_interval(row.time_ratio_low, row.time_ratio_high)}; "
                f"{recomputed:.0%} of the FLOPs are recomputed, "
                f"{row.residual_ratio:.2f}x of the residuals pass through memory"
            )
            if row.contended or none.contended:
                reason += "; contended: other processes used the CPU in a round"
            yield Reproduction(shape, QUOTED[pattern][0], row.time_ratio, reason)

    return compare


def compare_memory_ratios(pattern: str) -> Callable[[pd.DataFrame], Iterator[Reproduction]]:
    """Make the comparison of compiled peaks relative to strategy `none`.

    Args:
        pattern: A key of `QUOTED`.

    Returns:
        A function of a run's table that yields compiled peaks as multiples of that of `none`.
    """

    def compare(table: pd.DataFrame) -> Iterator[Reproduction]:
        for shape, none, row in _timed_pairs(table, pattern):
            state = (none.parameter_bytes + none.optimizer_bytes) / none.compiled_peak_bytes
            share = none.residual_bytes / none.compiled_peak_bytes
            reason = (
                f"residuals are {share:.0%} of the peak of none, of which {row.residual_ratio:.2f}x remain; parameters "
                f"and optimizer state are {state:.0%}, and no strategy reduces them (these parts are not all alive at "
                f"the same time)"
            )
            yield Reproduction(shape, QUOTED[pattern][1], row.compiled_peak_ratio, reason)

    return compare
