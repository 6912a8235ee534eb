"""Saving and loading of trees, on which the functions for models are built.

A step holds items (named trees, each an item of Orbax) and their digests. `loading` restores and verifies one step.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orbax.checkpoint as ocp

from artifex_bench.checkpointing import digests, tree_leaves
from artifex_bench.checkpointing.errors import StepDeletedError, make_missing_step_error
from artifex_bench.checkpointing.formats import Format, choose_format
from artifex_bench.checkpointing.loading import Loaded, load_step
from artifex_bench.checkpointing.manager import CheckpointManager
from artifex_bench.checkpointing.orbax_handlers import DigestSave, TreeSave
from artifex_bench.checkpointing.orbax_metadata import MARK, STEP_METADATA
from artifex_bench.checkpointing.steps import parse_step
from artifex_bench.checkpointing.tree_leaves import Leaf

TREE = "tree"  # the item that save_tree writes
_ITEM = re.compile(r"[\w-][\w .-]{0,99}")
# Names that Orbax and this package use in a step's folder.
_RESERVED = frozenset({digests.DIGESTS_ITEM, "metrics", STEP_METADATA, "commit_success.txt"})
MAX_NEW_STEPS = 100  # steps that another process may save before this one stops trying to read one


def save_tree(
    manager: CheckpointManager,
    step: int,
    tree: Any,
    *,
    metrics: Mapping[str, float] | None = None,
    keep: bool = False,
) -> CheckpointManager:
    """Save a tree as a step.

    Args:
        manager: The manager of the directory.
        step: The step's number, newer than all committed steps.
        tree: Any tree of arrays, numbers, text, PRNG keys and containers, which may be empty.
        metrics: Numbers to store with the step.
        keep: Pin the step, so that no Retention deletes it.

    Returns:
        The manager.

    Raises:
        UnsupportedLeafError: If a leaf cannot be saved.
        CheckpointError: As `save_items`.
        ValueError: As `save_items`.
    """
    return save_items(manager, step, {TREE: tree}, metrics=metrics, keep=keep)


def load_tree(
    manager: CheckpointManager,
    template: Any = None,
    step: int | None = None,
    *,
    partial: bool = False,
    verify: bool = True,
) -> tuple[Any, int] | tuple[None, None]:
    """Load a tree that `save_tree` saved.

    Args:
        manager: The manager of the directory.
        template: The tree to fill, see `load_items`. None loads nested dicts of numpy arrays.
        step: The step's number, or None for the latest.
        partial: Let the template leave out leaves that were saved.
        verify: Verify every array against its digest.

    Returns:
        (tree, step), or (None, None) if the directory has no steps.

    Raises:
        CheckpointError: As `load_items`.
        ValueError: If the step is not a whole number.
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
    """Save named trees as one step, with a digest of every array. The step is committed whole or not at all.

    An asynchronous manager returns once it holds the arrays: the training step may overwrite them (donation). JAX's
    weak types are kept. Subclasses of arrays and numbers (MaskedArray, IntEnum) raise, because they would lose their
    additions. Every process of a job calls this with the same items.

    Args:
        manager: The manager of the directory.
        step: The step's number, newer than all committed steps.
        items: The trees by name.
        metrics: Numbers to store with the step.
        keep: Pin the step, so that no Retention deletes it.

    Returns:
        The manager.

    Raises:
        ValueError: If the step, a name of an item, or a metric is not valid.
        UnsupportedLeafError: If a leaf cannot be saved.
        StepExistsError: If the step exists or is older than the newest one.
        DirectoryInUseError: If another manager writes to the directory.
        DiskFullError: If there is no space left.
        CheckpointPermissionError: If the directory is not writable or the manager is read-only.
        SaveFailedError: If the step did not commit for another reason, or an earlier background save failed.
        CheckpointError: As `CheckpointManager.save`.
    """
    step = parse_step(step)
    for name in _check_is_mapping(items):
        if name in _RESERVED or not isinstance(name, str) or not _ITEM.fullmatch(name):
            raise ValueError(
                f"item {name!r}: must be 1 to 100 letters, digits, '_', '-', '.' and spaces, must not start with "
                f"'.' or a space, and must not be one of {', '.join(sorted(_RESERVED))}"
            )
    flat = {name: tree_leaves.flatten_saved_tree(tree) for name, tree in items.items()}
    mark = {"digests": digests.MANIFEST_VERSION}
    args: dict[str, Any] = {digests.DIGESTS_ITEM: DigestSave(step, flat)}
    for name, leaves in flat.items():
        if stored := [leaf for leaf in leaves if leaf.stored]:  # Orbax refuses an item without arrays
            args[name] = _make_save_args(stored, manager.format, mark)
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
    """Load named trees of a step, verified.

    A template gives the structure, and says where each leaf goes. A jax.Array or a ShapeDtypeStruct with a sharding
    loads to that sharding, whatever it was saved with. A numpy array loads to numpy. The template is not changed. None
    instead of a template loads everything as nested dicts of numpy arrays.

    The containers (list, tuple, dict, None) must be the saved ones. Weak types come back as they were saved. Items
    without a template are not read. Checkpoints of plain Orbax have no digests, and load with an
    UnverifiedCheckpointWarning.

    Steps are listed at each call. If another process deletes the latest step while it is read, the step that is then
    the latest is loaded. Every process of a job calls this with the same templates.

    Args:
        manager: The manager of the directory.
        templates: The template of each item to load.
        step: The step's number, or None for the latest.
        partial: Let templates leave out leaves that were saved.
        verify: Verify every array against its digest.
        allow_unverified: Load steps of plain Orbax. With False they raise.

    Returns:
        The loaded items, or None if the directory has no steps.

    Raises:
        ValueError: If the step is not a whole number, or the templates have no names.
        CheckpointNotFoundError: If the directory, the step or an item does not exist.
        StepDeletedError: If another process deletes the step while it is read.
        TemplateMismatchError: If a template or a sharding does not fit.
        UnsupportedLeafError: If a template has a leaf that cannot have been saved.
        CorruptCheckpointError: If the step is damaged.
        UnverifiedCheckpointError: If the step has no digests and `allow_unverified` is False.
        CheckpointPermissionError: If a file is not readable.
        SaveFailedError: If an earlier background save failed.
    """
    _check_is_mapping(templates)
    how = {"partial": partial, "verify": verify, "allow_unverified": allow_unverified}
    manager.wait_until_finished()
    if step is not None:
        step = parse_step(step)
        if step not in (steps := manager.all_steps(read=True)):
            raise make_missing_step_error(step, manager.directory, steps)
        return load_step(manager, templates, step, **how)
    deleted: StepDeletedError | None = None
    for newest in iterate_newest_first(manager):
        try:
            return load_step(manager, templates, newest, **how)
        except StepDeletedError as error:
            deleted = error
    if deleted is not None:
        raise deleted
    return None


