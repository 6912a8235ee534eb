"""Resuming training where it stopped, to the bit: model, optimizer, PRNG, position in the data, step."""

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
from artifex_bench.checkpointing.models import MODEL, OPTIMIZER, pure_state, with_state
from artifex_bench.checkpointing.recovery import Recovery, recover, set_aside
from artifex_bench.checkpointing.retention import Retention
from artifex_bench.checkpointing.setup_manager import setup_checkpoint_manager
from artifex_bench.checkpointing.trees import save_items

log = logging.getLogger(__name__)

RNGS, POSITION = "rngs", "position"


@dataclass(frozen=True)
class TrainingState:
    """All that decides how training goes on.

    `step` counts finished steps, so that training continues with `range(state.step, num_steps)`. `rngs` is an nnx.Rngs
    or a tree of jax.random keys, `position` a tree of numbers that finds the next batch (epoch, offset, seed).
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
    """(state, manager) to go on training with: the newest step that verifies, or what `create` makes.

    `create` makes the state at the start of training; what is loaded has its structure and lies where its arrays lie.
    Newer steps that are damaged are set aside in the folder `damaged`, with a warning in the log: the steps saved from
    here on would otherwise be older than they are. Use the manager in a `with`.

    An undamaged step that does not hold a whole training state is left where it is, and raises: its training would
    start anew. Raises CheckpointNotFoundError for one that lacks an item, UnverifiedCheckpointError for one of plain
    Orbax, TemplateMismatchError where `create` makes another model, ValueError where it makes no TrainingState, and
    what `setup_checkpoint_manager` raises.
    """
    manager, directory = setup_checkpoint_manager(
        checkpoint_dir, retention=retention, format=format, asynchronous=asynchronous
    )
    with ExitStack() as closed_on_failure:
        closed_on_failure.callback(manager.close)
        state = create()
        if not isinstance(state, TrainingState):
            raise ValueError(f"`create` made a {type(state).__name__}: it must make a TrainingState")
        found = recover(manager, _items(state))
        _check_whole(state, found)
        for skipped in found.skipped:
            set_aside(manager, skipped.step)
        resumed = state if found.loaded is None else _resumed(state, found.loaded)
        closed_on_failure.pop_all()
    if found.loaded is None:
        log.info("no checkpoint in %s: training starts at step %d", directory, state.step)
    else:
        log.info("training goes on from step %d in %s", resumed.step, directory)
    return resumed, manager


def _check_whole(state: TrainingState, found: Recovery) -> None:
    """Raise where an undamaged step would be passed over, or holds what the state does not have."""
    for skipped in found.skipped:
        if isinstance(skipped.error, UnverifiedCheckpointError):
            raise skipped.error
    for name, tree in _items(state).items():
        if tree is None and found.loaded is not None and found.loaded.items[name] is not None:
            raise TemplateMismatchError(
                f"step {found.loaded.step}: {name}: the state that `create` makes has None, the checkpoint has more: "
                "make the state as the saved one was",
                path=name,
                expected="None",
                found=type(found.loaded.items[name]).__name__,
            )


def _resumed(state: TrainingState, loaded: Loaded) -> TrainingState:
    items = loaded.items
    return TrainingState(
        model=with_state(state.model, items[MODEL]),
        optimizer=with_state(state.optimizer, items[OPTIMIZER]),
        rngs=with_state(state.rngs, items[RNGS]) if isinstance(state.rngs, nnx.Rngs) else items[RNGS],
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
    """Save the whole state as the step `state.step`. See `save_items`."""
    return save_items(manager, state.step, _items(state), metrics=metrics, keep=keep)


def advanced(state: TrainingState, **changes: Any) -> TrainingState:
    """The state one step further, with whatever else changed."""
    return dataclasses.replace(state, step=state.step + 1, **changes)


def _items(state: TrainingState) -> dict[str, Any]:
    return {
        MODEL: pure_state(state.model),
        OPTIMIZER: pure_state(state.optimizer),
        RNGS: pure_state(state.rngs) if isinstance(state.rngs, nnx.Rngs) else state.rngs,
        POSITION: state.position,
    }
