"""Checkpoints that plain Orbax wrote: found, matched to a template, and loaded as they are (nothing verifies them)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from artifex_bench.checkpointing import leaves
from artifex_bench.checkpointing.containers import container, containers, is_empty
from artifex_bench.checkpointing.digests import Entry
from artifex_bench.checkpointing.encoding import decode
from artifex_bench.checkpointing.errors import CheckpointNotFoundError
from artifex_bench.checkpointing.leaves import Leaf
from artifex_bench.checkpointing.marks import TREE_METADATA
from artifex_bench.checkpointing.matching import compare, restore_args
from artifex_bench.compat import finish_reads_of

_DEFAULT = "default"  # Orbax's name for the only item of a step saved without a name
_NUMPY = {"array": np.ndarray}
# (what the metadata says, what was saved)
_NOT_TOLD_APART = {("list", "tuple"), ("list", "node"), ("dict", "node")}


def item_directory(step_directory: Path, step: int, item: str, only: bool) -> Path:
    """Where plain Orbax put the tree: the item of that name; else, if it is the `only` one asked for and no item has
    that name, the unnamed item or the only one there is.

    Raises CheckpointNotFoundError where none of them is there.
    """
    found = sorted(f.parent for f in step_directory.glob(f"*/{TREE_METADATA}"))
    named = {folder.name: folder for folder in found}
    # An item of that name may hold no tree, but JSON.
    only = only and item not in {path.name for path in step_directory.iterdir()}
    for name in (item, _DEFAULT) if only else (item,):
        if name in named:
            return named[name]
    if only and len(found) == 1:
        return found[0]
    raise CheckpointNotFoundError(
        f"step {step} in {step_directory} has no {item!r}: it has {', '.join(named) or 'no tree of arrays'}"
    )


def load(step_directory: Path, step: int, item: str, template: Any, *, partial: bool, only: bool = True) -> Any:
    """One tree of a plain Orbax step, in the template's structure; nested dicts of numpy arrays without a template.

    A flax State saved as it is stores each Variable as {"value": array}: it loads as the pure dict of the same state.
    Orbax tells no tuple from a list and no NamedTuple from a dict: there the template decides.
    Raises CheckpointNotFoundError and TemplateMismatchError.
    """
    folder = item_directory(step_directory, step, item, only)
    with ocp.Checkpointer(finish_reads_of(ocp.PyTreeCheckpointHandler())) as checkpointer:
        tree = checkpointer.metadata(folder).item_metadata.tree
        saved = _entries(tree)
        if template is None:
            args = {n: ocp.RestoreArgs(restore_type=_NUMPY.get(e.kind)) for n, e in saved.items() if e.stored}
            restored = _restore(checkpointer, folder, tree, args)
            return leaves.nested([(n, restored[n] if e.stored else decode(e.kind, None)) for n, e in saved.items()])
        wanted, treedef = leaves.flatten(template)
        names = {leaf.name: _stored_name(leaf.name, saved) for leaf in wanted}
        # Arrays without elements, and the containers that Orbax did not store, are taken from the template.
        known = [leaf for leaf in wanted if leaf.stored or names[leaf.name] in saved]
        compare(step, item, _as_wanted(saved, known, names), [_as_stored(leaf) for leaf in known], partial)
        stored = [leaf for leaf in known if leaf.stored]
        args = {names[leaf.name]: ocp.RestoreArgs() if leaf.kind == "str" else restore_args(leaf) for leaf in stored}
        restored = _restore(checkpointer, folder, tree, args)
        originals = jax.tree_util.tree_leaves(template, is_leaf=is_empty)
        filled = [
            _decoded(leaf, restored[names[leaf.name]], like) if leaf.stored else like
            for leaf, like in zip(wanted, originals, strict=True)
        ]
        return jax.tree_util.tree_unflatten(treedef, filled)


def _entries(tree: Any) -> dict[str, Entry]:
    """What Orbax's metadata says of each leaf, by name. Its `stored` is False for empty containers."""
    rows, treedef = jax.tree_util.tree_flatten_with_path(tree, is_leaf=is_empty)
    entries = {}
    for (path, metadata), around in zip(rows, containers(treedef), strict=True):
        shown, name = leaves.path_name(path)
        if is_empty(metadata):
            described = (f"empty:{type(metadata).__name__}", (), "", False)
        elif getattr(metadata, "dtype", None) is None:  # text has neither a shape nor a dtype
            described = ("str", (), "", True)
        else:
            described = ("array", tuple(metadata.shape), np.dtype(metadata.dtype).name, True)
        entries[name] = Entry(shown, *described, containers=around)
    return entries


def _restore(
    checkpointer: ocp.Checkpointer, folder: Path, tree: Any, args: Mapping[str, ocp.RestoreArgs]
) -> dict[str, Any]:
    """The leaves named in `args`. Orbax wants both trees in the structure of its metadata, lists and all."""
    if not args:
        return {}

    def structure(value: Any) -> Any:
        def leaf(path: Any, metadata: Any) -> Any:
            return metadata if is_empty(metadata) else value(leaves.path_name(path)[1])

        return jax.tree_util.tree_map_with_path(leaf, tree, is_leaf=is_empty)

    restored = checkpointer.restore(
        folder,
        args=ocp.args.PyTreeRestore(
            item=structure(lambda name: 0 if name in args else ocp.PLACEHOLDER),
            restore_args=structure(lambda name: args.get(name, ocp.RestoreArgs())),
        ),
    )
    rows, _ = jax.tree_util.tree_flatten_with_path(restored, is_leaf=is_empty)
    return {leaves.path_name(path)[1]: value for path, value in rows}


def _stored_name(name: str, saved: Mapping[str, Entry]) -> str:
    return next((n for n in (name, f"{name}.value") if n in saved), name)


def _as_wanted(saved: Mapping[str, Entry], known: Sequence[Leaf], names: Mapping[str, str]) -> dict[str, Entry]:
    """What was saved, by the template's names, with its types wherever Orbax's metadata does not tell them apart."""
    found = dict(saved)
    for leaf in known:
        entry = found.pop(names[leaf.name], None)
        if entry is None:
            continue
        around = tuple(
            ours if (theirs, ours) in _NOT_TOLD_APART else theirs
            for theirs, ours in zip(entry.containers, leaf.containers, strict=False)
        )
        kinds = [container(kind.removeprefix("empty:")) for kind in (entry.kind, leaf.kind)]
        kind = leaf.kind if kinds == ["NoneType", "node"] else entry.kind  # an empty NamedTuple is stored as None
        found[leaf.name] = dataclasses.replace(entry, kind=kind, containers=around)
    wanted = {leaf.name for leaf in known}
    return {name: entry for name, entry in found.items() if entry.stored or name in wanted}


def _as_stored(leaf: Leaf) -> Leaf:
    """The template's leaf as plain Orbax stores it: keys and numbers as arrays."""
    kept = leaf.kind == "str" or leaf.value is None
    return leaf if kept else dataclasses.replace(leaf, kind="array")


def _decoded(leaf: Leaf, value: Any, like: Any) -> Any:
    return value if isinstance(value, str) else decode(leaf.kind, value, like)
