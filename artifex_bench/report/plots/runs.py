"""The plots of each kind of run. Each function yields (name, figure) of every plot that the table has data for.

The table has the failed cases as well; most plots leave them out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from artifex_bench.core.record import REAL_STEPS
from artifex_bench.kinds.checkpoint import group_by_state
from artifex_bench.kinds.remat_groups import estimated_front, group_by_shape
from artifex_bench.report.plots.budget import is_planned, plot_budget_curves
from artifex_bench.report.plots.compiled import plot_estimated_tradeoffs, plot_fronts, plot_mesh_peaks
from artifex_bench.report.plots.faults import plot_faults
from artifex_bench.report.plots.latency import plot_efficiency, plot_latency
from artifex_bench.report.plots.max_batch import plot_throughput
from artifex_bench.report.plots.scaling import plot_checkpoint_scaling, plot_remat_scaling
from artifex_bench.report.plots.segments import plot_segments
from artifex_bench.report.plots.style import Quantity, Styles
from artifex_bench.report.plots.time_split import plot_time_split
from artifex_bench.report.plots.tradeoff import plot_relative_tradeoffs

STEP_TIME = Quantity("step_seconds", "step time", "seconds")
ESTIMATED_STEP = Quantity("estimated_step_seconds", f"estimated step time, published {REAL_STEPS}", "seconds")
COMPILED_PEAK = Quantity("compiled_peak_bytes", "compiled peak", "bytes")
COMMITTED = Quantity("committed_seconds", "time until committed", "seconds")
RESTORED = Quantity("restore_seconds", "time to restore", "seconds")
REMAT_AXES, CHECKPOINT_AXES = ("depth", "width", "batch", "sequence"), ("size", "arrays", "devices")
Plots = Iterator[tuple[str, Any]]


def plot_remat_run(table: pd.DataFrame, styles: Styles) -> Plots:
    """Plot remat cases that ran: trade-off, scaling, the parts of a step, Chen's curve, budgets."""
    table = _keep_ok(table)
    compared = table[table.time_ratio.notna() & table.compiled_peak_ratio.notna()]
    if not compared.empty:
        yield "tradeoff", plot_relative_tradeoffs(list(group_by_shape(compared)), styles)
    for axis in REMAT_AXES:
        figure = plot_remat_scaling(table, axis, (STEP_TIME, COMPILED_PEAK), styles)
        if figure is not None:
            yield f"scaling_{axis}", figure
    if (table.forward_seconds.notna() & table.step_seconds.notna()).any():
        yield "time_split", plot_time_split(table)
    curve = plot_segments(table, styles)
    if curve is not None:
        yield "segments", curve
    yield from _plot_budget(table, STEP_TIME, styles)


def plot_compiled_run(table: pd.DataFrame, styles: Styles) -> Plots:
    """Plot remat cases that were compiled for AOT targets: what fits, and what it costs by estimate."""
    ok = _keep_ok(table)
    known = ok[ok.compiled_peak_bytes.notna() & ok.estimated_step_seconds.notna()]
    if not known.empty:
        yield "aot_tradeoff", plot_estimated_tradeoffs(table[table.mesh.isna()], COMPILED_PEAK, ESTIMATED_STEP, styles)
    meshes = ok[ok.compiled_peak_bytes.notna() & ok.mesh.notna()]
    if not meshes.empty:
        yield "aot_mesh", plot_mesh_peaks(meshes, COMPILED_PEAK, styles)
    yield from _plot_budget(known, ESTIMATED_STEP, styles)
    if known.target.nunique() > 1:
        yield "aot_fronts", plot_fronts(known, COMPILED_PEAK, ESTIMATED_STEP, styles, estimated_front)


def plot_checkpoint_run(table: pd.DataFrame, styles: Styles) -> Plots:
    """Plot checkpoint cases: latency, efficiency against the raw limit, scaling."""
    table = _keep_ok(table)
    compared = [(title, rows) for title, rows in group_by_state(table) if len(rows) > 1]
    if compared:
        yield "latency", plot_latency(compared)
        yield "efficiency", plot_efficiency(compared)
    for axis in CHECKPOINT_AXES:
        figure = plot_checkpoint_scaling(table, axis, (COMMITTED, RESTORED), styles)
        if figure is not None:
            yield f"scaling_{axis}", figure


def plot_fault_run(table: pd.DataFrame, styles: Styles) -> Plots:
    """Plot fault cases: the share of restores that were silently wrong."""
    ended = table[(table.status == "ok") & table.silent_share.notna()]
    if not ended.empty:
        yield "faults", plot_faults(ended)


def plot_max_batch_run(table: pd.DataFrame, styles: Styles) -> Plots:
    """Plot searches for the largest batch: estimated throughput of the batches that fit."""
    table = _keep_ok(table)
    fitting = table[(table.needed_peak_bytes <= table.capacity_bytes) & table.estimated_step_seconds.notna()]
    if not fitting.empty:
        yield "max_batch", plot_throughput(fitting, styles)


def _keep_ok(table: pd.DataFrame) -> pd.DataFrame:
    return table[table.status == "ok"]


def _plot_budget(table: pd.DataFrame, step: Quantity, styles: Styles) -> Plots:
    known = table[table.compiled_peak_bytes.notna() & table[step.column].notna()]
    groups = [(title, rows) for title, rows in group_by_shape(known) if is_planned(rows).sum() > 1]
    if groups:
        yield "budget", plot_budget_curves(groups, COMPILED_PEAK, step, styles)
