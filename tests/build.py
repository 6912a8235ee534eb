"""Fabricated cases and records, and an executor that measures nothing, for tests without JAX."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from artifex_bench.core.case import RematCase
from artifex_bench.core.job import Job
from artifex_bench.core.kind import all_suites
from artifex_bench.core.record import Measurement, Record

SUITES = {name: suite for name, (_, suite) in all_suites().items()}
SMALL: dict[str, Any] = {"depth": 2, "width": 32, "batch": 2, "sequence": 16}
UNITS = {"bytes": "bytes", "seconds": "seconds", "flops": "flop", "share": "share"}  # by a word in the probe's name


def replaced(value: Any, **changes: Any) -> Any:
    """Return a copy of a struct or dataclass with some fields changed."""
    change = dataclasses.replace if dataclasses.is_dataclass(value) else msgspec.structs.replace
    return change(value, **changes)


def case(strategy: str = "none", **fields: Any) -> RematCase:
    return RematCase(strategy=strategy, **{**SMALL, **fields})


def taken(probe: str, *values: float, **detail: Any) -> Measurement:
    unit = next(unit for word, unit in UNITS.items() if word in probe)
    return Measurement(probe, unit, values, "fabricated", detail=detail)


def sketch(loss: float = 1.5, leaves: dict[str, Sequence[float]] | None = None) -> Measurement:
    """Return gradients as the worker sends them, with two projections per parameter."""
    leaves = leaves or {"up.kernel": (3.0, -4.0)}
    norms = {name: (sum(p * p for p in values) / len(values)) ** 0.5 for name, values in leaves.items()}
    detail = {name: {"norm": norms[name], "projections": list(values)} for name, values in leaves.items()}
    total = sum(n * n for n in norms.values()) ** 0.5
    return Measurement("gradient_sketch", "norm", (total,), "fabricated", detail={"loss": loss, "leaves": detail})


def measured(
    steps: Sequence[float] = (0.010, 0.011, 0.012),
    residual: float = 1000,
    peak: float = 5000,
    recomputed: float = 0,
    flops: float = 900,
) -> tuple[Measurement, ...]:
    """Return the measurements of an ok job with 900 model FLOPs and 1000 bytes of arguments."""
    timed = [taken("step_seconds", *steps)] if steps else [Measurement("step_seconds", "seconds", note="compile only")]
    return (
        taken("residual_bytes", residual),
        taken("gradient_flops", 900 + recomputed, counting_loops_once=900 + recomputed),
        taken("parameter_bytes", 400),
        taken("compile_seconds", 1.25),
        taken("compiled_peak_bytes", peak, argument_bytes=1000),
        taken("compiled_flops", flops),
        *timed,
        Measurement("measured_peak_bytes", "bytes", note="not read here"),
    )


def record(which: RematCase | str = "none", status: str = "ok", **fields: Any) -> Record:
    measured_case = case(which) if isinstance(which, str) else which
    fields.setdefault("measurements", measured() if status == "ok" else ())
    fields.setdefault("reason", "" if status == "ok" else f"it was {status}")
    return Record(measured_case, fields.pop("round", 0), status, **fields)


def backend(log: list[str], statuses: dict[str, str] | None = None) -> Callable[[Job, Path], Record]:
    """Return an executor that measures nothing and logs its jobs. `statuses`: strategy -> status other than ok."""

    def measure(job: Job, path: Path) -> Record:
        log.append(f"measure {job.case.strategy} {job.round}")
        path.write_text("what the process printed\n")
        return record(job.case, (statuses or {}).get(job.case.strategy, "ok"), round=job.round)

    return measure


def ignore(job: Job, record: Record | None) -> None:
    """Show nothing: a progress callback."""
