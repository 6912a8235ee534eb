"""Rows of gradient checkpointing cases: groups of one shape, their titles, Pareto fronts and notes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from artifex_bench.core import units
from artifex_bench.core.case import LOCAL, RematCase, mesh_axes
from artifex_bench.core.fields import axis_names
from artifex_bench.core.kind import group_by_axes, notes_on_failures
from artifex_bench.core.record import OWN
from artifex_bench.core.stats import pareto_front
from artifex_bench.core.units import is_present
from artifex_bench.targets import LARGEST_POOL_SHARE, POOL_VARIABLE, is_between_pools

if TYPE_CHECKING:
    import pandas as pd

SHAPE = tuple(axis for axis in axis_names(RematCase) if axis not in ("strategy", "seed"))
LARGER_POOL = f"with MEM_FRACTION={LARGEST_POOL_SHARE}"
# A process takes 1 to 7 MiB beside its program's arrays (docs/figures.md); more than that is scratch memory of kernels.
LARGE_SHARE, LARGE_BYTES = 0.05, 16 * 2**20
KERNEL_DIFFERENCE = 0.01  # share of the peak: a smaller difference between kernels gets no note


def group_by_shape(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield (title, rows) of each shape: all axes but the strategy."""
    for shape, rows in group_by_axes(table, (*SHAPE, "seed")):
        others = [dtypes for dtypes in rows.parameter_dtypes.dropna().unique() if dtypes != shape["dtype"]]
        words = [describe_shape(shape), *(f"parameters {dtypes}" for dtypes in others)]
        if not others and any("float64" in dtypes for dtypes in rows.product_dtypes.dropna()):
            words.append("products float64")
        yield ", ".join(words + [f"computed in {dtype}" for dtype in rows.computed_in.dropna().unique()]), rows


def describe_shape(shape: dict[str, Any]) -> str:
    """Return a shape in words: ``transformer: depth 4, width 128, batch 8, sequence 128, float32, scan``."""
    usual = {"step": "train", "optimizer": "adam", "compiler": "faithful", "seed": 0}
    usual |= {"target": LOCAL, "remat3": "off"}
    words = [
        f"{axis} {int(shape[axis])}" for axis in ("depth", "width", "batch", "sequence") if is_present(shape[axis])
    ]
    words += [str(shape["dtype"]), str(shape["layers"])]
    words += [f"heads {int(shape['heads'])}"] if is_present(shape["heads"]) and shape["heads"] != 4 else []
    words += [f"{axis} {shape[axis]}" for axis, value in usual.items() if shape[axis] != value]
    words += [f"mesh {shape['mesh']}"] if is_present(shape["mesh"]) else []
    return f"{shape['model']}: {', '.join(words)}"


