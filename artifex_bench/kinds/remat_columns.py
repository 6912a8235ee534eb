"""Columns of gradient checkpointing cases. A probe that is not listed here still gets a column (`probe_columns`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from artifex_bench.core import units
from artifex_bench.core.case import RematCase
from artifex_bench.core.columns import (
    FORMATS,
    Column,
    Compared,
    axis_column,
    axis_columns,
    common_columns,
    constant_column,
    interval_column,
    show_status,
    timed_column,
)
from artifex_bench.core.record import REAL_STEPS
from artifex_bench.core.results import CaseResult, Interval, ratio_of_medians, values_by_round
from artifex_bench.core.units import is_present
from artifex_bench.kinds.remat_groups import show_fit
from artifex_bench.models import MODELS
from artifex_bench.remat.measure.probes import PROBES

LOCAL_TABLE, AOT_TABLE = "local", "aot"
LOCAL, AOT, BOTH = (LOCAL_TABLE,), (AOT_TABLE,), (LOCAL_TABLE, AOT_TABLE)


def probe_column(name: str, **shown: Any) -> Column:
    """Return the column of a probe, with the doc, the unit and the reduction of its entry."""
    probe = PROBES[name]
    make = timed_column if probe.reduction == "median" else constant_column
    return make(name, probe.doc, probe.unit if probe.unit in FORMATS else "count", **shown)


def has_tokens(case: RematCase) -> bool:
    """Return whether the model has a sequence; a user's own model may have none."""
    return case.model in MODELS and MODELS[case.model].sequential


def items_per_step(case: RematCase) -> int:
    """Return the tokens per step, or the samples if the model has no sequence."""
    return case.batch * (case.sequence or 1) if has_tokens(case) else case.batch


def _compute_throughput(result: CaseResult) -> float | None:
    step = result.summary("step_seconds")
    return items_per_step(result.case) / step.median if step and step.median else None


def _count_samples(result: CaseResult) -> int:
    step = result.summary("step_seconds")
    return step.samples if step else 0


def _join_detail(probe: str, name: str) -> Callable[[CaseResult], str | None]:
    return lambda result: "+".join(result.detail(probe, name) or ()) or None


def _read_peak_part(name: str) -> Callable[[CaseResult], Any]:
    return lambda result: result.detail("compiled_peak_bytes", name)


def _find_needed_peak(result: CaseResult) -> float | None:
    return next((needed for record in result.rounds if (needed := record.needed_peak) is not None), None)


def _find_peak_source(result: CaseResult) -> str | None:
    taken = result.measurement("measured_peak_bytes")
    return (taken.source or taken.note) if taken else None


def _from_first_round(part: str, field: str) -> Callable[[CaseResult], Any]:
    """Return a function that reads a field of the verdict or the agreement, which the first round has."""

    def read_field(result: CaseResult) -> Any:
        judged = getattr(result.rounds[0], part)
        value = getattr(judged, field) if judged else None
        return value() if callable(value) else value

    return read_field


def _find_model_flops(result: CaseResult) -> float | None:
    return CaseResult(result.case.baseline, result.baseline).first("gradient_flops")


def _compute_recomputed_flops(result: CaseResult) -> float | None:
    total, model = result.first("gradient_flops"), _find_model_flops(result)
    return None if total is None or model is None else total - model


def _compute_time_ratio(result: CaseResult) -> Interval:
    steps, others = (values_by_round(rounds, "step_seconds") for rounds in (result.rounds, result.baseline))
    return ratio_of_medians(steps, others, with_interval=result.case.strategy != "none")


def show_recomputed(row: Any) -> str:
    """Return the recomputed FLOPs as a share of the model's."""
    share = row.recomputed_flops / row.model_flops if row.model_flops else None
    return f"{share:+.0%}" if is_present(share) else units.ABSENT


def _show_throughput(row: Any) -> str:
    if not is_present(row.throughput_per_second):
        return units.ABSENT
    return f"{units.format_count(row.throughput_per_second)} {row.throughput_unit}/s"


