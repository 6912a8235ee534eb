"""Steps that plain Orbax wrote: find a tree, match it to a template, and load it unverified."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from artifex_bench.checkpointing import tree_leaves
from artifex_bench.checkpointing.containers import classify_container, is_empty_container, list_leaf_containers
from artifex_bench.checkpointing.digests import Entry
from artifex_bench.checkpointing.encoding import decode_leaf
from artifex_bench.checkpointing.errors import CheckpointNotFoundError
from artifex_bench.checkpointing.orbax_metadata import TREE_METADATA
from artifex_bench.checkpointing.templates import check_template, make_restore_args
from artifex_bench.checkpointing.tree_leaves import Leaf
from artifex_bench.compat import finish_reads_of

_DEFAULT = "default"  # Orbax's name for the only item of a step saved without a name
_NUMPY = {"array": np.ndarray}
# (container in Orbax's metadata, container that may have been saved)
_INDISTINCT = {("list", "tuple"), ("list", "node"), ("dict", "node")}


def find_item_directory(step_directory: Path, step: int, item: str, only: bool) -> Path:
    """Find the folder of a tree in a plain Orbax step.

    Args:
        step_directory: The step's folder.
        step: The step's number, for messages.
        item: The item's name.
        only: The caller asks for one item alone. Without an item of that name, the unnamed item or the step's only tree
            is then taken.

    Returns:
        The item's folder.

    Raises:
        CheckpointNotFoundError: If the step has no such tree.
    """
    trees = {metadata.parent.name: metadata.parent for metadata in sorted(step_directory.glob(f"*/{TREE_METADATA}"))}
    # An item of that name without tree metadata holds something else, such as JSON. No other tree may replace it.
    only = only and item not in {path.name for path in step_directory.iterdir()}
    for name in (item, _DEFAULT) if only else (item,):
        if name in trees:
            return trees[name]
    if only and len(trees) == 1:
        return next(iter(trees.values()))
    choice = f"load one of {', '.join(trees)}" if trees else "load another step, because this one has no trees"
    raise CheckpointNotFoundError(
        f"step {step} in {step_directory} has no tree {item!r}: {choice}",
        step=step,
        missing_items=[item],
        available_items=list(trees),
    )


def load_plain_tree(
    step_directory: Path, step: int, item: str, template: Any, *, partial: bool, only: bool = True
) -> Any:
    """Load one tree of a plain Orbax step.

    A flax State stores each Variable as {"value": array}. It loads as the pure dict of the same state. Orbax's metadata
    does not distinguish a tuple from a list or a NamedTuple from a dict: there the template decides.

    Args:
        step_directory: The step's folder.
        step: The step's number, for messages.
        item: The item's name.
        template: The tree to fill, or None.
        partial: Let the template leave out leaves that were saved.
        only: The caller asks for one item alone, see `find_item_directory`.

    Returns:
        The tree in the template's structure, or nested dicts of numpy arrays without a template.

    Raises:
        CheckpointNotFoundError: If the step has no such tree.
        TemplateMismatchError: If the template does not fit.
    """
    folder = find_item_directory(step_directory, step, item, only)
    with ocp.Checkpointer(finish_reads_of(ocp.PyTreeCheckpointHandler())) as checkpointer:
        tree = checkpointer.metadata(folder).item_metadata.tree
        saved = _read_entries(tree)
        if template is None:
            args = {n: ocp.RestoreArgs(restore_type=_NUMPY.get(e.kind)) for n, e in saved.items() if e.stored}
            restored = _restore_leaves(checkpointer, folder, tree, args)
            return tree_leaves.nest_names(
                [(n, restored[n] if e.stored else decode_leaf(e.kind, None)) for n, e in saved.items()]
            )
        wanted, treedef = tree_leaves.flatten_tree(template)
        names = {leaf.name: _find_stored_name(leaf.name, saved) for leaf in wanted}
        # Orbax stores neither arrays without elements nor some empty containers: the template's are used.
        known = [leaf for leaf in wanted if leaf.stored or names[leaf.name] in saved]
        check_template(step, item, _adapt_entries(saved, known, names), [_adapt_leaf(leaf) for leaf in known], partial)
        stored = [leaf for leaf in known if leaf.stored]
        args = {
            names[leaf.name]: ocp.RestoreArgs() if leaf.kind == "str" else make_restore_args(leaf) for leaf in stored
        }
        restored = _restore_leaves(checkpointer, folder, tree, args)
        originals = jax.tree_util.tree_leaves(template, is_leaf=is_empty_container)
        values = []
        for leaf, like in zip(wanted, originals, strict=True):
            value = restored[names[leaf.name]] if leaf.stored else like
            decoded = not leaf.stored or isinstance(value, str)
            values.append(value if decoded else decode_leaf(leaf.kind, value, like))
        return jax.tree_util.tree_unflatten(treedef, values)


def _read_entries(tree: Any) -> dict[str, Entry]:
    """Convert Orbax's metadata to one Entry per leaf, by name. `stored` is False for empty containers."""
    rows, treedef = jax.tree_util.tree_flatten_with_path(tree, is_leaf=is_empty_container)
    entries = {}
    for (path, metadata), around in zip(rows, list_leaf_containers(treedef), strict=True):
        shown, name = tree_leaves.name_path(path)
        if is_empty_container(metadata):
            described = (f"empty:{type(metadata).__name__}", (), "", False)
        elif getattr(metadata, "dtype", None) is None:  # text has neither a shape nor a dtype
            described = ("str", (), "", True)
        else:
            described = ("array", tuple(metadata.shape), np.dtype(metadata.dtype).name, True)
        entries[name] = Entry(shown, *described, containers=around)
    return entries


