"""Validation of a checkpoint by the outputs of the restored model."""

from __future__ import annotations

import logging
import math
from typing import Any

import jax
import numpy as np
from flax import nnx

from artifex_bench.checkpointing.errors import CorruptCheckpointError
from artifex_bench.checkpointing.manager import CheckpointManager
from artifex_bench.checkpointing.nnx_models import load_checkpoint

log = logging.getLogger(__name__)


def validate_checkpoint(
    manager: CheckpointManager, model: Any, step: int, validation_data: Any, tolerance: float = 1e-5
) -> bool:
    """Check that a step loads, verifies, and computes the same outputs as a model.

    Copies of both models run in evaluation mode (without dropout), as `model(validation_data)`. Outputs are compared by
    the largest absolute difference. A NaN on one side only is a difference. The reason for False is logged as a
    warning.

    Args:
        manager: The manager of the directory.
        model: The model to compare with. It is not changed.
        step: The step's number.
        validation_data: The models' input.
        tolerance: Largest absolute difference that counts as equal.

    Returns:
        True if the outputs agree, False if they differ or the step is damaged.

    Raises:
        ValueError: If the tolerance is not a number of 0 or more.
        CheckpointError: As `load_checkpoint`, unless the step is damaged.
    """
    if not isinstance(tolerance, (int, float, np.number)) or not tolerance >= 0:
        raise ValueError(f"tolerance {tolerance!r}: must be 0 or more")
    try:
        restored, _ = load_checkpoint(manager, model, step)
    except CorruptCheckpointError as error:
        log.warning("%s", error)
        return False
    outputs = (_compute_outputs(m, validation_data) for m in (model, restored))
    (expected, expected_tree), (found, found_tree) = map(jax.tree_util.tree_flatten, outputs)
    if str(expected_tree) != str(found_tree):
        log.warning("step %d: the outputs of the restored model have another structure", step)
        return False
    differences = (_compute_difference(a, b) for a, b in zip(expected, found, strict=True))
    worst = max(differences, default=0.0)
    if worst > tolerance:
        log.warning("step %d: the outputs differ by %g, more than the tolerance %g", step, worst, tolerance)
        return False
    return True


def _compute_outputs(model: Any, data: Any) -> Any:
    """Call a copy of the model in evaluation mode."""
    copy = nnx.clone(model)  # a call advances the model's PRNG streams, and the caller's must stay as they are
    if isinstance(copy, nnx.Module):
        copy.eval()
    return copy(data)


def _compute_difference(a: Any, b: Any) -> float:
    """Compute the largest absolute difference of two arrays, infinity for other shapes or a NaN on one side."""
    x, y = np.asarray(a), np.asarray(b)
    if x.shape != y.shape:
        return math.inf
    if not x.size or np.array_equal(x, y):
        return 0.0
    wide = np.complex128 if np.iscomplexobj(x) else np.float64
    x, y = x.astype(wide), y.astype(wide)
    same = (x == y) | (np.isnan(x) & np.isnan(y))  # the difference of equal infinities would be NaN
    gap = np.where(same, 0.0, np.abs(np.where(same, 0, x) - np.where(same, 0, y)))
    return math.inf if np.isnan(gap).any() else float(gap.max())