SHOWN = (
    axis_column(
        "strategy",
        doc="Rematerialization strategy.",
        heading="strategy",
        text=lambda row: row.strategy + (" *" if row.on_front else ""),
        tables=BOTH,
        priority=0,
    ),
    probe_column(
        "step_seconds",
        compared=Compared(0.10),
        heading="step time",
        tables=LOCAL,
        priority=0,
    ),
    Column(
        "time_ratio",
        "Ratio of `step_seconds` to strategy none of the same shape.",
        _compute_time_ratio,
        "ratio",
        interval=True,
        heading="vs none",
        tables=LOCAL,
    ),
    interval_column("time_ratio", tables=LOCAL),
    probe_column(
        "compiled_peak_bytes",
        compared=Compared(0.01, exact=True),
        heading="peak (compiled)",
        tables=BOTH,
        priority=0,
    ),
    Column(
        "compiled_peak_ratio",
        "Ratio of `compiled_peak_bytes` to strategy none.",
        lambda result: result.ratio_to_baseline("compiled_peak_bytes"),
        "ratio",
        heading="vs none",
        tables=BOTH,
        priority=2,
    ),
    Column("fits", heading="fits", text=show_fit, tables=AOT),
    probe_column(
        "measured_peak_bytes",
        compared=Compared(0.05),
        heading="peak (measured)",
        tables=LOCAL,
    ),
    Column(
        "argument_bytes",
        "Part of the compiled peak: parameters, optimizer state, batch.",
        _read_peak_part("argument_bytes"),
        "bytes",
        heading="arguments",
        tables=AOT,
        priority=3,
    ),
    Column(
        "temp_bytes",
        "Part of the compiled peak: activations and other temporaries.",
        _read_peak_part("temp_bytes"),
        "bytes",
        heading="temporaries",
        tables=AOT,
        priority=3,
    ),
    Column(
        "host_temp_bytes",
        "Bytes offloaded to the host, not in the compiled peak.",
        _read_peak_part("host_temp_bytes"),
        "bytes",
        heading="on host",
        tables=AOT,
        priority=3,
    ),
    probe_column(
        "residual_bytes",
        compared=Compared(0.0, exact=True),
        heading="residuals",
        tables=BOTH,
        priority=2,
    ),
    probe_column(
        "estimated_step_seconds",
        heading=f"estimated step ({REAL_STEPS})",
        tables=AOT,
    ),
    Column(
        "recomputed_flops",
        "FLOPs that the backward pass computes again: `gradient_flops` less `model_flops`.",
        _compute_recomputed_flops,
        "count",
        heading="recomputed",
        text=show_recomputed,
        tables=BOTH,
        priority=2,
    ),
    Column(
        "throughput_per_second",
        "Tokens or samples per second: those of a step over `step_seconds`; over a mesh, of all devices.",
        _compute_throughput,
        "count",
        heading="throughput",
        text=_show_throughput,
        tables=LOCAL,
        priority=3,
    ),
    Column(
        "verdict",
        "What the strategy really did: `effective`, `no-op`, `eliminated` (by the compiler) or `no-saving`.",
        _from_first_round("verdict", "name"),
        heading="verdict",
        tables=BOTH,
    ),
    Column(
        "agrees",
        "Whether loss and gradients equal those of strategy none within the tolerance of the dtype.",
        _from_first_round("agreement", "ok"),
        heading="grads equal",
        text=lambda row: {True: "yes", False: "NO"}.get(row.agrees, units.ABSENT),
        tables=LOCAL,
    ),
    probe_column(
        "compile_seconds",
        heading="compile time",
        tables=AOT,
        priority=3,
    ),
    Column("shown_status", heading="status", text=show_status, tables=BOTH),
)
OTHERS = (
    Column("on_front", "Whether the case is on the Pareto front of its shape."),
    probe_column("trace_seconds"),
    Column(
        "output_bytes",
        "Part of the compiled peak, mostly in place of arguments.",
        _read_peak_part("output_bytes"),
        "bytes",
    ),
    Column(
        "needed_peak_bytes",
        "The larger of `compiled_peak_bytes` and `cublas_peak_bytes`: what must fit, whichever kernels are chosen.",
        _find_needed_peak,
        "bytes",
    ),
    probe_column("cublas_peak_bytes"),
    probe_column("capacity_bytes"),
    probe_column("device_memory_bytes"),
    Column(
        "computed_in",
        "`float32` if XLA's CPU compiler computes the case's bfloat16 or float16 in float32.",
        _read_peak_part("computed_in"),
    ),
    Column("measured_peak_source", "How the measured peak was read, or why it was not.", _find_peak_source),
    probe_column("parameter_bytes"),
    Column("parameter_dtypes", "Dtypes of the parameters, joined by `+`.", _join_detail("parameter_bytes", "dtypes")),
    probe_column("optimizer_bytes"),
    Column(
        "product_dtypes",
        "Dtypes of the operands of matrix products, joined by `+`.",
        _join_detail("gradient_flops", "product_dtypes"),
    ),
    probe_column("gradient_flops"),
    Column("model_flops", "`gradient_flops` of strategy none.", _find_model_flops, "count"),
    probe_column("budget_bytes"),
    Column(
        "plan",
        "What met the budget: `plan`, `mixture`, or the strategy whose program it is.",
        lambda result: result.detail("budget_bytes", "plan"),
    ),
    probe_column("first_step_seconds"),
    probe_column("forward_seconds"),
    Column("samples", "Timed steps over all processes.", _count_samples, "count"),
    Column(
        "throughput_unit",
        "`tokens` or `samples`.",
        lambda result: "tokens" if has_tokens(result.case) else "samples",
    ),
    Column("verdict_reason", "The figures that show the verdict.", _from_first_round("verdict", "describe")),
    Column("agreement_reason", "The errors of loss and gradients.", _from_first_round("agreement", "describe")),
    Column(
        "measured_peak_ratio",
        "Ratio of `measured_peak_bytes` to strategy none.",
        lambda result: result.ratio_to_baseline("measured_peak_bytes"),
        "ratio",
    ),
    Column(
        "residual_ratio",
        "Ratio of `residual_bytes` to strategy none.",
        lambda result: result.ratio_to_baseline("residual_bytes"),
        "ratio",
    ),
)


def probe_columns() -> tuple[Column, ...]:
    """Return a column for each probe that has no entry above."""
    known = {column.name for column in (*SHOWN, *OTHERS)}
    return tuple(probe_column(name) for name, probe in PROBES.items() if probe.reduction and name not in known)


STRATEGY, *_rest = SHOWN
COLUMNS = (*common_columns(axis_columns(RematCase, (STRATEGY,))), *_rest, *OTHERS, *probe_columns())
