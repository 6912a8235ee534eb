"""Checkpoints that plain Orbax wrote: found, matched to a template, and loaded as they are (nothing verifies them)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from artifex_bench.checkpointing import leaves
from artifex_bench.checkpointing.errors import CheckpointNotFoundError
from artifex_bench.checkpointing.marks import TREE_METADATA
from artifex_bench.checkpointing.matching import compare, restore_args

_DEFAULT = "default"  # Orbax's name for the only item of a step saved without a name


def item_directory(step_directory: Path, step: int, item: str) -> Path:
    """Where plain Orbax put the tree: the item of that name, the unnamed item, or the only one there is.

    Raises CheckpointNotFoundError where none of them is there.
    """
    found = sorted(f.parent for f in step_directory.glob(f"*/{TREE_METADATA}"))
    named = {folder.name: folder for folder in found}
    for name in (item, _DEFAULT):
        if name in named:
            return named[name]
    if len(found) == 1:
        return found[0]
    raise CheckpointNotFoundError(
        f"step {step} in {step_directory} has no {item!r}: it has {', '.join(named) or 'no tree of arrays'}"
    )


def load(step_directory: Path, step: int, item: str, template: Any, partial: bool) -> Any:
    """One tree of a plain Orbax step, in the template's structure; nested dicts of numpy arrays without a template.

    A flax State saved as it is stores each Variable as {"value": array}: it loads as the pure dict of the same state.
    Raises CheckpointNotFoundError and TemplateMismatchError.
    """
    folder = item_directory(step_directory, step, item)
    handler = ocp.PyTreeCheckpointHandler()
    checkpointer = ocp.Checkpointer(handler)
    try:
        metadata = _by_name(checkpointer.metadata(folder).item_metadata.tree)
        if template is None:
            arrays = {n: ocp.RestoreArgs(restore_type=np.ndarray) for n, m in metadata.items() if _is_array(m)}
            restored = _restore(checkpointer, folder, arrays)
            return leaves.nested(list(restored.items()))
        wanted, treedef = leaves.flatten(template)
        names = {leaf.name: _stored_name(leaf.name, metadata) for leaf in wanted}
        back = {stored: name for name, stored in names.items()}
        saved = {back.get(name, name): _described(name, m) for name, m in metadata.items() if _is_array(m)}
        # Empty containers and arrays without elements are not stored by Orbax: the template's are taken.
        stored = [leaf for leaf in wanted if leaf.stored]
        compare(step, item, saved, [_as_array(leaf) for leaf in stored], partial)
        restored = _restore(checkpointer, folder, {names[leaf.name]: restore_args(leaf) for leaf in stored})
        originals = jax.tree_util.tree_leaves(template, is_leaf=leaves.is_empty)
        values = [
            leaves.decode(leaf.kind, restored[names[leaf.name]], like) if leaf.stored else like
            for leaf, like in zip(wanted, originals, strict=True)
        ]
        return jax.tree_util.tree_unflatten(treedef, values)
    finally:
        checkpointer.close()


def _restore(checkpointer: ocp.Checkpointer, folder: Path, args: Mapping[str, ocp.RestoreArgs]) -> dict[str, Any]:
    if not args:
        return {}
    restored = checkpointer.restore(
        folder,
        args=ocp.args.PyTreeRestore(
            item=leaves.nested([(name, 0) for name in args]),
            restore_args=leaves.nested(list(args.items())),
            partial_restore=True,
        ),
    )
    return leaves.flat(restored)


def _by_name(tree: Any) -> dict[str, Any]:
    entries, _ = jax.tree_util.tree_flatten_with_path(tree, is_leaf=lambda x: hasattr(x, "shape"))
    return {".".join(str(getattr(e, "key", getattr(e, "idx", e))) for e in path): value for path, value in entries}


def _is_array(metadata: Any) -> bool:
    return getattr(metadata, "dtype", None) is not None


def _described(name: str, metadata: Any) -> tuple[str, str, tuple[int, ...], str]:
    return (
        name.replace(".", "/"),
        "array",
        tuple(getattr(metadata, "shape", ())),
        np.dtype(metadata.dtype).name,
    )


def _stored_name(name: str, metadata: Mapping[str, Any]) -> str:
    return next((n for n in (name, f"{name}.value") if n in metadata), name)


def _as_array(leaf: leaves.Leaf) -> leaves.Leaf:
    return leaves.Leaf(leaf.path, leaf.name, "array", leaf.value)
