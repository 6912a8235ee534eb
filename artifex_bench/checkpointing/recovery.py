"""Recovery from damage: load the newest step that verifies, and report the steps that were skipped."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import jax

from artifex_bench.checkpointing.errors import (
    CheckpointError,
    CorruptCheckpointError,
    StepDeletedError,
    UnverifiedCheckpointError,
    make_missing_step_error,
)
from artifex_bench.checkpointing.failure_causes import make_change_error
from artifex_bench.checkpointing.loading import Loaded, load_step
from artifex_bench.checkpointing.manager import CheckpointManager
from artifex_bench.checkpointing.nnx_models import MODEL, copy_with_state, extract_pure_state
from artifex_bench.checkpointing.setup_manager import setup_checkpoint_manager
from artifex_bench.checkpointing.steps import parse_step
from artifex_bench.checkpointing.trees import iterate_newest_first

log = logging.getLogger(__name__)

M = TypeVar("M")

DAMAGED_FOLDER = "damaged"  # `set_aside` moves steps there


@dataclass(frozen=True)
class Skipped:
    """A step that was skipped.

    Attributes:
        step: The step's number.
        reason: Why, in one line.
        error: The CorruptCheckpointError or UnverifiedCheckpointError.
    """

    step: int
    reason: str
    error: CheckpointError


@dataclass(frozen=True)
class Recovery:
    """The result of a recovery.

    Attributes:
        loaded: The newest step that verified, or None if no step did.
        skipped: The newer steps, which did not verify, newest first.
    """

    loaded: Loaded | None
    skipped: tuple[Skipped, ...]


def recover_from_corruption(
    checkpoint_dir: str | os.PathLike[str],
    model_template: M,
    *,
    allow_unverified: bool = False,
    on_skip: Callable[[Skipped], None] | None = None,
) -> tuple[M, int] | tuple[None, None]:
    """Load a model from the newest step that verifies. Nothing on disk is changed.

    Every skipped step is logged as a warning.

    Args:
        checkpoint_dir: The directory of the checkpoints.
        model_template: A model with the saved structure, which may be abstract. It is not changed.
        allow_unverified: Accept steps of plain Orbax, which cannot be verified.
        on_skip: Called with each skipped step.

    Returns:
        (new model, step), or (None, None) if no step verifies.

    Raises:
        UnverifiedCheckpointError: If no step verifies, and a step of plain Orbax was skipped. Training that starts from
            scratch would lose it.
        CheckpointNotFoundError: If the directory does not exist, or an undamaged step holds no model.
        TemplateMismatchError: If the template does not fit an undamaged step.
        CheckpointError: As `recover`.
    """
    manager, _ = setup_checkpoint_manager(checkpoint_dir, read_only=True)
    with manager:
        templates = {MODEL: extract_pure_state(model_template)}
        recovery = recover(manager, templates, allow_unverified=allow_unverified, on_skip=on_skip)
    if recovery.loaded is None:
        for skipped in recovery.skipped:
            if isinstance(skipped.error, UnverifiedCheckpointError):
                raise skipped.error
        return None, None
    return copy_with_state(model_template, recovery.loaded.items[MODEL]), recovery.loaded.step


def recover(
    manager: CheckpointManager,
    templates: Mapping[str, Any],
    *,
    allow_unverified: bool = False,
    on_skip: Callable[[Skipped], None] | None = None,
) -> Recovery:
    """Load the newest step whose items verify. The steps are listed again before each is tried.

    Args:
        manager: The manager of the directory.
        templates: The template of each item to load, see `load_items`.
        allow_unverified: Accept steps of plain Orbax, which cannot be verified.
        on_skip: Called with each skipped step.

    Returns:
        The loaded step, and the newer steps that were skipped.

    Raises:
        CheckpointNotFoundError: If an undamaged step lacks an item.
        TemplateMismatchError: If a template does not fit an undamaged step.
        CheckpointPermissionError: If a step is not readable.
        StepDeletedError: If no step verifies, and another process deleted a step while it was read.
        SaveFailedError: If an earlier background save failed.
    """
    manager.wait_until_finished()
    skipped: list[Skipped] = []
    deleted: StepDeletedError | None = None
    for step in iterate_newest_first(manager):
        try:
            loaded = load_step(manager, templates, step, partial=False, verify=True, allow_unverified=allow_unverified)
            return Recovery(loaded, tuple(s for s in skipped if s.step > step))
        except StepDeletedError as error:
            deleted = error
        except (CorruptCheckpointError, UnverifiedCheckpointError) as error:
            skipped.append(Skipped(step, str(error), error))
            log.warning("skipped %s", error)
            if on_skip is not None:
                on_skip(skipped[-1])
    if deleted is not None:
        raise deleted  # the deleted step may have been undamaged, so None would be wrong
    return Recovery(None, tuple(skipped))


def set_aside(manager: CheckpointManager, step: int) -> Path:
    """Move a step into the folder `damaged`, so that training can save again from an older step. Nothing is deleted.

    Every process of a job calls this.

    Args:
        manager: The manager of the directory.
        step: The step's number.

    Returns:
        The step's new folder.

    Raises:
        ValueError: If the step is not a whole number.
        CheckpointNotFoundError: If the step does not exist.
        CheckpointPermissionError: If a permission to move it is missing, or the manager is read-only.
        DirectoryInUseError: If another manager writes to the directory.
        CheckpointError: If the step cannot be moved for another reason.
    """
    step = parse_step(step)
    manager.check_writable(f"step {step} is not set aside", step)
    with manager.changing():
        manager.wait_until_finished()
        try:
            manager.claim()
        except OSError as error:
            raise make_change_error(error, f"step {step} is not set aside", step) from error
        target = _move_in_every_process(manager, step)
    log.warning("step %d is set aside as %s", step, target)
    return target


def _move_in_every_process(manager: CheckpointManager, step: int) -> Path:
    """Let the primary process move the step, and return the new folder in every process."""
    several = jax.process_count() > 1
    if several:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(f"set aside {step}")  # another process may still be reading the step
    number = 0
    failure = CheckpointError(f"step {step} is not set aside because process 0 failed: see the error of process 0")
    if jax.process_index() == 0:
        try:
            number = _move_step(manager, step)
        except CheckpointError as error:
            number, failure = -1, error
    if several:
        number = int(multihost_utils.broadcast_one_to_all(number))
    if number < 0:
        raise failure
    manager.reload()
    return _locate_damaged_step(manager, step, number)


def _move_step(manager: CheckpointManager, step: int) -> int:
    """Move the step to the first free folder, and return that folder's number."""
    if step not in (steps := manager.all_steps(read=True)):
        raise make_missing_step_error(step, manager.directory, steps)
    try:
        _locate_damaged_step(manager, step, 0).parent.mkdir(exist_ok=True)
        number = next(n for n in itertools.count() if not os.path.lexists(_locate_damaged_step(manager, step, n)))
        manager.step_directory(step).rename(_locate_damaged_step(manager, step, number))
    except OSError as error:
        raise make_change_error(error, f"step {step} is not set aside", step) from error
    return number


def _locate_damaged_step(manager: CheckpointManager, step: int, number: int) -> Path:
    """Return the folder that a step is moved to. Its number tells moves of equal steps apart."""
    folder = manager.step_directory(step).parent / DAMAGED_FOLDER
    return folder / (f"{step}-{number}" if number else str(step))