def mark_fronts(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with `on_front`: whether a row is on the Pareto front of its shape."""
    marked = table.assign(on_front=False)
    for _, rows in group_by_shape(table):
        local = rows.target.iloc[0] == LOCAL
        marked.loc[list(measured_front(rows) if local else estimated_front(rows)), "on_front"] = True
    return marked


def measured_front(rows: pd.DataFrame) -> set[Any]:
    """Return the index labels of the rows on the Pareto front of step time and compiled peak."""
    usable = rows[(rows.status == "ok") & rows.step_seconds.notna() & rows.compiled_peak_bytes.notna()]
    points = list(zip(usable.step_seconds, usable.compiled_peak_bytes, strict=True))
    return {usable.index[i] for i in pareto_front(points)}


def estimated_front(rows: pd.DataFrame) -> set[Any]:
    """Return the index labels of the rows on the front of estimated step and compiled peak, among those that fit."""
    estimated = (rows.status == "ok") & rows.estimated_step_seconds.notna()
    usable = rows[estimated & (rows.needed_peak_bytes <= rows.capacity_bytes)]
    points = list(zip(usable.estimated_step_seconds, usable.compiled_peak_bytes, strict=True))
    return {usable.index[i] for i in pareto_front(points)}


def notes_on_measured(rows: pd.DataFrame) -> list[str]:
    """Return notes on the cases of a shape that ran: whose bytes, exceeded budgets, faults."""
    notes = notes_on_mesh(rows)
    notes += [f"{row.strategy}: the program of {row.plan}" for row in rows.itertuples() if is_plan_of_strategy(row)]
    notes += [f"{row.strategy}: {note}" for row in rows.itertuples() for note in notes_on_peaks(row)]
    return notes + notes_on_failures(rows)


def notes_on_compiled(rows: pd.DataFrame) -> list[str]:
    """Return notes on the cases of a shape that were compiled for an AOT target: its capacity, kernels, faults."""
    known = rows.capacity_bytes.dropna()
    target = rows.target.iloc[0]
    notes = [f"{target}: a program gets {units.format_bytes(known.iloc[0])}{note_on_pool(rows)}"] if len(known) else []
    if any(map(fits_larger_pool, rows.itertuples())):
        notes.append(f"before you start such a program: export {POOL_VARIABLE}={LARGEST_POOL_SHARE}")
    return notes + notes_on_mesh(rows) + list(notes_on_kernels(rows)) + notes_on_failures(rows)


def notes_on_peaks(row: Any) -> Iterator[str]:
    """Yield what a measured peak shows beside the compiled one: an exceeded budget, memory that is in no plan."""
    measured, compiled, budget = row.measured_peak_bytes, row.compiled_peak_bytes, row.budget_bytes
    if not (is_present(measured) and is_present(compiled)):
        return
    if is_present(budget) and measured > budget:
        yield f"over its budget as measured: {units.format_bytes(measured)} of {units.format_bytes(budget)}"
    if measured - compiled > max(LARGE_SHARE * compiled, LARGE_BYTES):
        more = measured / compiled - 1
        yield f"the measured peak is {more:.0%} above the compiled one, which leaves out the kernels' scratch memory"


def is_plan_of_strategy(row: Any) -> bool:
    """Return whether a budget was met by the program of a strategy that has a name of its own."""
    return is_present(row.plan) and row.plan not in OWN


def notes_on_mesh(rows: pd.DataFrame) -> list[str]:
    """Return a note on whose bytes are shown, for a shape over a mesh."""
    mesh = rows.mesh.iloc[0]
    if not is_present(mesh):
        return []
    devices = math.prod(mesh_axes(mesh).values())
    return [f"peaks are those of each of the {devices} devices; residuals are what all of them together save"]


def excess_bytes(row: Any) -> float:
    """Return the bytes that a program needs beyond what it gets; negative if it fits, NaN if that is not known."""
    return float(row.needed_peak_bytes - row.capacity_bytes)


def fits_larger_pool(row: Any) -> bool:
    """Return whether a program fits only if JAX's pool takes the largest advised share of the memory."""
    return is_between_pools(row.needed_peak_bytes, row.capacity_bytes, row.device_memory_bytes)


def show_fit(row: Any) -> str:
    """Return whether a program fits, and by how much."""
    excess = excess_bytes(row)
    if not is_present(excess):
        return units.ABSENT
    if fits_larger_pool(row):
        return LARGER_POOL
    return f"no, {units.format_bytes(excess)} over" if excess > 0 else f"yes, {units.format_bytes(-excess)} free"


def note_on_pool(rows: pd.DataFrame) -> str:
    """Return which share of the memory the capacity is, for targets where JAX takes a pool; empty if not known."""
    memory, capacity = rows.device_memory_bytes.max(), rows.capacity_bytes.max()
    if not is_present(memory) or not capacity < memory:
        return ""
    return f", JAX's pool of {capacity / memory:.0%} of {units.format_bytes(memory)} ({POOL_VARIABLE})"


def notes_on_kernels(rows: pd.DataFrame) -> Iterator[str]:
    """Yield a note on each program whose peak depends on the kernels that autotuning chooses on the device."""
    for row in rows.itertuples():
        other, peak = row.cublas_peak_bytes, row.compiled_peak_bytes
        if is_present(other) and is_present(peak) and abs(other - peak) > KERNEL_DIFFERENCE * peak:
            yield (
                f"{row.strategy}: {units.format_bytes(peak)} with Triton's matrix products, "
                f"{units.format_bytes(other)} with cuBLAS: autotuning on the device chooses, so the peak may be "
                "either or between"
            )
