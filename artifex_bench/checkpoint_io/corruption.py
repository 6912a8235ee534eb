"""A saved state damaged in one random place, again and again: raised, given back intact, or silently wrong?"""

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
from artifex_bench.checkpoint_io.save_restore import skip_without
from artifex_bench.checkpointing.faults import inject_fault
from artifex_bench.compat import finish_failed_reads
from artifex_bench.core.case import FaultCase
from artifex_bench.core.job import Job
from artifex_bench.core.record import Measurement

# name -> (unit, source, what it is)
PROBES = {
    "detected_trials": ("trials", "count", "restores that raised"),
    "intact_trials": ("trials", "count", "restores that gave back every bit, in spite of the damage"),
    "silent_trials": ("trials", "count", "restores that gave back something else without a word"),
}


def measure(job: Job) -> Iterator[Measurement]:
    """The outcomes of the case's trials; their sum is the number of trials. Raises Skip as checkpoint cases do."""
    case = job.case
    assert isinstance(case, FaultCase)
    skip_without(case)
    finish_failed_reads()  # restores fail here by the hundred
    with tempfile.TemporaryDirectory(dir=job.scratch, ignore_cleanup_errors=True) as scratch:
        outcomes, silent = _trials(case, Path(scratch), job.round * case.trials)
    for name, count in outcomes.items():
        unit, source, _ = PROBES[name]
        yield Measurement(name, unit, (count,), source, detail={"damage": silent} if name == "silent_trials" else {})


def _trials(case: FaultCase, scratch: Path, first: int) -> tuple[dict[str, int], list[str]]:
    """(how many trials came to what, the damage of some that went unnoticed). `first` numbers them on from round to
    round, for each round damages other places.
    """
    tree = state.make(case)
    host = jax.tree.map(np.array, tree)
    wanted = state.template(tree, case)
    make = formats.load(case.format)
    sound = scratch / "sound"
    sound.mkdir()
    saver = make(case, sound)
    saver.save(tree)
    saver.wait()
    saver.close()
    outcomes = dict.fromkeys(PROBES, 0)
    silent = []
    for trial in range(first, first + case.trials):
        damaged = scratch / "damaged"
        shutil.copytree(sound, damaged)
        path, what = inject_fault(damaged, case.fault, seed=case.seed * 1_000_003 + trial, by_size=trial % 2 == 0)
        outcome = _outcome(make, case, damaged, wanted, host)
        outcomes[outcome] += 1
        if outcome == "silent_trials":
            silent.append(f"{path.relative_to(damaged)}: {what}")
        shutil.rmtree(damaged)
    return outcomes, silent[:10]


def _outcome(make: Any, case: FaultCase, folder: Path, wanted: Any, host: Any) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            saver = make(case, folder)
            restored = saver.restore(wanted)
    except Exception:  # whatever it is, the user is told
        return "detected_trials"
    if restored is None:
        return "detected_trials"
    return "intact_trials" if state.same_bits(restored, host) else "silent_trials"
