"""Coming back after damage: the newest step that verifies, and the account of what was skipped."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import jax

from artifex_bench.checkpointing.errors import (
    CheckpointError,
    CheckpointNotFoundError,
    CorruptCheckpointError,
    UnverifiedCheckpointWarning,
)
from artifex_bench.checkpointing.manager import CheckpointManager, setup_checkpoint_manager
from artifex_bench.checkpointing.models import MODEL, pure_state, with_state
from artifex_bench.checkpointing.trees import Loaded, load_items

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
    Raises CheckpointNotFoundError for a missing directory, TemplateMismatchError for a template that does not fit an
    undamaged step.
    """
    manager, _ = setup_checkpoint_manager(checkpoint_dir, read_only=True)
    with manager:
        templates = {MODEL: pure_state(model_template)}
        found = recover(manager, templates, allow_unverified=allow_unverified, on_skip=on_skip)
    if found.loaded is None:
        return None, None
    return with_state(model_template, found.loaded.items[MODEL]), found.loaded.step


def recover(
    manager: CheckpointManager,
    templates: Mapping[str, Any],
    *,
    allow_unverified: bool = False,
    on_skip: Callable[[Skipped], None] | None = None,
) -> Recovery:
    """The newest step whose items verify, and every newer step with the reason why it does not. See `load_items`."""
    skipped: list[Skipped] = []
    for step in sorted(manager.all_steps(), reverse=True):
        try:
            return Recovery(_load(manager, templates, step, allow_unverified), tuple(skipped))
        except (CorruptCheckpointError, CheckpointNotFoundError) as error:
            passed = Skipped(step, str(error), error)
            log.warning("skipped %s", passed.reason)
            skipped.append(passed)
            if on_skip is not None:
                on_skip(passed)
    return Recovery(None, tuple(skipped))


def _load(manager: CheckpointManager, templates: Mapping[str, Any], step: int, allow_unverified: bool) -> Loaded:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if not allow_unverified else "default", UnverifiedCheckpointWarning)
        loaded = load_items(manager, templates, step)
    assert loaded is not None
    if not loaded.verified and not allow_unverified:
        folder = str(manager.step_directory(step))
        raise CorruptCheckpointError(
            f"step {step}: {folder} has no digests (it is of plain Orbax) and cannot be verified: "
            "pass allow_unverified=True to take it as it is",
            step=step,
            file=folder,
        )
    return loaded


def set_aside(manager: CheckpointManager, step: int) -> Path:
    """Move a step into the folder `damaged`, so that saving can go on from an older one; gives its new place.

    Nothing is deleted. Raises CheckpointNotFoundError where there is no such step, and what `claim` raises.
    """
    manager.claim()
    source = manager.step_directory(step)
    if not source.is_dir():
        raise CheckpointNotFoundError(f"no step {step} in {manager.directory}: nothing to set aside")
    folder = source.parent / SET_ASIDE
    if jax.process_index() == 0:
        folder.mkdir(exist_ok=True)
        number = sum(1 for _ in folder.glob(f"{step}*"))
        target = folder / (f"{step}-{number}" if number else str(step))
        source.rename(target)
    else:
        target = folder / str(step)
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(f"set aside {step}")
    manager.reload()
    log.warning("step %d is set aside as %s", step, target)
    return target
