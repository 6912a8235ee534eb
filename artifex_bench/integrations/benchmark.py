"""`benchmark_checkpointing`: one model size, three strategies, time and memory, from a script or a notebook."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from artifex_bench.core import run_spec, store
from artifex_bench.core.case import CaseError, RematCase
from artifex_bench.core.case_names import case_label
from artifex_bench.core.grid import expand_grid
from artifex_bench.core.record import Record
from artifex_bench.core.units import is_present
from artifex_bench.core.versions import chosen_remat3
from artifex_bench.execution.executors import load_executor
from artifex_bench.kinds.frames import make_frame
from artifex_bench.sweep import scheduler


def benchmark_checkpointing(
    num_layers: int,
    hidden_dim: int,
    batch_size: int,
    checkpoint_every_n: int = 1,
) -> dict[str, dict[str, Any]]:
    """Measure a training step of an mlp without, with full and with selective gradient checkpointing.

    Each strategy runs in fresh processes, in two interleaved rounds of ten steps. Its loss and gradients are compared
    with those of ``none``.

    Args:
        num_layers: Number of linear + relu layers, unrolled.
        hidden_dim: Their width.
        batch_size: Samples per step.
        checkpoint_every_n: ``selective`` checkpoints each layer whose number is a multiple of it.

    Returns:
        ``{"none" | "all" | "selective": figures}`` with `time_per_step` (median, seconds), `time_ratio` (to ``none``),
        `loss`, `residual_bytes`, `compiled_peak_bytes`, `measured_peak_bytes`, `memory_ratio` (of compiled peaks, to
        ``none``) and `verdict`. A figure is None where it was not measured.

    Raises:
        CaseError: A size is not a whole number of 1 or more.
        RuntimeError: A case did not complete.
    """
    for name, value in (("num_layers", num_layers), ("checkpoint_every_n", checkpoint_every_n)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise CaseError(f"{name} {value!r}: must be a whole number of 1 or more")
    strategies = {"none": "none", "all": "all", "selective": f"every-{checkpoint_every_n}"}
    grid = expand_grid(
        RematCase,
        model="mlp",
        remat3=chosen_remat3(),
        strategy=list(strategies.values()),
        depth=num_layers,
        width=hidden_dim,
        batch=batch_size,
        sequence=None,
        heads=None,
        layers="unroll",
    )
    records = measure_run(run_spec.RunSpec("benchmark_checkpointing", grid, rounds=2, steps=10))
    failed = next((record for record in records if record.status != "ok"), None)
    if failed is not None:
        raise RuntimeError(f"{case_label(failed.case)}: {failed.status}: {failed.reason}")
    rows = {row["strategy"]: row for row in make_frame(records).to_dict("records")}
    losses = {r.case: m.detail["loss"] for r in records if (m := r.get("gradient_sketch")) and m.values}
    return {name: _pick_figures(rows[case.strategy], losses[case]) for name, case in zip(strategies, grid, strict=True)}


def measure_run(spec: run_spec.RunSpec) -> list[Record]:
    """Return the records of a sweep whose run folder is temporary."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "run"
        store.create_run(folder, run_spec.run_spec_to_json(spec))
        return scheduler.run_sweep(spec, folder, load_executor(spec.executor).run, lambda *_: None)


def _pick_figures(row: dict[Any, Any], loss: float) -> dict[str, Any]:
    figures = {
        "time_per_step": row["step_seconds"],
        "time_ratio": row["time_ratio"],
        "loss": loss,
        "residual_bytes": row["residual_bytes"],
        "compiled_peak_bytes": row["compiled_peak_bytes"],
        "measured_peak_bytes": row["measured_peak_bytes"],
        "memory_ratio": row["compiled_peak_ratio"],
        "verdict": row["verdict"],
    }
    return {name: value if is_present(value) else None for name, value in figures.items()}
