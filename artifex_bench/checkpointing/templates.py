"""Templates: check them against the saved leaves, and derive what Orbax has to restore."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax
import numpy as np
import orbax.checkpoint as ocp

from artifex_bench.checkpointing.containers import classify_container
from artifex_bench.checkpointing.digests import Entry
from artifex_bench.checkpointing.errors import TemplateMismatchError
from artifex_bench.checkpointing.tree_leaves import Leaf

NOTHING = "nothing there"  # in a mismatch: the template or the checkpoint lacks the leaf


def check_template(
    step: int,
    item: str,
    saved: Mapping[str, Entry],
    wanted: Sequence[Leaf],
    partial: bool,
) -> None:
    """Check that a template fits the saved leaves. Its shardings must be able to divide the arrays.

    Args:
        step: The step's number, for messages.
        item: The item's name, for messages.
        saved: The saved leaves by name.
        wanted: The template's leaves.
        partial: Let the template leave out saved leaves.

    Raises:
        TemplateMismatchError: At the first path that differs.
    """

    def mismatch(path: str, expected: str, found: str) -> TemplateMismatchError:
        where = f"{item}/{path}".rstrip("/")
        return TemplateMismatchError(
            f"step {step}: {where}: the template expects {expected}, but the checkpoint has {found}: "
            "load with a template that is built like the saved tree",
            path=where,
            expected=expected,
            found=found,
        )

    for leaf in wanted:
        entry = saved.get(leaf.name)
        if entry is None:
            raise mismatch(leaf.path, leaf.describe(), NOTHING)
        for level, (wanted_type, saved_type) in enumerate(zip(leaf.containers, entry.containers, strict=False)):
            if wanted_type != saved_type:
                raise mismatch("/".join(leaf.name.split(".")[:level]), wanted_type, saved_type)
        if not _is_same_leaf(entry, leaf):
            raise mismatch(entry.path, leaf.describe(), entry.describe())
        if (why := _explain_unfit_sharding(leaf)) is not None:
            expected = f"{leaf.describe()} with a sharding that does not fit ({why})"
            raise mismatch(entry.path, expected, entry.describe())
    left_over = set(saved) - {leaf.name for leaf in wanted}
    for name, entry in saved.items():
        if name in left_over and not partial:
            raise mismatch(entry.path, NOTHING, entry.describe())


def _is_same_leaf(entry: Entry, leaf: Leaf) -> bool:
    """Check whether a saved leaf fits the template's leaf."""
    saved, wanted = (kind.partition(":")[0].replace("bigint", "int") for kind in (entry.kind, leaf.kind))
    if saved != wanted:
        return False
    if saved == "empty":
        return classify_container(entry.kind[6:]) == classify_container(leaf.kind[6:])
    if saved in ("str", "bytes", "int"):
        return True  # their stored size depends on the value
    return entry.shape == leaf.shape and entry.dtype == leaf.dtype


def _explain_unfit_sharding(leaf: Leaf) -> str | None:
    """Say why a leaf's sharding cannot divide its shape, or return None if it can."""
    sharding = getattr(leaf.value, "sharding", None)
    try:
        if sharding is not None:
            sharding.shard_shape(leaf.shape)
    except ValueError as error:
        return str(error).strip().splitlines()[0]
    return None


def make_restore_args(leaf: Leaf | None) -> ocp.RestoreArgs:
    """Make Orbax's arguments to restore a leaf.

    Args:
        leaf: The template's leaf, or None without a template.

    Returns:
        Arguments for a jax.Array with the leaf's sharding (the first local device without one), or for a numpy array.
    """
    value = None if leaf is None else leaf.value
    if not isinstance(value, (jax.Array, jax.ShapeDtypeStruct)):
        return ocp.RestoreArgs(restore_type=np.ndarray)
    sharding = value.sharding or jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return ocp.ArrayRestoreArgs(
        restore_type=jax.Array, sharding=sharding, global_shape=tuple(value.shape), dtype=value.dtype
    )
