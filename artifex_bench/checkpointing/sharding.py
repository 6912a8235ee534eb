"""Sharded models: saved by every device that holds a part, loaded onto another mesh, one device, or numpy."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding

from artifex_bench.checkpointing.manager import CheckpointManager
from artifex_bench.checkpointing.models import MODEL, pure_state, with_state
from artifex_bench.checkpointing.trees import load_items, save_items

M = TypeVar("M")

SHARDS = "shards"  # the axis of a mesh made here


def shard_mesh(num_shards: int | None = None, devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh of one axis over the first `num_shards` devices (all by default).

    Raises ValueError where there are fewer devices.
    """
    have = list(jax.devices() if devices is None else devices)
    try:
        count = len(have) if num_shards is None else operator.index(num_shards)
    except TypeError:
        count = 0
    if isinstance(num_shards, bool) or not 1 <= count <= len(have):
        raise ValueError(f"num_shards {num_shards!r}: there are {len(have)} devices; give 1 to {len(have)}")
    return Mesh(np.array(have[:count]), (SHARDS,))


def even_sharding(mesh: Mesh, shape: Sequence[int]) -> NamedSharding:
    """The array split along its longest axis that the mesh's devices divide, over all of them; else replicated."""
    axes = [axis for axis, size in enumerate(shape) if size >= mesh.size and size % mesh.size == 0]
    if not axes:
        return NamedSharding(mesh, PartitionSpec())
    longest = max(axes, key=lambda axis: shape[axis])
    spec = [None] * longest + [tuple(mesh.axis_names)]
    return NamedSharding(mesh, PartitionSpec(*spec))


def shard_tree(tree: Any, mesh: Mesh) -> Any:
    """The tree with each array laid out over the mesh by `even_sharding`."""

    def place(leaf: Any) -> Any:
        if isinstance(leaf, (jax.Array, np.ndarray)) and _is_numeric(leaf):
            return jax.device_put(leaf, even_sharding(mesh, leaf.shape))
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
    """Save a model in shards, each a file of its own, written in parallel.

    With `mesh` (or `num_shards` devices) the arrays are first laid out over it; without either they are saved as they
    lie. The model itself is not moved. Raises ValueError for more shards than devices, and what `save_items` raises.
    """
    pure = pure_state(model)
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
    """(model, step) of a step, laid out anew; (None, None) where there is no checkpoint.

    `onto` is a Mesh (each array by `even_sharding`), a Sharding for all arrays, or a device; None lays each array out
    as the template's is. How it was saved does not matter. Raises ValueError for any other `onto`, or one that does not
    fit an array, and what `load_items` raises.
    """
    if onto is not None and not isinstance(onto, (Mesh, Sharding, jax.Device)):
        raise ValueError(f"onto {onto!r}: must be a Mesh, a Sharding, a device or None")
    pure = pure_state(model_template)
    template = pure if onto is None else jax.tree_util.tree_map(lambda leaf: _abstract(leaf, onto), pure)
    loaded = load_items(manager, {MODEL: template}, step, verify=verify)
    if loaded is None:
        return None, None
    return with_state(model_template, loaded.items[MODEL]), loaded.step


def load_numpy(
    manager: CheckpointManager,
    step: int | None = None,
    *,
    item: str = MODEL,
    only: Any | None = None,
    verify: bool = True,
) -> tuple[Any, int] | tuple[None, None]:
    """(tree of numpy arrays, step) of an item as nested dicts keyed by name, whatever devices it was saved from.

    `only` is a template of the part that is wanted: the rest is neither read nor needed.
    """
    loaded = load_items(manager, {item: only}, step, partial=only is not None, verify=verify)
    return (None, None) if loaded is None else (loaded.items[item], loaded.step)


def _abstract(leaf: Any, onto: Any) -> Any:
    if not isinstance(leaf, (jax.Array, jax.ShapeDtypeStruct)):
        return leaf
    if isinstance(onto, Mesh):
        replicated = NamedSharding(onto, PartitionSpec())
        return _with(leaf, replicated if _is_key(leaf) else even_sharding(onto, leaf.shape))
    return _with(leaf, onto if isinstance(onto, Sharding) else SingleDeviceSharding(onto))


def _with(leaf: Any, sharding: Sharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def _is_numeric(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, np.number) or leaf.dtype == bool


def _is_key(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
