"""Saving and loading trees: what the model functions stand on.

A step holds items (named trees, each an Orbax item) and their digests. Loading compares the template with the digests'
list of leaves, reads through Orbax, verifies every array, and only then gives anything back.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from artifex_bench.checkpointing import digests, leaves, plain
from artifex_bench.checkpointing.digests import Entry, Manifest
from artifex_bench.checkpointing.errors import (
    CheckpointError,
    CheckpointNotFoundError,
    CheckpointPermissionError,
    CorruptCheckpointError,
    UnverifiedCheckpointWarning,
    is_denied,
    missing_step,
)
from artifex_bench.checkpointing.formats import Format, choose_format
from artifex_bench.checkpointing.handlers import DigestSave, TreeSave
from artifex_bench.checkpointing.leaves import Leaf
from artifex_bench.checkpointing.manager import CheckpointManager
from artifex_bench.checkpointing.marks import MARK, item_is_marked, read_mark
from artifex_bench.checkpointing.matching import compare, restore_args

log = logging.getLogger(__name__)

TREE = "tree"  # the item that save_tree writes


@dataclass(frozen=True)
class Loaded:
    """What was loaded: item -> tree, the step, and whether every array was verified against its digest."""

    items: Mapping[str, Any]
    step: int
    verified: bool


def save_tree(
    manager: CheckpointManager,
    step: int,
    tree: Any,
    *,
    metrics: Mapping[str, float] | None = None,
    keep: bool = False,
) -> CheckpointManager:
    """Save any tree of arrays, numbers, text, PRNG keys and containers (empty ones too) as a step. See `save_items`."""
    return save_items(manager, step, {TREE: tree}, metrics=metrics, keep=keep)


def load_tree(
    manager: CheckpointManager,
    template: Any = None,
    step: int | None = None,
    *,
    partial: bool = False,
    verify: bool = True,
) -> tuple[Any, int] | tuple[None, None]:
    """(tree, step) of a step saved by `save_tree`, the latest by default; (None, None) where there is none.

    See `load_items` for the template, `partial`, and the errors raised.
    """
    loaded = load_items(manager, {TREE: template}, step, partial=partial, verify=verify)
    return (None, None) if loaded is None else (loaded.items[TREE], loaded.step)


def save_items(
    manager: CheckpointManager,
    step: int,
    items: Mapping[str, Any],
    *,
    metrics: Mapping[str, float] | None = None,
    keep: bool = False,
) -> CheckpointManager:
    """Save named trees as one step, with a digest of every array; committed whole or not at all.

    An asynchronous manager returns once the arrays are held: the training step may overwrite them (donation).
    `metrics` are numbers kept with the step, `keep=True` pins it. Every process calls this with the same items.
    Raises UnsupportedLeafError for a leaf that cannot be stored, and what `CheckpointManager.save` raises.
    """
    flat = {name: leaves.flatten(tree)[0] for name, tree in items.items()}
    mark = {"digests": digests.VERSION}
    args: dict[str, Any] = {digests.ITEM: DigestSave(step, flat)}
    for name, found in flat.items():
        if name == digests.ITEM:
            raise ValueError(f"item {name!r} holds the digests: give your tree another name")
        if stored := [leaf for leaf in found if leaf.stored]:  # Orbax refuses an item without arrays
            args[name] = _save_args(stored, manager.format, mark)
    manager.save(step, args=ocp.args.Composite(**args), metrics=metrics, keep=keep, mark=mark)
    return manager


def load_items(
    manager: CheckpointManager,
    templates: Mapping[str, Any],
    step: int | None = None,
    *,
    partial: bool = False,
    verify: bool = True,
) -> Loaded | None:
    """Load named trees of a step (the latest by default), verified; None where there is no step at all.

    A template says the structure, and where each leaf goes: a jax.Array or a ShapeDtypeStruct with a sharding, to that
    sharding (whatever it was saved with); a numpy array, to numpy. It is never changed. None in its place loads
    all there is, as nested dicts of numpy arrays. With `partial` the template may leave out leaves that were saved.
    Items that were saved and not asked for are left alone. Every process calls this with the same templates.

    Checkpoints of plain Orbax have no digests: they load with an UnverifiedCheckpointWarning.
    Raises CheckpointNotFoundError (no such step or item), TemplateMismatchError, CorruptCheckpointError,
    CheckpointPermissionError, and the failure of an earlier background save.
    """
    with manager.exclusive():  # another thread's save must not delete the step meanwhile
        return _load_step(manager, templates, step, partial, verify)


def _load_step(
    manager: CheckpointManager, templates: Mapping[str, Any], step: int | None, partial: bool, verify: bool
) -> Loaded | None:
    manager.wait_until_finished()
    if step is None:
        step = manager.latest_step()
        if step is None:
            return None
    if step not in manager.all_steps():
        raise missing_step(step, manager.directory, manager.all_steps())
    try:
        return _load(manager, templates, step, partial, verify)
    except CheckpointError:
        raise
    except Exception as error:
        folder = manager.step_directory(step)
        if is_denied(error):
            raise CheckpointPermissionError(f"step {step}: {folder} may not be read: {error}", step=step) from error
        reason = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:300]}"
        raise CorruptCheckpointError(
            f"step {step}: {folder} cannot be read: {reason}: load an older step", step=step, file=str(folder)
        ) from error


def _load(manager: CheckpointManager, templates: Mapping[str, Any], step: int, partial: bool, verify: bool) -> Loaded:
    folder = manager.step_directory(step)
    manifest = digests.read_manifest(folder, step)
    if manifest is None or not manifest.items:  # or it was saved by Orbax alone, through our manager
        _check_plain(folder, step, list(templates))
        warnings.warn(
            f"step {step} in {folder} has no digests (it is of plain Orbax): it is loaded unverified",
            UnverifiedCheckpointWarning,
            stacklevel=4,
        )
        found = {name: plain.load(folder, step, name, template, partial) for name, template in templates.items()}
        return Loaded(found, step, verified=False)
    plans = {name: _plan(manifest, name, template, partial, folder) for name, template in templates.items()}
    wanted = {name: rows for name, plan in plans.items() if (rows := [row for row in plan.rows if row[1].stored])}
    restored = _restore(manager, step, manifest, wanted)
    if verify:
        for name, rows in wanted.items():
            wrong = digests.mismatches([(entry, restored[name][key]) for key, entry, _ in rows])
            if wrong:
                raise _corrupt(folder, step, name, wrong)
    return Loaded({name: plan.build(restored.get(name, {})) for name, plan in plans.items()}, step, verified=verify)


@dataclass(frozen=True)
class _Plan:
    """How one item is put together: (name, entry, template's leaf) of each leaf, and the template's treedef."""

    rows: Sequence[tuple[str, Entry, Leaf | None]]
    treedef: Any
    originals: Sequence[Any]

    def build(self, arrays: Mapping[str, Any]) -> Any:
        values = []
        for (name, entry, _), like in zip(self.rows, self.originals, strict=True):
            value = arrays[name] if entry.stored else _without_bytes(entry, like)
            values.append(leaves.decode(entry.kind, value, like))
        if self.treedef is None and [entry.path for _, entry, _ in self.rows] == [""]:
            return values[0]  # the tree is one leaf, or one empty container
        if self.treedef is None:
            return leaves.nested([(name, value) for (name, _, _), value in zip(self.rows, values, strict=True)])
        return jax.tree_util.tree_unflatten(self.treedef, values)


def _plan(manifest: Manifest, item: str, template: Any, partial: bool, folder: Path) -> _Plan:
    entries = manifest.items.get(item)
    if entries is None:
        have = ", ".join(manifest.items)
        raise CheckpointNotFoundError(f"step {manifest.step} in {folder} has no {item!r}: it has {have}")
    if template is None:
        return _Plan([(name, entry, None) for name, entry in entries.items()], None, [None] * len(entries))
    wanted, treedef = leaves.flatten(template)
    compare(
        manifest.step,
        item,
        {n: (e.path, e.kind, e.shape, e.dtype) for n, e in entries.items()},
        wanted,
        partial,
    )
    originals = jax.tree_util.tree_leaves(template, is_leaf=leaves.is_empty)
    return _Plan([(leaf.name, entries[leaf.name], leaf) for leaf in wanted], treedef, originals)


def _restore(manager: CheckpointManager, step: int, manifest: Manifest, wanted: Mapping[str, Any]) -> dict[str, Any]:
    if not wanted:
        return {}
    args = {}
    for item, rows in wanted.items():
        every = [name for name, entry in manifest.items[item].items() if entry.stored]
        args[item] = ocp.args.PyTreeRestore(
            item=leaves.nested([(name, 0) for name, _, _ in rows]),
            restore_args=leaves.nested([(name, restore_args(leaf)) for name, _, leaf in rows]),
            partial_restore=len(rows) != len(every),
        )
    restored = manager.restore(step, args=ocp.args.Composite(**args))
    return {item: leaves.flat(restored[item]) for item in args}


def _without_bytes(entry: Entry, like: Any) -> Any:
    """An array without elements, or None for an empty container: nothing of either is stored."""
    if entry.kind.startswith("empty:"):
        return None
    array = np.zeros(entry.shape, np.dtype(entry.dtype))
    if isinstance(like, (jax.Array, jax.ShapeDtypeStruct)):
        leaf = leaves.flatten(like)[0][0]
        return jax.device_put(array, restore_args(leaf).sharding)
    return array


def _save_args(stored: Sequence[Leaf], format: Format | None, mark: Mapping[str, Any]) -> TreeSave:
    chosen = format or choose_format([leaf.name for leaf in stored])
    one = ocp.SaveArgs(chunk_byte_size=chosen.chunk_bytes)
    return TreeSave(
        leaves.nested([(leaf.name, leaf.value) for leaf in stored]),
        leaves.nested([(leaf.name, one) for leaf in stored]),
        custom_metadata={MARK: dict(mark)},
        format=chosen,
    )


def _corrupt(folder: Path, step: int, item: str, wrong: Sequence[str]) -> CorruptCheckpointError:
    path = f"{item}/{wrong[0]}".rstrip("/")
    more = f" (and {len(wrong) - 1} more arrays)" if len(wrong) > 1 else ""
    file = folder / item
    return CorruptCheckpointError(
        f"step {step}: {path}{more} in {file} is not what was saved (its digest differs): load an older step, "
        "or restore the files from a copy",
        step=step,
        file=str(file),
        path=path,
    )


def _check_plain(folder: Path, step: int, items: Sequence[str]) -> None:
    """Raise CorruptCheckpointError where digests are missing though the step was saved with them."""
    mark = read_mark(folder)
    marked = mark is None or "digests" in mark or any(item_is_marked(folder / item) for item in items)
    if marked:
        file = folder / digests.ITEM
        raise CorruptCheckpointError(
            f"step {step}: its digests in {file} are gone, though it was saved with them: load an older step",
            step=step,
            file=str(file),
        )
