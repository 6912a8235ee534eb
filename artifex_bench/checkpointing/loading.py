"""Loading of one step: read its digests, check the templates, restore the arrays with Orbax, and verify them.

Nothing is returned before everything is verified. A step that cannot be read raises the error of the cause: another
process deleted it, a permission is missing, or memory ran out. Only if no such cause is found is the step damaged.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from artifex_bench.checkpointing import digests, plain_orbax, tree_leaves
from artifex_bench.checkpointing.containers import is_empty_container
from artifex_bench.checkpointing.digests import Entry, Manifest
from artifex_bench.checkpointing.encoding import decode_leaf
from artifex_bench.checkpointing.errors import (
    CheckpointNotFoundError,
    CheckpointPermissionError,
    CorruptCheckpointError,
    StepDeletedError,
    TemplateMismatchError,
    UnsupportedLeafError,
    UnverifiedCheckpointError,
    UnverifiedCheckpointWarning,
)
from artifex_bench.checkpointing.failure_causes import make_load_error
from artifex_bench.checkpointing.manager import CheckpointManager
from artifex_bench.checkpointing.orbax_metadata import STEP_METADATA, TREE_METADATA, item_is_marked, read_mark
from artifex_bench.checkpointing.templates import check_template, make_restore_args
from artifex_bench.checkpointing.tree_leaves import Leaf

DELETION_SHOWS = 0.2  # seconds in which a deletion in progress removes at least one more file


@dataclass(frozen=True)
class Loaded:
    """A loaded step.

    Attributes:
        items: The tree of each item.
        step: The step's number.
        verified: True if every array was verified against its digest.
    """

    items: Mapping[str, Any]
    step: int
    verified: bool


def load_step(
    manager: CheckpointManager,
    templates: Mapping[str, Any],
    step: int,
    *,
    partial: bool,
    verify: bool,
    allow_unverified: bool,
) -> Loaded:
    """Load items of one committed step.

    Args:
        manager: The manager of the directory.
        templates: The template of each item to load, see `trees.load_items`.
        step: The step's number.
        partial: Let templates leave out leaves that were saved.
        verify: Verify every array against its digest.
        allow_unverified: Load a step without digests, with an UnverifiedCheckpointWarning.

    Returns:
        The items. Each has its template's structure.

    Raises:
        CheckpointNotFoundError: If the step lacks an item.
        StepDeletedError: If another process deletes the step while it is read.
        TemplateMismatchError: If a template does not fit.
        UnsupportedLeafError: If a template has a leaf that cannot have been saved.
        CorruptCheckpointError: If the step is damaged.
        UnverifiedCheckpointError: If the step has no digests and `allow_unverified` is False.
        CheckpointPermissionError: If a file is not readable.
        CheckpointError: If memory or file handles run out, or in a forked process.
    """
    folder = manager.step_directory(step)
    # `exclusive` keeps another thread's save from deleting the step while it is read.
    with _explain_failures(manager, folder, step), manager.exclusive():
        manifest = digests.read_manifest(folder, step)
        # A manifest without items: the caller saved through this package's manager, with Orbax's arguments.
        if manifest is None or not manifest.items:
            _check_is_plain_orbax(folder, step)
            what = f"step {step} in {folder} has no digests because plain Orbax wrote it"
            if not allow_unverified:
                raise UnverifiedCheckpointError(
                    f"{what}, so it cannot be verified: load it with load_items, or with "
                    "recover_from_corruption(…, allow_unverified=True), and save it again",
                    step=step,
                )
            warnings.warn(
                f"{what}: it is loaded unverified; save it again to add digests",
                UnverifiedCheckpointWarning,
                stacklevel=4,
            )
            only = len(templates) == 1
            trees = {
                item: plain_orbax.load_plain_tree(folder, step, item, template, partial=partial, only=only)
                for item, template in templates.items()
            }
            return Loaded(trees, step, verified=False)
        if missing := [name for name in templates if name not in manifest.items]:
            raise CheckpointNotFoundError(
                f"step {step} in {folder} has no items {', '.join(map(repr, missing))}: "
                f"load only the items it has ({', '.join(manifest.items)}), or use another directory",
                step=step,
                missing_items=missing,
                available_items=list(manifest.items),
            )
        plans = {name: _plan_item(manifest, name, template, partial) for name, template in templates.items()}
        wanted = {name: rows for name, plan in plans.items() if (rows := [row for row in plan.rows if row[1].stored])}
        restored = _restore_arrays(manager, step, manifest, wanted)
        if verify:
            for name, rows in wanted.items():
                wrong = digests.find_mismatches([(entry, restored[name][key]) for key, entry, _ in rows])
                if wrong:
                    raise _make_digest_error(folder, step, name, wrong)
        return Loaded({name: plan.build(restored.get(name, {})) for name, plan in plans.items()}, step, verified=verify)


@contextmanager
def _explain_failures(manager: CheckpointManager, folder: Path, step: int) -> Iterator[None]:
    """Turn errors of a read into the error of their cause. A step is damaged only if no other cause is found."""
    try:
        yield
    except (TemplateMismatchError, UnsupportedLeafError, UnverifiedCheckpointError):
        raise
    except Exception as error:
        if _is_deleted(folder, step < max(manager.all_steps(read=True), default=-1)):
            raise StepDeletedError(
                f"step {step}: {folder} was deleted while it was being read: load a newer step, or let the Retention "
                "of the process that saves keep more steps",
                step=step,
            ) from error
        if (path := _find_unreadable_path(folder)) is not None:
            raise CheckpointPermissionError(
                f"step {step}: {path} is not readable by this user: grant read permission", step=step
            ) from error
        failure = make_load_error(error, step, folder)
        if failure is error:
            raise
        raise failure from error


def _is_deleted(folder: Path, newer_exists: bool) -> bool:
    """Check whether the folder is deleted or is being deleted.

    Retention deletes a step file by file, but never the newest step, so a newest step is not waited for.
    """
    if newer_exists and folder.is_dir():
        before = len(_list_paths(folder))
        time.sleep(DELETION_SHOWS)
        return not folder.is_dir() or len(_list_paths(folder)) < before
    return not folder.is_dir()


def _find_unreadable_path(folder: Path) -> Path | None:
    """Find the first path of a step that this user cannot read. Orbax would report its files as missing."""
    effective = os.access in os.supports_effective_ids
    for path in _list_paths(folder):
        if path.exists() and not os.access(path, os.R_OK | path.is_dir() * os.X_OK, effective_ids=effective):
            return path
    return None


def _list_paths(folder: Path) -> list[Path]:
    """List the folder and everything in it, outermost first, without what another process deletes meanwhile."""
    below = [Path(parent, name) for parent, folders, files in os.walk(folder) for name in (*folders, *files)]
    return [folder, *below]


@dataclass(frozen=True)
class _ItemPlan:
    """How to restore one item and to rebuild its tree.

    Attributes:
        rows: (name, saved leaf, template's leaf or None) for each leaf.
        treedef: The template's structure, or None without a template.
        originals: The template's leaves before they were encoded.
    """

    rows: Sequence[tuple[str, Entry, Leaf | None]]
    treedef: Any
    originals: Sequence[Any]

    def build(self, arrays: Mapping[str, Any]) -> Any:
        """Rebuild the tree from the restored arrays, which are given by name."""
        values = []
        for (name, entry, _), like in zip(self.rows, self.originals, strict=True):
            value = arrays[name] if entry.stored else _make_empty_value(entry, like)
            values.append(decode_leaf(entry.kind, value, like))
        if self.treedef is None and [(e.path, e.containers) for _, e, _ in self.rows] == [("", ())]:
            return values[0]  # the whole tree is one leaf or one empty container
        if self.treedef is None:
            return tree_leaves.nest_names(
                [(name, value) for (name, _, _), value in zip(self.rows, values, strict=True)]
            )
        return jax.tree_util.tree_unflatten(self.treedef, values)


def _plan_item(manifest: Manifest, item: str, template: Any, partial: bool) -> _ItemPlan:
    """Check the template of an item and plan its restore."""
    entries = manifest.items[item]
    if template is None:
        return _ItemPlan([(name, entry, None) for name, entry in entries.items()], None, [None] * len(entries))
    wanted, treedef = tree_leaves.flatten_tree(template)
    check_template(manifest.step, item, entries, wanted, partial)
    originals = jax.tree_util.tree_leaves(template, is_leaf=is_empty_container)
    return _ItemPlan([(leaf.name, entries[leaf.name], leaf) for leaf in wanted], treedef, originals)


def _restore_arrays(
    manager: CheckpointManager, step: int, manifest: Manifest, wanted: Mapping[str, Any]
) -> dict[str, Any]:
    """Restore the stored arrays of each item with Orbax, unverified, by item and name."""
    if not wanted:
        return {}
    args = {}
    for item, rows in wanted.items():
        every = [name for name, entry in manifest.items[item].items() if entry.stored]
        args[item] = ocp.args.PyTreeRestore(
            item=tree_leaves.nest_names([(name, 0) for name, _, _ in rows]),
            restore_args=tree_leaves.nest_names([(name, make_restore_args(leaf)) for name, _, leaf in rows]),
            partial_restore=len(rows) != len(every),
        )
    restored = manager.restore(step, args=ocp.args.Composite(**args))
    return {item: tree_leaves.flatten_names(restored[item]) for item in args}


def _make_empty_value(entry: Entry, like: Any) -> Any:
    """Make an array without elements, or None for an empty container. Neither has stored bytes."""
    if entry.kind.startswith("empty:"):
        return None
    array = np.zeros(entry.shape, np.dtype(entry.dtype))
    if isinstance(like, (jax.Array, jax.ShapeDtypeStruct)):
        leaf = tree_leaves.flatten_tree(like)[0][0]
        return jax.device_put(array, make_restore_args(leaf).sharding)
    return array


def _make_digest_error(folder: Path, step: int, item: str, wrong: Sequence[str]) -> CorruptCheckpointError:
    """Make the error for arrays whose digests differ."""
    paths = [f"{item}/{path}".rstrip("/") for path in wrong]
    more = f" (and {len(paths) - 1} more)" if len(paths) > 1 else ""
    file = folder / item
    return CorruptCheckpointError(
        f"step {step}: {paths[0]}{more} in {file} changed after it was saved (its digest differs): "
        "load an older step, or restore the files from a copy",
        step=step,
        file=str(file),
        paths=paths,
    )


def _check_is_plain_orbax(folder: Path, step: int) -> None:
    """Raise CorruptCheckpointError if a step without digests was saved with them."""
    mark = read_mark(folder)
    items = [metadata.parent for metadata in folder.glob(f"*/{TREE_METADATA}")]
    if mark is None or "digests" in mark or any(map(item_is_marked, items)):
        file = folder / digests.DIGESTS_ITEM
        why = f"the digests in {file} are missing, or the step's metadata is damaged"
    elif not items and not (folder / STEP_METADATA).exists():
        file = folder
        why = f"{file} is incomplete, with neither digests nor metadata"
    else:
        return
    raise CorruptCheckpointError(f"step {step}: {why}: load an older step", step=step, file=str(file))
