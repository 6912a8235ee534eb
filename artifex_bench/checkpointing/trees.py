"""Saving and loading trees: what the model functions stand on.

A step holds items (named trees, each an Orbax item) and their digests; `loading` restores and verifies one step.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orbax.checkpoint as ocp

from artifex_bench.checkpointing import digests, leaves
from artifex_bench.checkpointing.errors import StepDeletedError, missing_step
from artifex_bench.checkpointing.formats import Format, choose_format
from artifex_bench.checkpointing.handlers import DigestSave, TreeSave
from artifex_bench.checkpointing.leaves import Leaf
from artifex_bench.checkpointing.loading import Loaded, load_step
from artifex_bench.checkpointing.manager import CheckpointManager
from artifex_bench.checkpointing.marks import MARK, STEP_METADATA
from artifex_bench.checkpointing.names import whole_step

TREE = "tree"  # the item that save_tree writes
_ITEM = re.compile(r"[\w-][\w .-]{0,99}")
_RESERVED = frozenset({digests.ITEM, "metrics", STEP_METADATA, "commit_success.txt"})  # Orbax's names, and ours
MOST_NEW = 100  # steps that may be saved by another process before reading one is given up


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
    Weak types of JAX are kept. Subclasses of arrays and numbers (MaskedArray, IntEnum) are refused, because they would
    lose what they add.
    Raises ValueError for an item's name that Orbax cannot store, UnsupportedLeafError for a leaf that cannot be stored,
    and what `CheckpointManager.save` raises.
    """
    step = whole_step(step)
    for name in _checked(items):
        if name in _RESERVED or not isinstance(name, str) or not _ITEM.fullmatch(name):
            raise ValueError(
                f"item {name!r}: must be up to 100 letters, digits, '_', '-', '.' and spaces, begin with none of the "
                f"last two, and be none of {', '.join(sorted(_RESERVED))}"
            )
    flat = {name: leaves.flatten_values(tree) for name, tree in items.items()}
    mark = {"digests": digests.VERSION}
    args: dict[str, Any] = {digests.ITEM: DigestSave(step, flat)}
    for name, found in flat.items():
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
    allow_unverified: bool = True,
) -> Loaded | None:
    """Load named trees of a step (the latest by default), verified; None where there is no step at all.

    A template says the structure, and where each leaf goes: a jax.Array or a ShapeDtypeStruct with a sharding, to that
    sharding (whatever it was saved with); a numpy array, to numpy. It is never changed. None in its place loads
    all there is, as nested dicts of numpy arrays. With `partial` the template may leave out leaves that were saved.
    Containers must be what was saved (list, tuple, dict, None); weak types come back as they were saved.
    Items that were saved and not asked for are left alone. Every process calls this with the same templates.

    Checkpoints of plain Orbax have no digests: they load with an UnverifiedCheckpointWarning, or not at all with
    `allow_unverified=False`. The steps are listed at each call. If another process deletes the
    latest one while it is read, the one that is then the latest is loaded.
    Raises ValueError for a step that is no whole number or templates without names, CheckpointNotFoundError (no such
    directory, step or item), StepDeletedError, TemplateMismatchError, UnsupportedLeafError, CorruptCheckpointError,
    UnverifiedCheckpointError, CheckpointPermissionError, and the failure of an earlier background save.
    """
    _checked(templates)
    how = {"partial": partial, "verify": verify, "allow_unverified": allow_unverified}
    manager.wait_until_finished()
    if step is not None:
        step = whole_step(step)
        if step not in (steps := manager.all_steps(read=True)):
            raise missing_step(step, manager.directory, steps)
        return load_step(manager, templates, step, **how)
    deleted: StepDeletedError | None = None
    for newest in newest_first(manager):
        try:
            return load_step(manager, templates, newest, **how)
        except StepDeletedError as error:
            deleted = error
    if deleted is not None:
        raise deleted
    return None


def newest_first(manager: CheckpointManager) -> Iterator[int]:
    """The committed steps from the newest on, listed again before each: another process may save and delete meanwhile.

    Raises StepDeletedError if steps go on being saved faster than they are read.
    """
    seen: set[int] = set()
    first: set[int] | None = None
    while left := set(manager.all_steps(read=True)) - seen:
        first = first or left
        if len(seen - first) > MOST_NEW:
            raise StepDeletedError(
                f"{len(seen - first)} steps were saved in {manager.directory} while one was to be read: "
                "let the process that saves keep more"
            )
        step = max(left)
        seen.add(step)
        yield step


def _checked(items: Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(items, Mapping):
        raise ValueError(f"items of type {type(items).__name__}: must be a dict from names to trees")
    return items


def _save_args(stored: Sequence[Leaf], format: Format | None, mark: Mapping[str, Any]) -> TreeSave:
    chosen = format or choose_format([leaf.name for leaf in stored])
    one = ocp.SaveArgs(chunk_byte_size=chosen.chunk_bytes)
    return TreeSave(
        leaves.nested([(leaf.name, leaf.value) for leaf in stored]),
        leaves.nested([(leaf.name, one) for leaf in stored]),
        custom_metadata={MARK: dict(mark)},
        format=chosen,
    )
