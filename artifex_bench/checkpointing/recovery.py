"""Coming back after damage: the newest step that verifies, and the account of what was skipped."""

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
    change_failure,
    missing_step,
)
from artifex_bench.checkpointing.loading import Loaded, load_step
from artifex_bench.checkpointing.manager import CheckpointManager
from artifex_bench.checkpointing.models import MODEL, pure_state, with_state
from artifex_bench.checkpointing.names import whole_step
from artifex_bench.checkpointing.setup_manager import setup_checkpoint_manager
from artifex_bench.checkpointing.trees import newest_first

log = logging.getLogger(__name__)

M = TypeVar("M")

SET_ASIDE = "damaged"  # where damaged steps go when they are set aside


@dataclass(frozen=True)
class Skipped:
    """A step that was passed over: why, and the error that said so."""

    step: int
    reason: str
    error: CheckpointError


@dataclass(frozen=True)
class Recovery:
    """The newest step that verified (`loaded` is None where none did) and the newer ones that did not."""

    loaded: Loaded | None
    skipped: tuple[Skipped, ...]


def recover_from_corruption(
    checkpoint_dir: str | os.PathLike[str],
    model_template: M,
    *,
    allow_unverified: bool = False,
    on_skip: Callable[[Skipped], None] | None = None,
) -> tuple[M, int] | tuple[None, None]:
    """(model, step) of the newest step that verifies; (None, None) where none does.

    Every step that is passed over is logged as a warning and given to `on_skip`. Steps of plain Orbax cannot be
    verified: they are passed over unless `allow_unverified`. Nothing on disk is changed.
    Raises UnverifiedCheckpointError where none verifies and one of plain Orbax was passed over, which training that
    begins anew would lose; CheckpointNotFoundError for a missing directory, or an undamaged step that holds no model;
    TemplateMismatchError for a template that does not fit an undamaged step; and what `recover` raises.
    """
    manager, _ = setup_checkpoint_manager(checkpoint_dir, read_only=True)
    with manager:
        templates = {MODEL: pure_state(model_template)}
        found = recover(manager, templates, allow_unverified=allow_unverified, on_skip=on_skip)
    if found.loaded is None:
        for skipped in found.skipped:
            if isinstance(skipped.error, UnverifiedCheckpointError):
                raise skipped.error
        return None, None
    return with_state(model_template, found.loaded.items[MODEL]), found.loaded.step


def recover(
    manager: CheckpointManager,
    templates: Mapping[str, Any],
    *,
    allow_unverified: bool = False,
    on_skip: Callable[[Skipped], None] | None = None,
) -> Recovery:
    """The newest step whose items verify, and every newer step with the reason why it does not. See `load_items`.

    The steps are listed again before each is tried. Raises CheckpointNotFoundError for an undamaged step that lacks an
    item, TemplateMismatchError for one that is built otherwise, CheckpointPermissionError, and StepDeletedError where
    none is left to be tried and another process deleted one while it was read.
    """
    manager.wait_until_finished()
    skipped: list[Skipped] = []
    deleted: StepDeletedError | None = None
    for step in newest_first(manager):
        try:
            loaded = load_step(manager, templates, step, partial=False, verify=True, allow_unverified=allow_unverified)
            return Recovery(loaded, tuple(s for s in skipped if s.step > step))
        except StepDeletedError as error:
            deleted = error
        except (CorruptCheckpointError, UnverifiedCheckpointError) as error:
            passed = Skipped(step, str(error), error)
            log.warning("skipped %s", passed.reason)
            skipped.append(passed)
            if on_skip is not None:
                on_skip(passed)
    if deleted is not None:
        raise deleted  # it may have been undamaged: that there is none cannot be said
    return Recovery(None, tuple(skipped))


def set_aside(manager: CheckpointManager, step: int) -> Path:
    """Move a step into the folder `damaged`, so that saving can go on from an older one; gives its new place.

    Nothing is deleted. Every process calls this. Raises ValueError for a step that is no whole number,
    CheckpointNotFoundError where there is no such step, CheckpointPermissionError where the manager is read-only or the
    step may not be moved, DirectoryInUseError where another manager writes, and CheckpointError where it cannot be.
    """
    step = whole_step(step)
    manager.check_writable(f"step {step} is not set aside", step)
    with manager.changing():
        manager.wait_until_finished()
        try:
            manager.claim()
        except OSError as error:
            raise change_failure(error, f"step {step} is not set aside", step) from error
        target = _move_in_every_process(manager, step)
    log.warning("step %d is set aside as %s", step, target)
    return target


def _move_in_every_process(manager: CheckpointManager, step: int) -> Path:
    """Let the primary process move the step, and give its new place in every process."""
    several = jax.process_count() > 1
    if several:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(f"set aside {step}")  # another process may still be reading it
    number, failure = 0, CheckpointError(f"step {step} is not set aside: the first process could not move it")
    if jax.process_index() == 0:
        try:
            number = _move(manager, step)
        except CheckpointError as error:
            number, failure = -1, error
    if several:
        number = int(multihost_utils.broadcast_one_to_all(number))
    if number < 0:
        raise failure
    manager.reload()
    return _place(manager, step, number)


def _move(manager: CheckpointManager, step: int) -> int:
    """Move the step to the first free place, and give its number."""
    if step not in (steps := manager.all_steps(read=True)):
        raise missing_step(step, manager.directory, steps)
    try:
        _place(manager, step, 0).parent.mkdir(exist_ok=True)
        number = next(n for n in itertools.count() if not os.path.lexists(_place(manager, step, n)))
        manager.step_directory(step).rename(_place(manager, step, number))
    except OSError as error:
        raise change_failure(error, f"step {step} is not set aside", step) from error
    return number


def _place(manager: CheckpointManager, step: int, number: int) -> Path:
    folder = manager.step_directory(step).parent / SET_ASIDE
    return folder / (f"{step}-{number}" if number else str(step))
