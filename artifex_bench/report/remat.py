"""How remat runs are told: their rows, and the columns that decide."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from artifex_bench.core import case as cases
from artifex_bench.core import units
from artifex_bench.core.case import RematCase
from artifex_bench.core.record import OWN, Record
from artifex_bench.core.stats import pareto_front
from artifex_bench.core.units import there
from artifex_bench.models import MODELS
from artifex_bench.report.frame import base, first, groups, medians, ratio, summary

SHAPE = (
    *("model", "depth", "width", "batch", "sequence", "heads", "dtype", "layers", "step", "optimizer", "compiler"),
    *("target", "mesh", "remat3"),
)
TITLE = "Step time against peak memory"
HEADINGS = (
    *("strategy", "step time", "x none", "95 %", "compiled peak", "x none", "measured peak", "residuals"),
    *("recomputed", "throughput", "verdict", "grads equal", "status"),
)
LEFT = (0, 10, 11, 12)  # the columns that hold words
PLOTS = "plot_remat_run"

LEGEND = """
`*` on the Pareto front of step time and compiled peak · `x none` relative to the same case without rematerialization,
with a bootstrap 95 % interval for time · compiled peak: the compiler's plan · measured peak: read while steps ran ·
residuals: what autodiff saves · recomputed: FLOPs done again, as a share of the model's · grads equal: loss and
gradients agree with strategy none within the tolerance of the dtype.
"""

# A process takes 1 to 7 MiB beside its program's arrays (docs/figures.md); more than that is scratch memory of kernels.
LARGE_SHARE, LARGE_BYTES = 0.05, 16 * 2**20
# Taken once, from the first round that has them: they are the same in every process.
ONCE = (
    "budget_bytes",
    "residual_bytes",
    "compiled_peak_bytes",
    "parameter_bytes",
    "optimizer_bytes",
    "gradient_flops",
    "compile_seconds",
    "trace_seconds",
    "capacity_bytes",
    "device_memory_bytes",
    "cublas_peak_bytes",
    "estimated_step_seconds",
)
PARTS = ("argument_bytes", "output_bytes", "temp_bytes", "host_temp_bytes")  # of the compiled peak
TIMED = ("step_seconds", "first_step_seconds", "forward_seconds", "measured_peak_bytes")


def rows(by_case: Mapping[Any, list[Record]]) -> list[dict[str, Any]]:
    """A row a case: see `load_run`."""
    return [
        {**_row(case, rounds), **_ratios(case, rounds, by_case.get(cases.reference(case), []))}
        for case, rounds in by_case.items()
    ]


def _row(case: RematCase, rounds: list[Record]) -> dict[str, Any]:
    opening = rounds[0]
    row = base(case, rounds)
    row |= {name: first(rounds, name) for name in ONCE}
    met = next((m for v in rounds if (m := v.get("budget_bytes")) and m.values), None)
    row["needed_peak_bytes"] = next((needed for v in rounds if (needed := v.needed_peak) is not None), None)
    row["plan"] = met.detail.get("plan") if met else None
    parameters = next((m for v in rounds if (m := v.get("parameter_bytes")) and m.values), None)
    row["parameter_dtypes"] = "+".join(parameters.detail.get("dtypes", ())) or None if parameters else None
    counted = next((m for v in rounds if (m := v.get("gradient_flops")) and m.values), None)
    row["product_dtypes"] = "+".join(counted.detail.get("product_dtypes", ())) or None if counted else None
    peak = next((m for v in rounds if (m := v.get("compiled_peak_bytes")) and m.values), None)
    row |= {name: peak.detail.get(name) if peak else None for name in (*PARTS, "computed_in")}
    row |= medians(rounds, TIMED)
    step = summary(rounds, "step_seconds")
    row["samples"] = step.samples if step else 0
    per_step = tokens(case)
    row["throughput_per_second"] = per_step / step.median if step and step.median else None
    row["throughput_unit"] = "tokens" if _has_tokens(case) else "samples"
    source = next((m for v in rounds if (m := v.get("measured_peak_bytes"))), None)
    row["measured_peak_source"] = (source.source or source.note) if source else None
    row["verdict"] = opening.verdict.name if opening.verdict else None
    row["verdict_reason"] = opening.verdict.reason if opening.verdict else None
    row["agrees"] = opening.agreement.ok if opening.agreement else None
    row["agreement_reason"] = opening.agreement.reason if opening.agreement else None
    return row


def tokens(case: RematCase) -> int:
    """Tokens a step, or samples where the model has no sequence, or is the user's own and may have none."""
    return case.batch * (case.sequence or 1) if _has_tokens(case) else case.batch


def _has_tokens(case: RematCase) -> bool:
    return case.model in MODELS and MODELS[case.model].sequential


def _ratios(case: RematCase, rounds: list[Record], plain: list[Record]) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for name, column in (
        ("residual_bytes", "residual_ratio"),
        ("compiled_peak_bytes", "compiled_peak_ratio"),
        ("measured_peak_bytes", "measured_peak_ratio"),
    ):
        mine, theirs = (summary(v, name) for v in (rounds, plain))
        found[column] = mine.median / theirs.median if mine and theirs and theirs.median else None
    total, model = first(rounds, "gradient_flops"), first(plain, "gradient_flops")
    found["model_flops"] = model
    found["recomputed_flops"] = None if total is None or model is None else total - model
    steps, plain_steps = groups(rounds, "step_seconds"), groups(plain, "step_seconds")
    return found | ratio("time_ratio", steps, plain_steps, spread=case.strategy != "none")


