"""Does a saved model still answer as the one in memory does?"""

from __future__ import annotations

import logging
import math
from typing import Any

import jax
import numpy as np
from flax import nnx

from artifex_bench.checkpointing.errors import CorruptCheckpointError
from artifex_bench.checkpointing.manager import CheckpointManager
from artifex_bench.checkpointing.models import load_checkpoint

log = logging.getLogger(__name__)


def validate_checkpoint(
    manager: CheckpointManager, model: Any, step: int, validation_data: Any, tolerance: float = 1e-5
) -> bool:
    """True where the step loads, verifies, and gives the model's outputs on `validation_data` within `tolerance`.

    Both models are copies in evaluation mode (dropout off), called as `model(validation_data)`; outputs may be any tree
    of arrays, compared by the largest absolute difference; a NaN on one side only is a difference. False, with the
    reason logged, for a damaged checkpoint or differing outputs.
    Raises ValueError for a negative tolerance, and what `load_checkpoint` raises for a step that is not there or a
    model that is built otherwise.
    """
    if not isinstance(tolerance, (int, float, np.number)) or not tolerance >= 0:
        raise ValueError(f"tolerance {tolerance!r}: must be 0 or more")
    try:
        restored, _ = load_checkpoint(manager, model, step)
    except CorruptCheckpointError as error:
        log.warning("%s", error)
        return False
    ours, theirs = (_outputs(m, validation_data) for m in (model, restored))
    (ours_flat, ours_tree), (theirs_flat, theirs_tree) = map(jax.tree_util.tree_flatten, (ours, theirs))
    if str(ours_tree) != str(theirs_tree):
        log.warning("step %d: the restored model's outputs have another structure", step)
        return False
    pairs = zip(ours_flat, theirs_flat, strict=True)
    worst = max((_difference(a, b) for a, b in pairs), default=0.0)
    if worst > tolerance:
        log.warning("step %d: outputs differ by %g, more than the tolerance %g", step, worst, tolerance)
        return False
    return True


def _outputs(model: Any, data: Any) -> Any:
    copy = nnx.clone(model)  # calling a model advances its PRNG streams: the caller's stay as they are
    if isinstance(copy, nnx.Module):
        copy.eval()
    return copy(data)


def _difference(a: Any, b: Any) -> float:
    x, y = np.asarray(a), np.asarray(b)
    if x.shape != y.shape:
        return math.inf
    if not x.size or np.array_equal(x, y):
        return 0.0
    wide = np.complex128 if np.iscomplexobj(x) else np.float64
    x, y = x.astype(wide), y.astype(wide)
    same = (x == y) | (np.isnan(x) & np.isnan(y))  # equal infinities differ by NaN
    gap = np.where(same, 0.0, np.abs(np.where(same, 0, x) - np.where(same, 0, y)))
    return math.inf if np.isnan(gap).any() else float(gap.max())
