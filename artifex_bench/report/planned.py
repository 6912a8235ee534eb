"""How remat cases are told that were compiled for a device that is not there: what fits, and an estimated step time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pandas as pd

from artifex_bench.core import units
from artifex_bench.core.record import PUBLISHED_STEPS, REAL_STEPS, Record
from artifex_bench.core.stats import pareto_front
from artifex_bench.core.units import there
from artifex_bench.report.remat import SHAPE as SHAPE
from artifex_bench.report.remat import of_a_mesh, recomputed, shapes
from artifex_bench.targets import LARGEST_POOL_SHARE, POOL_VARIABLE, is_between_pools

LARGER_POOL = f"with MEM_FRACTION={LARGEST_POOL_SHARE}"
DIFFERS = 0.01  # of the peak: a smaller difference between kernels is not told
TITLE = "Compiled for devices that are not attached: peak memory and estimated step time"
HEADINGS = (
    *("strategy", "compiled peak", "x none", "fits", "arguments", "temporaries", "on host", "residuals"),
    *(f"estimated step ({REAL_STEPS})", "recomputed", "verdict", "compile time", "status"),
)
LEFT = (0, 3, 10, 12)  # the columns that hold words
PLOTS = "plot_planned_run"
LEGEND = f"""
`*` on the Pareto front of estimated step time and compiled peak, among what fits · compiled peak: the plan of the
device's own compiler · arguments (parameters, optimizer, batch) and temporaries: each by itself, they may share memory
· on host: offloaded, not in the peak · estimated step: every matrix product at the published peak or memory bandwidth,
an estimate and no measurement ({PUBLISHED_STEPS}), none with offloading or a mesh · residuals:
what autodiff saves · recomputed: FLOPs done again, as a share of the model's.
"""


def excess(row: Any) -> float:
    """Bytes that a program needs beyond what it gets; negative where it fits, NaN where that is not known."""
    return float(row.needed_peak_bytes - row.capacity_bytes)


def front(rows: pd.DataFrame) -> set[int]:
    """Index labels of the rows on the Pareto front of estimated step and compiled peak, among those that fit."""
    estimated = (rows.status == "ok") & rows.estimated_step_seconds.notna()
    usable = rows[estimated & (rows.needed_peak_bytes <= rows.capacity_bytes)]
    points = list(zip(usable.estimated_step_seconds, usable.compiled_peak_bytes, strict=True))
    return {usable.index[i] for i in pareto_front(points)}


def fits_larger_pool(row: Any) -> bool:
    """Whether a program that gets too little would fit if JAX's pool took the largest advised share of the memory."""
    return is_between_pools(row.needed_peak_bytes, row.capacity_bytes, row.device_memory_bytes)


def fits(row: Any) -> str:
    """Whether a program fits, and by how much."""
    over = excess(row)
    if not there(over):
        return units.ABSENT
    if fits_larger_pool(row):
        return LARGER_POOL
    return f"no, {units.size(over)} too much" if over > 0 else f"yes, {units.size(-over)} free"


def cells(row: Any, on_front: bool) -> list[str]:
    """A case's row in words, in the order of the headings; a star marks the Pareto front."""
    return [
        row.strategy + (" *" if on_front else ""),
        units.size(row.compiled_peak_bytes),
        units.ratio(row.compiled_peak_ratio),
        fits(row),
        units.size(row.argument_bytes),
        units.size(row.temp_bytes),
        units.size(row.host_temp_bytes),
        units.size(row.residual_bytes),
        units.seconds(row.estimated_step_seconds),
        recomputed(row),
        row.verdict if there(row.verdict) else units.ABSENT,
        units.seconds(row.compile_seconds),
        row.status,
    ]


def grouped(table: pd.DataFrame) -> Iterator[tuple[str, list[list[str]], list[str]]]:
    """(title, rows of cells, notes) of each shape and target; notes tell the capacity, and faults."""
    for title, rows in shapes(table):
        best = front(rows)
        known = rows.capacity_bytes.dropna()
        target = rows.target.iloc[0]
        notes = [f"{target}: a program gets {units.size(known.iloc[0])}{pool_note(rows)}"] if len(known) else []
        if any(map(fits_larger_pool, rows.itertuples())):
            notes.append(f"before you start such a program: export {POOL_VARIABLE}={LARGEST_POOL_SHARE}")
        notes += of_a_mesh(rows)
        notes += list(cublas_notes(rows))
        notes += [f"{row.strategy}: {row.status}: {row.reason}" for row in rows.itertuples() if row.status != "ok"]
        yield title, [cells(row, row.Index in best) for row in rows.itertuples()], notes


def pool_note(rows: pd.DataFrame) -> str:
    """Of which memory the capacity is a share, for targets where JAX takes a pool; empty where that is not known."""
    memory, capacity = rows.device_memory_bytes.max(), rows.capacity_bytes.max()
    if not there(memory) or not capacity < memory:
        return ""
    return f", JAX's pool of {capacity / memory:.0%} of {units.size(memory)} ({POOL_VARIABLE})"


def cublas_notes(rows: pd.DataFrame) -> Iterator[str]:
    """A note on each program whose peak depends on the kernels that autotuning chooses on the device."""
    for row in rows.itertuples():
        other, peak = row.cublas_peak_bytes, row.compiled_peak_bytes
        if there(other) and there(peak) and abs(other - peak) > DIFFERS * peak:
            yield (
                f"{row.strategy}: {units.size(peak)} with Triton's matrix products, {units.size(other)} with cuBLAS: "
                "autotuning on the device chooses, so the peak may be either or between"
            )


def usual(table: pd.DataFrame) -> dict[str, float]:
    """The capacity of each device."""
    return {}


def outcome(record: Record) -> str:
    """A job in a few words, for progress lines."""
    words = [f"compiled peak {units.size(record.value('compiled_peak_bytes'))}"]
    needed = record.needed_peak
    capacity, memory = record.value("capacity_bytes"), record.value("device_memory_bytes")
    if needed is not None and capacity is not None:
        if is_between_pools(needed, capacity, memory or math.nan):
            words.append(f"fits {LARGER_POOL}")
        else:
            words.append("fits" if needed <= capacity else f"does not fit: {units.size(needed - capacity)} too much")
    if (estimated := record.value("estimated_step_seconds")) is not None:
        words.append(f"estimated step {units.seconds(estimated)} ({REAL_STEPS})")
    return ", ".join(words + ([record.verdict.name] if record.verdict else []))
