"""One step restored: its digests, the templates compared with them, the arrays read by Orbax and verified.

Nothing is returned before all of it is verified. What cannot be read is reported by its cause: a step that was deleted
meanwhile, a missing permission, a lack of memory; damage is what is left when nothing else explains it.
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

from artifex_bench.checkpointing import digests, leaves, plain
from artifex_bench.checkpointing.containers import is_empty
from artifex_bench.checkpointing.digests import Entry, Manifest
from artifex_bench.checkpointing.encoding import decode
from artifex_bench.checkpointing.errors import (
    CheckpointNotFoundError,
    CheckpointPermissionError,
    CorruptCheckpointError,
    StepDeletedError,
    TemplateMismatchError,
    UnsupportedLeafError,
    UnverifiedCheckpointError,
    UnverifiedCheckpointWarning,
    load_failure,
)
from artifex_bench.checkpointing.leaves import Leaf
from artifex_bench.checkpointing.manager import CheckpointManager
from artifex_bench.checkpointing.marks import STEP_METADATA, TREE_METADATA, item_is_marked, read_mark
from artifex_bench.checkpointing.matching import compare, restore_args

DELETION_SHOWS = 0.2  # seconds in which a deletion that is under way removes at least one more file


@dataclass(frozen=True)
class Loaded:
    """What was loaded: item -> tree, the step, and whether every array was verified against its digest."""

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
    """Load the items of one step that was listed. See `trees.load_items` for the templates and the errors raised."""
    folder = manager.step_directory(step)
    with _explained(manager, folder, step), manager.exclusive():  # no thread's save deletes the step meanwhile
        manifest = digests.read_manifest(folder, step)
        if manifest is None or not manifest.items:  # or it was saved by Orbax alone, through our manager
            _check_plain(folder, step)
            what = f"step {step} in {folder} has no digests, because plain Orbax wrote it"
            if not allow_unverified:
                raise UnverifiedCheckpointError(
                    f"{what}, and cannot be verified: load it with load_items, or with "
                    "recover_from_corruption(…, allow_unverified=True), and save it again"
                )
            warnings.warn(f"{what}: it is loaded unverified", UnverifiedCheckpointWarning, stacklevel=4)
            only = len(templates) == 1
            found = {n: plain.load(folder, step, n, t, partial=partial, only=only) for n, t in templates.items()}
            return Loaded(found, step, verified=False)
        if missing := [name for name in templates if name not in manifest.items]:
            raise CheckpointNotFoundError(
                f"step {step} in {folder} has no {', '.join(map(repr, missing))}: it has {', '.join(manifest.items)}; "
                "load only these, or use another directory"
            )
        plans = {name: _plan(manifest, name, template, partial) for name, template in templates.items()}
        wanted = {name: rows for name, plan in plans.items() if (rows := [row for row in plan.rows if row[1].stored])}
        restored = _restore(manager, step, manifest, wanted)
        if verify:
            for name, rows in wanted.items():
                wrong = digests.mismatches([(entry, restored[name][key]) for key, entry, _ in rows])
                if wrong:
                    raise _corrupt(folder, step, name, wrong)
        return Loaded({name: plan.build(restored.get(name, {})) for name, plan in plans.items()}, step, verified=verify)


@contextmanager
def _explained(manager: CheckpointManager, folder: Path, step: int) -> Iterator[None]:
    """Turn what goes wrong while a step is read into the error of its cause; damage is what nothing else explains."""
    try:
        yield
    except (TemplateMismatchError, UnsupportedLeafError, UnverifiedCheckpointError):
        raise
    except Exception as error:
        if _is_deleted(folder, step < max(manager.all_steps(read=True), default=-1)):
            raise StepDeletedError(
                f"step {step}: {folder} was deleted while it was read: load a newer step, or let the Retention "
                "of the process that saves keep more"
            ) from error
        if (path := _unreadable(folder)) is not None:
            raise CheckpointPermissionError(
                f"step {step}: {path} may not be read by this user: grant read permission", step=step
            ) from error
        failure = load_failure(error, step, folder)
        if failure is error:
            raise
        raise failure from error


def _is_deleted(folder: Path, newer_exists: bool) -> bool:
    """True where the folder is gone, or is going: retention deletes it file by file, and never the newest step."""
    if newer_exists and folder.is_dir():
        before = len(_paths(folder))
        time.sleep(DELETION_SHOWS)
        return not folder.is_dir() or len(_paths(folder)) < before
    return not folder.is_dir()


def _unreadable(folder: Path) -> Path | None:
    """The first path of a step that this user may not read. Orbax says of such a folder that its files are missing."""
    effective = os.access in os.supports_effective_ids
    for path in _paths(folder):
        if path.exists() and not os.access(path, os.R_OK | path.is_dir() * os.X_OK, effective_ids=effective):
            return path
    return None


def _paths(folder: Path) -> list[Path]:
    """The folder and all that is in it, outermost first; what vanishes or may not be listed meanwhile is left out."""
    below = [Path(parent, name) for parent, folders, files in os.walk(folder) for name in (*folders, *files)]
    return [folder, *below]


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
            values.append(decode(entry.kind, value, like))
        if self.treedef is None and [(e.path, e.containers) for _, e, _ in self.rows] == [("", ())]:
            return values[0]  # the tree is one leaf, or one empty container
        if self.treedef is None:
            return leaves.nested([(name, value) for (name, _, _), value in zip(self.rows, values, strict=True)])
        return jax.tree_util.tree_unflatten(self.treedef, values)


def _plan(manifest: Manifest, item: str, template: Any, partial: bool) -> _Plan:
    entries = manifest.items[item]
    if template is None:
        return _Plan([(name, entry, None) for name, entry in entries.items()], None, [None] * len(entries))
    wanted, treedef = leaves.flatten(template)
    compare(manifest.step, item, entries, wanted, partial)
    originals = jax.tree_util.tree_leaves(template, is_leaf=is_empty)
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


def _check_plain(folder: Path, step: int) -> None:
    """Raise CorruptCheckpointError where digests are missing though the step was saved with them."""
    mark = read_mark(folder)
    items = [metadata.parent for metadata in folder.glob(f"*/{TREE_METADATA}")]
    if mark is None or "digests" in mark or any(map(item_is_marked, items)):
        file = folder / digests.ITEM
        why = f"its digests in {file} are gone, or its metadata is damaged"
    elif not items and not (folder / STEP_METADATA).exists():
        file = folder
        why = f"{file} is left in parts: it has neither digests nor metadata"
    else:
        return
    raise CorruptCheckpointError(f"step {step}: {why}: load an older step", step=step, file=str(file))
