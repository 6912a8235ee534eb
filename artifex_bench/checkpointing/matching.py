"""A template compared with what was saved, and what it asks Orbax to restore."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax
import numpy as np
import orbax.checkpoint as ocp

from artifex_bench.checkpointing import leaves
from artifex_bench.checkpointing.digests import Entry
from artifex_bench.checkpointing.errors import TemplateMismatchError
from artifex_bench.checkpointing.leaves import Leaf


def compare(
    step: int,
    item: str,
    saved: Mapping[str, Entry],
    wanted: Sequence[Leaf],
    partial: bool,
) -> None:
    """Raise TemplateMismatchError at the first path where the template is not what was saved.

    `saved` maps a leaf's name to what was saved. A sharding that cannot divide the array is a mismatch as well.
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
        entry = saved.get(leaf.name)
        if entry is None:
            raise mismatch(leaf.path, leaf.describe(), "nothing there")
        for level, (ours, theirs) in enumerate(zip(leaf.containers, entry.containers, strict=False)):
            if ours != theirs:
                raise mismatch("/".join(leaf.name.split(".")[:level]), ours, theirs)
        if not leaves.same_leaf(entry.kind, entry.shape, entry.dtype, leaf):
            raise mismatch(entry.path, leaf.describe(), describe(entry))
        if (why := _unfit_sharding(leaf)) is not None:
            raise mismatch(entry.path, f"{leaf.describe()} with a sharding that does not fit ({why})", describe(entry))
    left_over = set(saved) - {leaf.name for leaf in wanted}
    for name, entry in saved.items():
        if name in left_over and not partial:
            raise mismatch(entry.path, "nothing there", describe(entry))


def describe(entry: Entry) -> str:
    """What was saved, in words. See `leaves.describe`."""
    return leaves.describe(entry.kind, entry.shape, entry.dtype)


def _unfit_sharding(leaf: Leaf) -> str | None:
    sharding = getattr(leaf.value, "sharding", None)
    try:
        if sharding is not None:
            sharding.shard_shape(leaf.shape)
    except ValueError as error:
        return str(error).strip().splitlines()[0]
    return None


def restore_args(leaf: Leaf | None) -> ocp.RestoreArgs:
    """How Orbax is to restore a leaf: as the template has it, or to numpy without one."""
    value = None if leaf is None else leaf.value
    if not isinstance(value, (jax.Array, jax.ShapeDtypeStruct)):
        return ocp.RestoreArgs(restore_type=np.ndarray)
    sharding = value.sharding or jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return ocp.ArrayRestoreArgs(
        restore_type=jax.Array, sharding=sharding, global_shape=tuple(value.shape), dtype=value.dtype
    )
