"""Checkpoints of sharded models: each device's shard is a file, and any mesh, device or numpy can load it."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding

from artifex_bench.checkpointing.manager import CheckpointManager
from artifex_bench.checkpointing.nnx_models import MODEL, copy_with_state, extract_pure_state
from artifex_bench.checkpointing.trees import load_items, save_items

M = TypeVar("M")

SHARDS = "shards"  # the axis of a mesh made here


def shard_mesh(num_shards: int | None = None, devices: Sequence[Any] | None = None) -> Mesh:
    """Make a mesh with one axis.

    Args:
        num_shards: Number of devices. None takes all.
        devices: The devices to take from. None takes `jax.devices()`.

    Returns:
        The mesh, whose axis is named "shards".

    Raises:
        ValueError: If there are fewer devices.
    """
    available = list(jax.devices() if devices is None else devices)
    try:
        count = len(available) if num_shards is None else operator.index(num_shards)
    except TypeError:
        count = 0
    if isinstance(num_shards, bool) or not 1 <= count <= len(available):
        raise ValueError(
            f"num_shards {num_shards!r}: must be a whole number from 1 to {len(available)}, the number of devices"
        )
    return Mesh(np.array(available[:count]), (SHARDS,))


def choose_even_sharding(mesh: Mesh, shape: Sequence[int]) -> NamedSharding:
    """Choose a sharding that splits an array evenly over a mesh.

    Args:
        mesh: The mesh.
        shape: The global shape of the array.

    Returns:
        A sharding of the longest axis that the number of devices divides, or a replicated one if no axis fits.
    """
    axes = [axis for axis, size in enumerate(shape) if size >= mesh.size and size % mesh.size == 0]
    if not axes:
        return NamedSharding(mesh, PartitionSpec())
    longest = max(axes, key=lambda axis: shape[axis])
    spec = [None] * longest + [tuple(mesh.axis_names)]
    return NamedSharding(mesh, PartitionSpec(*spec))


def shard_tree(tree: Any, mesh: Mesh) -> Any:
    """Lay a tree's arrays out over a mesh, each by `choose_even_sharding`. PRNG keys are replicated.

    Args:
        tree: Any tree.
        mesh: The mesh.

    Returns:
        A new tree. Leaves that are not numeric arrays or keys stay as they are.
    """

    def place(leaf: Any) -> Any:
        if isinstance(leaf, (jax.Array, np.ndarray)) and _is_numeric(leaf):
            return jax.device_put(leaf, choose_even_sharding(mesh, leaf.shape))
        return jax.device_put(leaf, NamedSharding(mesh, PartitionSpec())) if _is_key(leaf) else leaf

    return jax.tree_util.tree_map(place, tree)


def save_sharded_checkpoint(
    manager: CheckpointManager,
    model: Any,
    step: int,
    num_shards: int | None = None,
    *,
    mesh: Mesh | None = None,
    metrics: Mapping[str, float] | None = None,
    keep: bool = False,
) -> CheckpointManager:
    """Save a model in shards, each a file of its own, written in parallel. The model itself is not moved.

    Args:
        manager: The manager of the directory.
        model: An nnx model.
        step: The step's number, newer than all committed steps.
        num_shards: Lay the arrays out over this many devices first.
        mesh: Lay the arrays out over this mesh first. Without `mesh` and `num_shards` they are saved as they lie.
        metrics: Numbers to store with the step.
        keep: Pin the step, so that no Retention deletes it.

    Returns:
        The manager.

    Raises:
        ValueError: If there are fewer devices than shards, and as `save_items`.
        CheckpointError: As `save_items`.
    """
    pure = extract_pure_state(model)
    if mesh is not None or num_shards is not None:
        pure = shard_tree(pure, mesh if mesh is not None else shard_mesh(num_shards))
    return save_items(manager, step, {MODEL: pure}, metrics=metrics, keep=keep)


def load_sharded_checkpoint(
    manager: CheckpointManager,
    model_template: M,
    step: int | None = None,
    *,
    onto: Mesh | Sharding | Any | None = None,
    verify: bool = True,
) -> tuple[M, int] | tuple[None, None]:
    """Load a model onto any mesh, sharding or device, whatever it was saved with.

    Args:
        manager: The manager of the directory.
        model_template: A model with the saved structure, which may be abstract. It is not changed.
        step: The step's number, or None for the latest.
        onto: A Mesh (each array by `choose_even_sharding`), a Sharding for all arrays, a device, or None for the
            template's shardings.
        verify: Verify every array against its digest.

    Returns:
        (new model, step), or (None, None) if the directory has no steps.

    Raises:
        ValueError: If `onto` is of another type.
        TemplateMismatchError: If the template or the sharding does not fit.
        CheckpointError: As `load_items`.
    """
    if onto is not None and not isinstance(onto, (Mesh, Sharding, jax.Device)):
        raise ValueError(f"onto {onto!r}: must be a Mesh, a Sharding, a device or None")
    pure = extract_pure_state(model_template)
    template = pure if onto is None else jax.tree_util.tree_map(lambda leaf: _make_target_leaf(leaf, onto), pure)
    loaded = load_items(manager, {MODEL: template}, step, verify=verify)
    if loaded is None:
        return None, None
    return copy_with_state(model_template, loaded.items[MODEL]), loaded.step


def load_numpy(
    manager: CheckpointManager,
    step: int | None = None,
    *,
    item: str = MODEL,
    only: Any | None = None,
    verify: bool = True,
) -> tuple[Any, int] | tuple[None, None]:
    """Load an item, or a part of it, as numpy arrays, whatever devices it was saved from.

    Args:
        manager: The manager of the directory.
        step: The step's number, or None for the latest.
        item: The item's name.
        only: A template of the part to load. The rest is not read, and may be damaged. None loads everything.
        verify: Verify every array against its digest.

    Returns:
        (tree, step), or (None, None) if the directory has no steps. Without `only` the tree is nested dicts.

    Raises:
        CheckpointError: As `load_items`.
        ValueError: If the step is not a whole number.
    """
    loaded = load_items(manager, {item: only}, step, partial=only is not None, verify=verify)
    return (None, None) if loaded is None else (loaded.items[item], loaded.step)


def _make_target_leaf(leaf: Any, onto: Any) -> Any:
    """Make the template of an array that is to be laid out onto a mesh, a sharding or a device."""
    if not isinstance(leaf, (jax.Array, jax.ShapeDtypeStruct)):
        return leaf
    sharding: Sharding
    if isinstance(onto, Mesh):
        sharding = NamedSharding(onto, PartitionSpec()) if _is_key(leaf) else choose_even_sharding(onto, leaf.shape)
    else:
        sharding = onto if isinstance(onto, Sharding) else SingleDeviceSharding(onto)
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def _is_numeric(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, np.number) or leaf.dtype == bool


def _is_key(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
