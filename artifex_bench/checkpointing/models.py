"""Models and optimizers: the seed's functions, on top of the trees.

A model is saved as the item "model", an optimizer as "optimizer", each as the pure dict of its nnx state (parameters,
batch statistics, PRNG streams). Loading never changes the template: it gives a new model, which is only made once
everything is verified. A template may be abstract (`nnx.eval_shape`), so that no second copy is in memory.
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


def pure_state(node: Any) -> dict[Any, Any]:
    """The nnx state of a model, an optimizer or an nnx.Rngs as nested dicts of arrays.

    Raises UnsupportedLeafError for anything without such a state: None, a number, an array.
    """
    if node is None or isinstance(node, (int, float, complex, str, bytes, jax.Array, np.ndarray, np.generic)):
        raise UnsupportedLeafError(
            f"a {type(node).__name__} has no nnx state: give an nnx model; a tree is for save_tree"
        )
    pure: dict[Any, Any] = nnx.to_pure_dict(nnx.state(node))
    return pure


def with_state(template: M, pure: Mapping[Any, Any]) -> M:
    """A new object like the template, with the arrays of `pure`; the template keeps its own."""
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
    """Save a model as a step. See `save_items` for `metrics`, `keep` and the errors raised."""
    return save_items(manager, step, {MODEL: pure_state(model)}, metrics=metrics, keep=keep)


def load_checkpoint(
    manager: CheckpointManager, target_model_template: M, step: int | None = None, *, verify: bool = True
) -> tuple[M, int] | tuple[None, None]:
    """(model, step) of a step, the latest by default; (None, None) where there is no checkpoint.

    The model is new; its arrays lie where the template's lie. See `load_items` for the errors raised.
    """
    loaded = load_items(manager, {MODEL: pure_state(target_model_template)}, step, verify=verify)
    if loaded is None:
        return None, None
    return with_state(target_model_template, loaded.items[MODEL]), loaded.step


def save_checkpoint_with_optimizer(
    manager: CheckpointManager,
    model: Any,
    optimizer: Any,
    step: int,
    *,
    metrics: Mapping[str, float] | None = None,
    keep: bool = False,
) -> CheckpointManager:
    """Save a model and its optimizer as one step. See `save_items`."""
    items = {MODEL: pure_state(model), OPTIMIZER: pure_state(optimizer)}
    return save_items(manager, step, items, metrics=metrics, keep=keep)


def load_checkpoint_with_optimizer(
    manager: CheckpointManager,
    model_template: M,
    optimizer_template: O,
    step: int | None = None,
    *,
    verify: bool = True,
) -> tuple[M, O, int] | tuple[None, None, None]:
    """(model, optimizer, step) of a step, the latest by default; three None where there is no checkpoint.

    Both are new objects. See `load_items` for the errors raised.
    """
    templates = {MODEL: pure_state(model_template), OPTIMIZER: pure_state(optimizer_template)}
    loaded = load_items(manager, templates, step, verify=verify)
    if loaded is None:
        return None, None, None
    model = with_state(model_template, loaded.items[MODEL])
    return model, with_state(optimizer_template, loaded.items[OPTIMIZER]), loaded.step
