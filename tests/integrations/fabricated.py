"""A fabricated sweep of the preset `asv`, in the place of a measured one in this process and in those of the tools."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from artifex_bench.core.record import Agreement, Measurement, Record, Verdict
from artifex_bench.core.run_spec import RunSpec
from artifex_bench.suites import remat
from artifex_bench.sweep import spec
from tests.build import measured, record, taken

ROOT = Path(__file__).parents[2]
OUTSIDE = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "ASV_"))}
SPEC = RunSpec("remat", spec.expand_preset("remat", "asv", {}), **remat.SETTINGS["asv"])
FAILING = "dots_with_no_batch_dims_saveable"
# run by a tool's process before it measures
PATCH = """
from artifex_bench.integrations import benchmark
from tests.integrations.fabricated import sweep
benchmark.measure_run = sweep
"""


def sweep(asked: RunSpec = SPEC) -> list[Record]:
    """Every case in every round, with the scatter of a busy machine; the strategy FAILING runs out of memory."""
    rng = np.random.default_rng(0)
    records = []
    for number, which in itertools.product(range(asked.rounds), asked.cases):
        steps = [float(s) for s in 0.01 * which.depth * len(which.strategy) * rng.lognormal(0, 0.1, asked.steps)]
        peak = 5000 * which.depth - 100 * len(which.strategy)
        measurements = (
            *measured(steps, peak=peak, recomputed=10 * len(which.strategy))[:-1],
            taken("other_cpu_share", 0.01),
            Measurement("measured_peak_bytes", "bytes", (peak + number,), "resident"),
        )
        judged = {"verdict": Verdict("effective", "less"), "agreement": Agreement(True, "equal")}
        records.append(
            record(which, "oom", round=number)
            if which.strategy == FAILING
            else record(which, round=number, measurements=measurements, **(judged if which.strategy != "none" else {}))
        )
    return records


def call(folder: Path, program: str, *words: str, cwd: Path | None = None) -> str:
    """Run a program to its end, with modules and a home in `folder`; ``python`` is this one. Returns its output."""
    path = f"{folder}:{ROOT}"
    env = {**OUTSIDE, "HOME": str(folder), "PYTHONPATH": path, "ASV_PYTHONPATH": path}  # asv drops PYTHONPATH
    command = [sys.executable if program == "python" else program, *words]
    done = subprocess.run(command, cwd=cwd or folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
