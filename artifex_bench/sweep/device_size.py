"""Presets that are sized to a device's memory: how deep the transformer is, and its batch. No JAX."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from artifex_bench.core import units
from artifex_bench.core.case import DTYPES, LOCAL, CaseError
from artifex_bench.core.grid import as_list
from artifex_bench.core.suite import Grids
from artifex_bench.execution.executors import load_executor
from artifex_bench.targets import load_description

DEPTH_STEP = 4  # a smaller device gets fewer layers, in multiples of this
# Copies of the parameters: themselves, Adam's two moments, the gradient.
COPIES = 4
# Bytes that strategy none saves per bfloat16 value of a layer's input (batch x sequence x width), and per score of
# attention over those values. Compiled peaks of none are 1 to 5 % below the estimate in results/reference-max-batch
# (H100) and results/reference-remat-absent (H100, v5e, v5p).
SAVED, SAVED_PER_SCORE = 84.2, 4.0


def size_grids(grids: Grids, capacity: float, given: Mapping[str, Any]) -> Grids:
    """Return the grids of a transformer, with the depth and the batch that let strategy none fit a device.

    The batch is the largest that fits. If not even one sequence fits, the model gets fewer layers.

    Args:
        grids: Grids with one value per axis of the shape.
        capacity: Bytes that one program may use on the device.
        given: The user's axes, which replace those of the grids. Several values count as the largest.

    Raises:
        CaseError: Not even a model of a few layers fits.
    """
    return tuple(_size_grid(grid, capacity, given) for grid in grids)


def _size_grid(grid: Mapping[str, Any], capacity: float, given: Mapping[str, Any]) -> Mapping[str, Any]:
    sizes = [axis for axis in ("depth", "width", "sequence") if axis in given]
    axes = {**grid, **{axis: max(as_list(axis, given[axis])) for axis in sizes}}
    state, sample = _bytes_per_layer(axes)
    depths = [axes["depth"]] if "depth" in given else range(axes["depth"], 0, -DEPTH_STEP)
    for depth in depths:
        batch = int((capacity - depth * state) // (depth * sample))
        if batch >= 1:
            return {**grid, "depth": depth, "batch": batch}
    raise CaseError(
        f"a device with {units.format_bytes(capacity)} for programs: is too small for a transformer of width "
        f"{axes['width']} and sequence {axes['sequence']}: give smaller ones"
    )


def _bytes_per_layer(axes: Mapping[str, Any]) -> tuple[float, float]:
    """Return what a layer needs of memory: for its state, and for each sequence of the batch."""
    width, sequence = axes["width"], axes["sequence"]
    state = 12 * width**2 * DTYPES[axes["dtype"]] * COPIES
    saved = SAVED + SAVED_PER_SCORE * axes["heads"] * sequence / width
    return state, sequence * width * saved * DTYPES[axes["dtype"]] / DTYPES["bfloat16"]


def find_capacity(preset: str, platform: str, target: str) -> float:
    """Return the bytes that one program may use on a target.

    Args:
        preset: Name of the preset, for errors.
        platform: The platform of its devices, `gpu` or `tpu`.
        target: An AOT target, or the local one, whose memory a worker reports.

    Raises:
        CaseError: The target is of another platform, or its memory is not known.
    """
    other = "tpu:v5e" if platform == "tpu" else "gpu:h100"
    if target != LOCAL:
        description = load_description(target)
        if description.platform != platform:
            raise CaseError(f"preset {preset!r}: is for a {platform}, and target {target!r} is none: try {other}")
        return description.capacity_bytes
    environment = load_executor("local").probe()
    if environment.get("platform") != platform:
        extra = "tpu" if platform == "tpu" else "cuda13"
        found = f"JAX finds a {environment['platform']}" if environment else "JAX finds no device"
        raise CaseError(
            f"preset {preset!r}: needs a {platform}, and {found} here: pip install 'artifex-bench[{extra}]', or "
            f"compile for one with --target {other}"
        )
    if (memory := environment.get("device_memory_bytes")) is None:
        raise CaseError(f"preset {preset!r}: the device does not report its memory: choose another preset")
    return float(memory)
