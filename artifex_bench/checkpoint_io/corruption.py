"""The suite fault: restores of a saved state that was damaged in one random place."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from artifex_bench.checkpoint_io import formats, state
from artifex_bench.checkpoint_io.save_restore import check_available
from artifex_bench.checkpointing.faults import inject_fault
from artifex_bench.compat import finish_failed_reads
from artifex_bench.core.case import FaultCase
from artifex_bench.core.job import Job
from artifex_bench.core.record import Measurement

# name -> (unit, source); kinds/ documents each in its column
PROBES = {
    "detected_trials": ("trials", "count"),
    "intact_trials": ("trials", "count"),
    "silent_trials": ("trials", "count"),
}
MOST_DESCRIBED = 10  # silent trials whose damage a record describes


def measure(job: Job) -> Iterator[Measurement]:
    """Yield the number of trials with each outcome. Raises SkipJob if a package that the format needs is missing."""
    case = job.case
    assert isinstance(case, FaultCase)
    check_available(case)
    finish_failed_reads()  # hundreds of restores fail here
    with tempfile.TemporaryDirectory(dir=job.scratch, ignore_cleanup_errors=True) as scratch:
        outcomes, silent = _count_outcomes(case, Path(scratch), job.round * case.trials)
    for name, count in outcomes.items():
        unit, source = PROBES[name]
        yield Measurement(name, unit, (count,), source, detail={"damage": silent} if name == "silent_trials" else {})


def _count_outcomes(case: FaultCase, scratch: Path, first: int) -> tuple[dict[str, int], list[str]]:
    """Return {probe: trials with that outcome}, and the damage of some trials that went unnoticed.

    Trials are numbered from `first`, so that each round damages other places.
    """
    tree = state.make_state(case)
    host = jax.tree.map(np.array, tree)
    template = state.make_template(tree, case)
    undamaged = scratch / "sound"
    undamaged.mkdir()
    saver = formats.make_saver(case, undamaged)
    saver.save(tree)
    saver.wait()
    saver.close()
    outcomes = dict.fromkeys(PROBES, 0)
    silent = []
    for trial in range(first, first + case.trials):
        damaged = scratch / "damaged"
        shutil.copytree(undamaged, damaged)
        path, damage = inject_fault(damaged, case.fault, seed=case.seed * 1_000_003 + trial, by_size=trial % 2 == 0)
        outcome = _restore_damaged(case, damaged, template, host)
        outcomes[outcome] += 1
        if outcome == "silent_trials":
            silent.append(f"{path.relative_to(damaged)}: {damage}")
        shutil.rmtree(damaged)
    return outcomes, silent[:MOST_DESCRIBED]


def _restore_damaged(case: FaultCase, folder: Path, template: Any, host: Any) -> str:
    """Return the probe that counts the outcome of a restore."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            restored = formats.make_saver(case, folder).restore(template)
    except Exception:  # any error reports the damage
        return "detected_trials"
    if restored is None:
        return "detected_trials"
    return "intact_trials" if state.has_equal_bits(restored, host) else "silent_trials"
