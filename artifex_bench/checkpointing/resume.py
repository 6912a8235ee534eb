"""Training that resumes bit-exactly: model, optimizer, PRNG streams, position in the data, and step."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from flax import nnx

from artifex_bench.checkpointing.errors import TemplateMismatchError, UnverifiedCheckpointError
from artifex_bench.checkpointing.formats import Format
from artifex_bench.checkpointing.loading import Loaded
from artifex_bench.checkpointing.manager import CheckpointManager
from artifex_bench.checkpointing.nnx_models import MODEL, OPTIMIZER, copy_with_state, extract_pure_state
from artifex_bench.checkpointing.recovery import Recovery, recover, set_aside
from artifex_bench.checkpointing.retention import Retention
from artifex_bench.checkpointing.setup_manager import setup_checkpoint_manager
from artifex_bench.checkpointing.trees import save_items

log = logging.getLogger(__name__)

RNGS, POSITION = "rngs", "position"


@dataclass(frozen=True)
class TrainingState:
    """Everything that decides how training continues.

    Attributes:
        model: An nnx model.
        optimizer: Its nnx optimizer.
        rngs: An nnx.Rngs, a tree of `jax.random` keys, or None.
        position: A tree of numbers that finds the next batch (epoch, offset, seed), or None.
        step: Number of finished steps. Training continues with `range(state.step, num_steps)`.
    """

    model: Any
    optimizer: Any
    rngs: Any = None
    position: Any = None
    step: int = 0


def setup_training_from_checkpoint(
    checkpoint_dir: str | os.PathLike[str],
    create: Callable[[], TrainingState],
    *,
    retention: Retention | None = None,
    format: str | Format = "auto",
    asynchronous: bool = False,
) -> tuple[TrainingState, CheckpointManager]:
    """Set up training from the newest step that verifies, or from the start.

    Newer steps that are damaged are moved to the folder `damaged`, with a warning in the log, because a step that is
    older than the newest one cannot be saved. An undamaged step without a whole training state is left in place and
    raises, because its training would start from scratch.

    Args:
        checkpoint_dir: The directory of the checkpoints. It is created if it does not exist.
        create: Makes the state at the start of training. A loaded state gets its structure and its shardings.
        retention: The steps to keep. None keeps the last 5.
        format: "auto", a name in FORMATS, or a Format.
        asynchronous: Write saves in the background.

    Returns:
        (state, manager). Use the manager in a `with` statement, which closes it.

    Raises:
        CheckpointNotFoundError: If an undamaged step lacks an item of the state.
        UnverifiedCheckpointError: If a step of plain Orbax is newer than every step that verifies.
        TemplateMismatchError: If `create` makes another model than the saved one.
        ValueError: If `create` does not return a TrainingState.
        CheckpointError: As `setup_checkpoint_manager` and `recover`.
    """
    manager, directory = setup_checkpoint_manager(
        checkpoint_dir, retention=retention, format=format, asynchronous=asynchronous
    )
    with ExitStack() as closed_on_failure:
        closed_on_failure.callback(manager.close)
        state = create()
        if not isinstance(state, TrainingState):
            raise ValueError(f"`create` returned a {type(state).__name__}: it must return a TrainingState")
        recovery = recover(manager, _collect_items(state))
        _check_is_complete(state, recovery)
        for skipped in recovery.skipped:
            set_aside(manager, skipped.step)
        resumed = state if recovery.loaded is None else _restore_state(state, recovery.loaded)
        closed_on_failure.pop_all()
    if recovery.loaded is None:
        log.info("no checkpoint in %s: training starts at step %d", directory, state.step)
    else:
        log.info("training resumes from step %d in %s", resumed.step, directory)
    return resumed, manager


def _check_is_complete(state: TrainingState, recovery: Recovery) -> None:
    """Raise if an undamaged step was skipped, or holds an item that the state lacks."""
    for skipped in recovery.skipped:
        if isinstance(skipped.error, UnverifiedCheckpointError):
            raise skipped.error
    if recovery.loaded is None:
        return
    for name, tree in _collect_items(state).items():
        saved = recovery.loaded.items[name]
        if tree is None and saved is not None:
            found = type(saved).__name__
            raise TemplateMismatchError(
                f"step {recovery.loaded.step}: {name}: `create` makes None, but the checkpoint has a {found}: "
                "make the state like the saved one",
                path=name,
                expected="None",
                found=found,
            )


def _restore_state(state: TrainingState, loaded: Loaded) -> TrainingState:
    items = loaded.items
    return TrainingState(
        model=copy_with_state(state.model, items[MODEL]),
        optimizer=copy_with_state(state.optimizer, items[OPTIMIZER]),
        rngs=copy_with_state(state.rngs, items[RNGS]) if isinstance(state.rngs, nnx.Rngs) else items[RNGS],
        position=items[POSITION],
        step=loaded.step,
    )


def save_training(
    manager: CheckpointManager,
    state: TrainingState,
    *,
    metrics: Mapping[str, float] | None = None,
    keep: bool = False,
) -> CheckpointManager:
    """Save the whole training state as the step `state.step`.

    Args:
        manager: The manager of the directory.
        state: The state.
        metrics: Numbers to store with the step.
        keep: Pin the step, so that no Retention deletes it.

    Returns:
        The manager.

    Raises:
        CheckpointError: As `save_items`.
        ValueError: As `save_items`.
    """
    return save_items(manager, state.step, _collect_items(state), metrics=metrics, keep=keep)


def advanced(state: TrainingState, **changes: Any) -> TrainingState:
    """Make the state after one more step.

    Args:
        state: The state before the step.
        **changes: Other attributes that changed, such as `position`.

    Returns:
        A new state, whose `step` is larger by 1.
    """
    return dataclasses.replace(state, step=state.step + 1, **changes)


def _collect_items(state: TrainingState) -> dict[str, Any]:
    return {
        MODEL: extract_pure_state(state.model),
        OPTIMIZER: extract_pure_state(state.optimizer),
        RNGS: extract_pure_state(state.rngs) if isinstance(state.rngs, nnx.Rngs) else state.rngs,
        POSITION: state.position,
    }