def iterate_newest_first(manager: CheckpointManager) -> Iterator[int]:
    """Iterate over the committed steps, newest first.

    The steps are listed again before each, because another process may save and delete meanwhile.

    Args:
        manager: The manager of the directory.

    Yields:
        Each step once.

    Raises:
        StepDeletedError: If more than MAX_NEW_STEPS steps are saved while the caller reads.
    """
    seen: set[int] = set()
    first: set[int] | None = None
    while left := set(manager.all_steps(read=True)) - seen:
        first = first or left
        if len(seen - first) > MAX_NEW_STEPS:
            raise StepDeletedError(
                f"{len(seen - first)} steps were saved in {manager.directory} while one was being read: "
                "let the Retention of the process that saves keep more steps"
            )
        step = max(left)
        seen.add(step)
        yield step


def _check_is_mapping(items: Mapping[str, Any]) -> Mapping[str, Any]:
    """Check that trees are given by name, and return them."""
    if not isinstance(items, Mapping):
        raise ValueError(f"items of type {type(items).__name__}: must be a dict from names to trees")
    return items


def _make_save_args(stored: Sequence[Leaf], format: Format | None, mark: Mapping[str, Any]) -> TreeSave:
    chosen = format or choose_format([leaf.name for leaf in stored])
    one = ocp.SaveArgs(chunk_byte_size=chosen.chunk_bytes)
    return TreeSave(
        tree_leaves.nest_names([(leaf.name, leaf.value) for leaf in stored]),
        tree_leaves.nest_names([(leaf.name, one) for leaf in stored]),
        custom_metadata={MARK: dict(mark)},
        format=chosen,
    )
