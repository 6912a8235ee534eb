"""Checkpoints of Flax nnx models and optimizers, with the function names of Artifex.

A model is saved as the item "model" and an optimizer as the item "optimizer", each as the pure dict of its nnx state
(parameters, batch statistics, PRNG streams). Loading makes a new model once everything is verified, and never changes
the template. A template may be abstract (`nnx.eval_shape`), which needs no memory for arrays.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import jax
import numpy as np
from flax import nnx

from artifex_bench.checkpointing.errors import UnsupportedLeafError
from artifex_bench.checkpointing.manager import CheckpointManager
from artifex_bench.checkpointing.trees import load_items, save_items

MODEL, OPTIMIZER = "model", "optimizer"

M = TypeVar("M")
O = TypeVar("O")  # noqa: E741


def extract_pure_state(node: Any) -> dict[Any, Any]:
    """Extract the nnx state of an object as nested dicts.

    Args:
        node: A model, an optimizer or an nnx.Rngs.

    Returns:
        Nested dicts of arrays.

    Raises:
        UnsupportedLeafError: If the object has no nnx state, such as None, a number or an array.
    """
    if node is None or isinstance(node, (int, float, complex, str, bytes, jax.Array, np.ndarray, np.generic)):
        raise UnsupportedLeafError(
            f"a {type(node).__name__} has no nnx state: pass an nnx model, or save a tree with save_tree"
        )
    pure: dict[Any, Any] = nnx.to_pure_dict(nnx.state(node))
    return pure


def copy_with_state(template: M, pure: Mapping[Any, Any]) -> M:
    """Copy an object with other arrays. The template keeps its own.

    Args:
        template: A model, an optimizer or an nnx.Rngs, which may be abstract.
        pure: The arrays, as `extract_pure_state` returns them.

    Returns:
        A new object of the template's type.
    """
    graphdef, state = nnx.split(template)
    fresh = jax.tree_util.tree_map(lambda leaf: leaf, state)
    nnx.replace_by_pure_dict(fresh, dict(pure))
    merged: M = nnx.merge(graphdef, fresh)
    return merged


def save_checkpoint(
    manager: CheckpointManager,
    model: Any,
    step: int,
    *,
    metrics: Mapping[str, float] | None = None,
    keep: bool = False,
) -> CheckpointManager:
    """Save a model as a step.

    Args:
        manager: The manager of the directory.
        model: An nnx model.
        step: The step's number, newer than all committed steps.
        metrics: Numbers to store with the step.
        keep: Pin the step, so that no Retention deletes it.

    Returns:
        The manager.

    Raises:
        UnsupportedLeafError: If the model has no nnx state, or a leaf that cannot be saved.
        CheckpointError: As `save_items`.
        ValueError: As `save_items`.
    """
    return save_items(manager, step, {MODEL: extract_pure_state(model)}, metrics=metrics, keep=keep)


def load_checkpoint(
    manager: CheckpointManager, target_model_template: M, step: int | None = None, *, verify: bool = True
) -> tuple[M, int] | tuple[None, None]:
    """Load a model.

    Args:
        manager: The manager of the directory.
        target_model_template: A model with the saved structure, which may be abstract. It is not changed.
        step: The step's number, or None for the latest.
        verify: Verify every array against its digest.

    Returns:
        (new model, step), or (None, None) if the directory has no steps. The arrays have the template's shardings.

    Raises:
        CheckpointError: As `load_items`.
        ValueError: If the step is not a whole number.
    """
    loaded = load_items(manager, {MODEL: extract_pure_state(target_model_template)}, step, verify=verify)
    if loaded is None:
        return None, None
    return copy_with_state(target_model_template, loaded.items[MODEL]), loaded.step


def save_checkpoint_with_optimizer(
    manager: CheckpointManager,
    model: Any,
    optimizer: Any,
    step: int,
    *,
    metrics: Mapping[str, float] | None = None,
    keep: bool = False,
) -> CheckpointManager:
    """Save a model and its optimizer as one step.

    Args:
        manager: The manager of the directory.
        model: An nnx model.
        optimizer: Its nnx optimizer.
        step: The step's number, newer than all committed steps.
        metrics: Numbers to store with the step.
        keep: Pin the step, so that no Retention deletes it.

    Returns:
        The manager.

    Raises:
        UnsupportedLeafError: If the model or the optimizer has no nnx state, or a leaf that cannot be saved.
        CheckpointError: As `save_items`.
        ValueError: As `save_items`.
    """
    items = {MODEL: extract_pure_state(model), OPTIMIZER: extract_pure_state(optimizer)}
    return save_items(manager, step, items, metrics=metrics, keep=keep)


def load_checkpoint_with_optimizer(
    manager: CheckpointManager,
    model_template: M,
    optimizer_template: O,
    step: int | None = None,
    *,
    verify: bool = True,
) -> tuple[M, O, int] | tuple[None, None, None]:
    """Load a model and its optimizer.

    Args:
        manager: The manager of the directory.
        model_template: A model with the saved structure, which may be abstract. It is not changed.
        optimizer_template: Its optimizer. It is not changed.
        step: The step's number, or None for the latest.
        verify: Verify every array against its digest.

    Returns:
        (new model, new optimizer, step), or three None if the directory has no steps.

    Raises:
        CheckpointError: As `load_items`.
        ValueError: If the step is not a whole number.
    """
    templates = {MODEL: extract_pure_state(model_template), OPTIMIZER: extract_pure_state(optimizer_template)}
    loaded = load_items(manager, templates, step, verify=verify)
    if loaded is None:
        return None, None, None
    model = copy_with_state(model_template, loaded.items[MODEL])
    return model, copy_with_state(optimizer_template, loaded.items[OPTIMIZER]), loaded.step