def _restore_leaves(
    checkpointer: ocp.Checkpointer, folder: Path, tree: Any, args: Mapping[str, ocp.RestoreArgs]
) -> dict[str, Any]:
    """Restore the leaves named in `args`, by name. Orbax needs both trees in the structure of its metadata."""
    if not args:
        return {}

    def structure(value: Any) -> Any:
        def leaf(path: Any, metadata: Any) -> Any:
            return metadata if is_empty_container(metadata) else value(tree_leaves.name_path(path)[1])

        return jax.tree_util.tree_map_with_path(leaf, tree, is_leaf=is_empty_container)

    restored = checkpointer.restore(
        folder,
        args=ocp.args.PyTreeRestore(
            item=structure(lambda name: 0 if name in args else ocp.PLACEHOLDER),
            restore_args=structure(lambda name: args.get(name, ocp.RestoreArgs())),
        ),
    )
    rows, _ = jax.tree_util.tree_flatten_with_path(restored, is_leaf=is_empty_container)
    return {tree_leaves.name_path(path)[1]: value for path, value in rows}


def _find_stored_name(name: str, saved: Mapping[str, Entry]) -> str:
    """Find the stored name of a template's leaf, which ends in ".value" in a flax State."""
    return next((n for n in (name, f"{name}.value") if n in saved), name)


def _adapt_entries(saved: Mapping[str, Entry], known: Sequence[Leaf], names: Mapping[str, str]) -> dict[str, Entry]:
    """Rename the entries by the template's names, and use its containers if Orbax's metadata does not tell them."""
    adapted = dict(saved)
    for leaf in known:
        entry = adapted.pop(names[leaf.name], None)
        if entry is None:
            continue
        around = tuple(
            wanted_type if (saved_type, wanted_type) in _INDISTINCT else saved_type
            for saved_type, wanted_type in zip(entry.containers, leaf.containers, strict=False)
        )
        kinds = [classify_container(kind.removeprefix("empty:")) for kind in (entry.kind, leaf.kind)]
        kind = leaf.kind if kinds == ["NoneType", "node"] else entry.kind  # an empty NamedTuple is stored as None
        adapted[leaf.name] = dataclasses.replace(entry, kind=kind, containers=around)
    wanted = {leaf.name for leaf in known}
    return {name: entry for name, entry in adapted.items() if entry.stored or name in wanted}


def _adapt_leaf(leaf: Leaf) -> Leaf:
    """Describe the template's leaf as plain Orbax stores it: keys and numbers as arrays."""
    kept = leaf.kind == "str" or leaf.value is None
    return leaf if kept else dataclasses.replace(leaf, kind="array")
