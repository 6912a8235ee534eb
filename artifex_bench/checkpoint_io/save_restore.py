"""A training state saved and restored, again and again, each time beside one raw write and read of the same bytes."""

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
from artifex_bench.core.case import CheckpointCase
from artifex_bench.core.job import Job, SkipJob
from artifex_bench.core.record import Measurement
from artifex_bench.targets import local

# name -> (unit, source, what it is)
PROBES = {
    "state_bytes": ("bytes", "sizes of the arrays", "the state that is saved"),
    "disk_bytes": ("bytes", "sizes of the files", "what the save left on the disk"),
    "disk_files": ("files", "count", "in how many files"),
    "save_peak_bytes": ("bytes", "rise of VmHWM of the process", "resident memory that a save takes on top"),
    "restore_peak_bytes": ("bytes", "rise of VmHWM of the process", "the same of a restore, its arrays included"),
    "raw_write_seconds": ("seconds", "wall clock", "one file of the same bytes, written and synced"),
    "blocking_seconds": ("seconds", "wall clock", "until training may go on"),
    "committed_seconds": ("seconds", "wall clock", "until every file of the checkpoint is on the disk"),
    "raw_read_seconds": ("seconds", "wall clock", "that file, read"),
    "restore_seconds": ("seconds", "wall clock, blocked until ready", "until the state is back on the devices"),
    "lost_seconds": ("seconds", "wall clock", "training time lost to one save, by a donated training loop"),
    "training_step_seconds": ("seconds", "wall clock, blocked until ready", "a step of that loop, without a save"),
}


def measure(job: Job) -> Iterator[Measurement]:
    """The measurements of a case. Raises Skip where something that it needs is not there."""
    case = job.case
    assert isinstance(case, CheckpointCase)
    skip_without(case)
    with tempfile.TemporaryDirectory(dir=job.scratch, ignore_cleanup_errors=True) as scratch:
        taken = _repeat(case, Path(scratch), max(1, job.steps))
        taken |= _train(case, Path(scratch, "training"))
    for name, values in taken.items():
        unit, source, _ = PROBES[name]
        if values:
            yield Measurement(name, unit, tuple(values), source)
        else:
            yield Measurement(name, unit, note="a process's resident peak can be reset on Linux only")


def skip_without(case: Any) -> None:
    """Raise Skip where the format's packages or the case's devices are missing."""
    why = formats.missing(case.format)
    if why:
        raise SkipJob(why)
    devices = getattr(case, "devices", 1)
    if len(jax.devices()) < devices:
        raise SkipJob(f"devices {devices}: there are {len(jax.devices())}")


def _repeat(case: CheckpointCase, scratch: Path, repetitions: int) -> dict[str, list[float]]:
    """Save and restore that many times after a first time that is not counted (imports, threads, allocations)."""
    tree = state.make(case)
    host = jax.tree.map(np.array, tree)
    arrays = jax.tree.leaves(host)
    wanted = state.template(tree, case)
    make = formats.load(case.format)
    taken: dict[str, list[float]] = defaultdict(list)
    taken["state_bytes"] = [float(state.total_bytes(tree))]
    for repetition in range(-1, repetitions):
        folder, raw = scratch / f"save{repetition}", scratch / "raw" / "bytes"
        raw.parent.mkdir()
        folder.mkdir()
        figures: dict[str, float | None] = {}
        figures["raw_write_seconds"] = _seconds(partial(state.write_raw, raw, arrays))
        saver = make(case, folder)
        figures |= _save(saver, tree, folder)
        figures["disk_bytes"] = sum(path.stat().st_size for path in state.files(folder))
        figures["disk_files"] = sum(1 for _ in state.files(folder))
        for written in (raw.parent, folder):
            state.forget(written) if case.cache == "cold" else _read_through(written)
        buffers = [np.ones_like(array) for array in arrays]
        figures["raw_read_seconds"] = _seconds(partial(state.read_raw, raw, buffers))
        del buffers
        restored, more = _restore(saver, wanted)
        figures |= more
        if not state.same_bits(restored, host):
            raise AssertionError(f"format {case.format}: what was restored is not what was saved")
        del restored
        saver.close()
        shutil.rmtree(folder)
        shutil.rmtree(raw.parent)
        if repetition >= 0:
            for name, value in figures.items():
                taken[name] += [] if value is None else [value]
    for once in ("disk_bytes", "disk_files"):
        del taken[once][1:]
    return taken


def _save(saver: Any, tree: Any, folder: Path) -> dict[str, float | None]:
    meter = local.resident_meter()
    meter.start()
    meter.reset()
    start = time.perf_counter()
    saver.save(tree)
    blocking = time.perf_counter() - start
    saver.wait()
    state.sync(folder)
    committed = time.perf_counter() - start
    return {"blocking_seconds": blocking, "committed_seconds": committed, "save_peak_bytes": meter.peak()}


def _restore(saver: Any, wanted: Any) -> tuple[Any, dict[str, float | None]]:
    meter = local.resident_meter()
    meter.start()
    meter.reset()
    start = time.perf_counter()
    restored = jax.block_until_ready(saver.restore(wanted))
    seconds = time.perf_counter() - start
    return restored, {"restore_seconds": seconds, "restore_peak_bytes": meter.peak()}


def _train(case: CheckpointCase, folder: Path) -> dict[str, list[float]]:
    """Training time lost to a save: a loop that updates the whole state, donated, from before the save until it is
    committed, less the steps it made in that time at their usual pace. What is saved must be the state of that step.
    """
    folder.mkdir()
    tree = state.make(case)

    @partial(jax.jit, donate_argnums=0)
    def update(tree: Any) -> Any:
        return jax.tree.map(lambda a: a - a * 0.125, tree)

    usual = []
    for _ in range(6):
        start = time.perf_counter()
        tree = jax.block_until_ready(update(tree))
        usual.append(time.perf_counter() - start)
    pace = statistics.median(usual[1:])
    expected = jax.tree.map(np.array, tree)
    wanted = state.template(tree, case)
    saver = formats.load(case.format)(case, folder)
    steps = 0
    start = time.perf_counter()
    saver.save(tree)
    while not saver.done():
        tree = jax.block_until_ready(update(tree))
        steps += 1
    saver.wait()
    lost = time.perf_counter() - start - steps * pace
    if not state.same_bits(saver.restore(wanted), expected):
        raise AssertionError(f"format {case.format}: training went on into the state that was being saved")
    saver.close()
    return {"lost_seconds": [lost], "training_step_seconds": usual[1:]}


def _seconds(action: Callable[[], None]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def _read_through(folder: Path) -> None:
    """Have the files below in the page cache (warm)."""
    for path in state.files(folder):
        path.read_bytes()
