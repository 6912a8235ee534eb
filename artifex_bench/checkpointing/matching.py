"""A template held against what was saved, and what it asks Orbax to restore."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax
import numpy as np
import orbax.checkpoint as ocp

from artifex_bench.checkpointing import leaves
from artifex_bench.checkpointing.errors import TemplateMismatchError
from artifex_bench.checkpointing.leaves import Leaf


def compare(
    step: int,
    item: str,
    saved: Mapping[str, tuple[str, str, tuple[int, ...], str]],
    wanted: Sequence[Leaf],
    partial: bool,
) -> None:
    """Raise TemplateMismatchError at the first path where the template is not what was saved.

    `saved` maps a leaf's name to its (path, kind, shape, dtype).
    """

    def mismatch(path: str, expected: str, found: str) -> TemplateMismatchError:
        where = f"{item}/{path}".rstrip("/")
        return TemplateMismatchError(
            f"step {step}: {where}: the template expects {expected}, the checkpoint has {found}: "
            "load with a template built as the saved one was",
            path=where,
            expected=expected,
            found=found,
        )

    for leaf in wanted:
        if leaf.name not in saved:
            raise mismatch(leaf.path, leaf.describe(), "nothing there")
        path, kind, shape, dtype = saved[leaf.name]
        if not leaves.same_leaf(kind, shape, dtype, leaf):
            raise mismatch(path, leaf.describe(), leaves.describe(kind, shape, dtype))
    left_over = set(saved) - {leaf.name for leaf in wanted}
    for name, (path, kind, shape, dtype) in saved.items():
        if name in left_over and not partial:
            raise mismatch(path, "nothing there", leaves.describe(kind, shape, dtype))


def restore_args(leaf: Leaf | None) -> ocp.RestoreArgs:
    """How Orbax is to restore a leaf: as the template has it, or to numpy without one."""
    value = None if leaf is None else leaf.value
    if not isinstance(value, (jax.Array, jax.ShapeDtypeStruct)):
        return ocp.RestoreArgs(restore_type=np.ndarray)
    sharding = value.sharding or jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return ocp.ArrayRestoreArgs(
        restore_type=jax.Array, sharding=sharding, global_shape=tuple(value.shape), dtype=value.dtype
    )
