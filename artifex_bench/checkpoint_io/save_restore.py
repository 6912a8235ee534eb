"""The suite checkpoint: saves and restores of a training state, each beside a raw write and read of its bytes."""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from artifex_bench.checkpoint_io import formats, state
from artifex_bench.core.case import CheckpointCase, FaultCase
from artifex_bench.core.job import Job, SkipJob
from artifex_bench.core.record import Measurement
from artifex_bench.targets import local

# name -> (unit, source); kinds/ documents each in its column
PROBES = {
    "state_bytes": ("bytes", "sizes of the arrays"),
    "disk_bytes": ("bytes", "sizes of the files"),
    "disk_files": ("files", "count"),
    "save_peak_bytes": ("bytes", "rise of VmHWM of the process"),
    "restore_peak_bytes": ("bytes", "rise of VmHWM of the process"),
    "raw_write_seconds": ("seconds", "wall clock"),
    "blocking_seconds": ("seconds", "wall clock"),
    "committed_seconds": ("seconds", "wall clock"),
    "raw_read_seconds": ("seconds", "wall clock"),
    "restore_seconds": ("seconds", "wall clock, blocked until ready"),
    "lost_seconds": ("seconds", "wall clock"),
    "training_step_seconds": ("seconds", "wall clock, blocked until ready"),
}


def measure(job: Job) -> Iterator[Measurement]:
    """Yield the measurements of a checkpoint case. Raises SkipJob if a package or device that it needs is missing."""
    case = job.case
    assert isinstance(case, CheckpointCase)
    check_available(case)
    with tempfile.TemporaryDirectory(dir=job.scratch, ignore_cleanup_errors=True) as scratch:
        values_by_probe = _measure_repetitions(case, Path(scratch), max(1, job.steps))
        values_by_probe |= _measure_lost_time(case, Path(scratch, "training"))
    for name, values in values_by_probe.items():
        unit, source = PROBES[name]
        if values:
            yield Measurement(name, unit, tuple(values), source)
        else:
            yield Measurement(name, unit, note="a process's resident peak can be reset on Linux only")


def check_available(case: CheckpointCase | FaultCase) -> None:
    """Raise SkipJob if a package of the format or a device of the case is missing."""
    package = formats.find_missing_package(case.format)
    if package:
        raise SkipJob(f"{package} is not installed: pip install {package}")
    devices = getattr(case, "devices", 1)
    if len(jax.devices()) < devices:
        raise SkipJob(f"devices {devices}: there are {len(jax.devices())}")


def _measure_repetitions(case: CheckpointCase, scratch: Path, repetitions: int) -> dict[str, list[float]]:
    """Return {probe: values} of saves and restores, after an uncounted first one (imports, threads, allocations)."""
    tree = state.make_state(case)
    host = jax.tree.map(np.array, tree)
    arrays = jax.tree.leaves(host)
    template = state.make_template(tree, case)
    values: dict[str, list[float]] = defaultdict(list)
    values["state_bytes"] = [float(state.count_bytes(tree))]
    for repetition in range(-1, repetitions):
        folder, raw = scratch / f"save{repetition}", scratch / "raw" / "bytes"
        raw.parent.mkdir()
        folder.mkdir()
        figures: dict[str, float | None] = {}
        figures["raw_write_seconds"] = _time(partial(state.write_raw, raw, arrays))
        saver = formats.make_saver(case, folder)
        figures |= _save(saver, tree, folder)
        figures["disk_bytes"] = sum(path.stat().st_size for path in state.list_files(folder))
        figures["disk_files"] = sum(1 for _ in state.list_files(folder))
        for written in (raw.parent, folder):
            (state.drop_from_page_cache if case.cache == "cold" else state.load_into_page_cache)(written)
        buffers = [np.ones_like(array) for array in arrays]
        figures["raw_read_seconds"] = _time(partial(state.read_raw, raw, buffers))
        del buffers
        restored, restore_figures = _restore(saver, template)
        figures |= restore_figures
        if not state.has_equal_bits(restored, host):
            raise AssertionError(f"format {case.format}: the restored state differs from the saved one")
        del restored
        saver.close()
        shutil.rmtree(folder)
        shutil.rmtree(raw.parent)
        if repetition >= 0:
            for name, value in figures.items():
                values[name] += [] if value is None else [value]
    for once in ("disk_bytes", "disk_files"):
        del values[once][1:]
    return values


def _save(saver: formats.Saver, tree: Any, folder: Path) -> dict[str, float | None]:
    meter = local.make_resident_meter()
    meter.start()
    meter.reset()
    start = time.perf_counter()
    saver.save(tree)
    blocking = time.perf_counter() - start
    saver.wait()
    state.sync_tree(folder)
    committed = time.perf_counter() - start
    return {"blocking_seconds": blocking, "committed_seconds": committed, "save_peak_bytes": meter.peak()}


def _restore(saver: formats.Saver, template: Any) -> tuple[Any, dict[str, float | None]]:
    meter = local.make_resident_meter()
    meter.start()
    meter.reset()
    start = time.perf_counter()
    restored = jax.block_until_ready(saver.restore(template))
    seconds = time.perf_counter() - start
    return restored, {"restore_seconds": seconds, "restore_peak_bytes": meter.peak()}


def _measure_lost_time(case: CheckpointCase, folder: Path) -> dict[str, list[float]]:
    """Return the training time that a save costs, and the seconds of steps without a save.

    A loop updates the whole state in donated buffers from before the save until it is committed. The lost time is that
    time less the loop's steps at their usual duration. The saved state must be that of the step before the save.
    """
    folder.mkdir()
    tree = state.make_state(case)

    @partial(jax.jit, donate_argnums=0)
    def update(tree: Any) -> Any:
        return jax.tree.map(lambda a: a - a * 0.125, tree)

    usual = []
    for _ in range(6):
        start = time.perf_counter()
        tree = jax.block_until_ready(update(tree))
        usual.append(time.perf_counter() - start)
    usual_seconds = statistics.median(usual[1:])
    expected = jax.tree.map(np.array, tree)
    template = state.make_template(tree, case)
    saver = formats.make_saver(case, folder)
    steps = 0
    start = time.perf_counter()
    saver.save(tree)
    while not saver.done():
        tree = jax.block_until_ready(update(tree))
        steps += 1
    saver.wait()
    lost = time.perf_counter() - start - steps * usual_seconds
    if not state.has_equal_bits(saver.restore(template), expected):
        raise AssertionError(f"format {case.format}: training changed the state while it was being saved")
    saver.close()
    return {"lost_seconds": [lost], "training_step_seconds": usual[1:]}


def _time(action: Callable[[], None]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start