def shapes(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The rows of each shape (all axes but the strategy), with the shape in words."""
    columns = [*SHAPE, "seed"]
    for key, rows in table.groupby(columns, sort=False, dropna=False):
        shape = dict(zip(columns, key, strict=True))
        others = [dtypes for dtypes in rows.parameter_dtypes.dropna().unique() if dtypes != shape["dtype"]]
        words = [shape_title(shape), *(f"parameters {dtypes}" for dtypes in others)]
        if not others and any("float64" in dtypes for dtypes in rows.product_dtypes.dropna()):
            words.append("products float64")
        yield ", ".join(words + [f"computed in {dtype}" for dtype in rows.computed_in.dropna().unique()]), rows


def shape_title(shape: dict[str, Any]) -> str:
    """``transformer: depth 4, width 128, batch 8, sequence 128, float32, scan``."""
    plain = {"step": "train", "optimizer": "adam", "compiler": "faithful", "seed": 0}
    plain |= {"target": cases.LOCAL, "remat3": "off"}
    words = [f"{axis} {int(shape[axis])}" for axis in ("depth", "width", "batch", "sequence") if there(shape[axis])]
    words += [str(shape["dtype"]), str(shape["layers"])]
    words += [f"heads {int(shape['heads'])}"] if there(shape["heads"]) and shape["heads"] != 4 else []
    words += [f"{axis} {shape[axis]}" for axis, value in plain.items() if shape[axis] != value]
    words += [f"mesh {shape['mesh']}"] if there(shape["mesh"]) else []
    return f"{shape['model']}: {', '.join(words)}"


def cells(row: Any, on_front: bool) -> list[str]:
    """A case's row in words, in the order of the headings; a star marks the Pareto front."""
    status = row.status if not row.contended else f"{row.status}, contended"
    agrees = {True: "yes", False: "NO"}.get(row.agrees, units.ABSENT)
    throughput = f"{units.count(row.throughput_per_second)} {row.throughput_unit}/s"
    return [
        row.strategy + (" *" if on_front else ""),
        units.seconds(row.step_seconds),
        units.ratio(row.time_ratio),
        units.interval(row.time_ratio_low, row.time_ratio_high),
        units.size(row.compiled_peak_bytes),
        units.ratio(row.compiled_peak_ratio),
        units.size(row.measured_peak_bytes),
        units.size(row.residual_bytes),
        recomputed(row),
        throughput if there(row.throughput_per_second) else units.ABSENT,
        row.verdict if there(row.verdict) else units.ABSENT,
        agrees,
        status,
    ]


def recomputed(row: Any) -> str:
    """FLOPs done again, as a share of the model's."""
    flops = row.recomputed_flops / row.model_flops if row.model_flops else None
    return f"{flops:+.0%}" if there(flops) else units.ABSENT


def front(rows: pd.DataFrame) -> set[int]:
    """Index labels of the rows on the Pareto front of step time and compiled peak."""
    usable = rows[(rows.status == "ok") & rows.step_seconds.notna() & rows.compiled_peak_bytes.notna()]
    points = list(zip(usable.step_seconds, usable.compiled_peak_bytes, strict=True))
    return {usable.index[i] for i in pareto_front(points)}


def grouped(table: pd.DataFrame) -> Iterator[tuple[str, list[list[str]], list[str]]]:
    """(title, rows of cells, notes) of each shape; columns that are empty throughout stay in, notes name faults."""
    for title, rows in shapes(table):
        best = front(rows)
        lines = [cells(row, row.Index in best) for row in rows.itertuples()]
        notes = of_a_mesh(rows)
        notes += [f"{row.strategy}: the program of {row.plan}" for row in rows.itertuples() if of_another(row)]
        notes += [f"{row.strategy}: {note}" for row in rows.itertuples() for note in measured_notes(row)]
        notes += [f"{row.strategy}: {row.status}: {row.reason}" for row in rows.itertuples() if row.status != "ok"]
        yield title, lines, notes


def measured_notes(row: Any) -> Iterator[str]:
    """What the measured peak says against the compiled one: a budget that is not met, memory that is in no plan."""
    measured, compiled, budget = row.measured_peak_bytes, row.compiled_peak_bytes, getattr(row, "budget_bytes", None)
    if not (there(measured) and there(compiled)):
        return
    if there(budget) and measured > budget:
        yield f"over its budget as measured: {units.size(measured)} of {units.size(budget)}"
    if measured - compiled > max(LARGE_SHARE * compiled, LARGE_BYTES):
        more = measured / compiled - 1
        yield f"the measured peak is {more:.0%} above the compiled one, which leaves out the kernels' scratch memory"


def of_another(row: Any) -> bool:
    """Whether a budget was met by a strategy that has a name of its own: what is measured is that one's program."""
    plan = getattr(row, "plan", None)  # asv and pytest-benchmark store none
    return there(plan) and plan not in OWN


def of_a_mesh(rows: pd.DataFrame) -> list[str]:
    """A note on whose bytes are told, of a shape over a mesh."""
    mesh = rows.mesh.iloc[0]
    if not there(mesh):
        return []
    devices = math.prod(cases.mesh_axes(mesh).values())
    return [f"peaks are those of each of the {devices} devices; residuals are what all of them together save"]


def usual(table: pd.DataFrame) -> dict[str, float]:
    """The least memory within 1.1 times the time of none; where no step was timed, the least memory."""
    return {"time_budget": 1.1} if table.step_seconds.notna().any() else {}


def outcome(record: Record) -> str:
    """A job in a few words, for progress lines."""
    steps = summary([record], "step_seconds")
    timed = units.seconds(steps.median) if steps else "not timed"
    words = [f"step {timed}", f"compiled peak {units.size(record.value('compiled_peak_bytes'))}"]
    return ", ".join(words + ([record.verdict.name] if record.verdict else []))
