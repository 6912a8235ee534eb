"""Training starts anew only where nothing undamaged could be resumed: else it is refused, and nothing is moved."""

from __future__ import annotations

import dataclasses
import shutil

import jax
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from flax import nnx

from artifex_bench.checkpointing import (
    CheckpointError,
    CheckpointNotFoundError,
    TemplateMismatchError,
    TrainingState,
    UnverifiedCheckpointError,
    recover_from_corruption,
    save_checkpoint,
    save_checkpoint_with_optimizer,
    save_training,
    save_tree,
    setup_training_from_checkpoint,
)
from artifex_bench.checkpointing.nnx_models import extract_pure_state
from tests.checkpointing.conftest import catch_error, overwritten


def model():
    return nnx.Linear(2, 2, rngs=nnx.Rngs(0))


def start(**changes):
    first = model()
    state = TrainingState(
        model=first,
        optimizer=nnx.Optimizer(first, optax.adam(1e-2), wrt=nnx.Param),
        rngs={"noise": jax.random.key(5)},
        position={"epoch": 0},
    )
    return dataclasses.replace(state, **changes)


def plain_step(folder, step, tree):
    with ocp.CheckpointManager(folder) as plain:
        plain.save(step, args=ocp.args.Composite(**{name: ocp.args.StandardSave(item) for name, item in tree.items()}))


@pytest.mark.parametrize(
    ("saved", "error", "attributes"),
    [
        ("model", CheckpointNotFoundError, {"step": 7, "missing_items": ("optimizer", "rngs", "position")}),
        ("model and optimizer", CheckpointNotFoundError, {"step": 7, "missing_items": ("rngs", "position")}),
        ("tree", CheckpointNotFoundError, {"step": 7, "available_items": ("tree",)}),
        ("plain model", UnverifiedCheckpointError, {"step": 7}),
        ("plain tree", UnverifiedCheckpointError, {"step": 7}),
        ("other rngs", TemplateMismatchError, {"path": "rngs/dropout"}),
        ("no position", TemplateMismatchError, {"path": "position", "expected": "None", "found": "dict"}),
    ],
)
@pytest.mark.parametrize("newer_damaged", [False, True], ids=["", "below-a-damaged-one"])
def test_an_undamaged_step_with_other_content_is_refused_by_name_and_stays(
    tmp_path, manager_at, saved, error, attributes, newer_damaged
):
    state, create = start(), start
    if saved.startswith("plain"):
        plain_step(
            tmp_path, 7, {"model": extract_pure_state(state.model)} if "model" in saved else {"tree": {"w": np.ones(2)}}
        )
    manager = manager_at(tmp_path)
    if saved == "model":
        save_checkpoint(manager, state.model, 7)
    elif saved == "model and optimizer":
        save_checkpoint_with_optimizer(manager, state.model, state.optimizer, 7)
    elif saved == "tree":
        save_tree(manager, 7, {"w": np.ones(2)})
    elif not saved.startswith("plain"):
        save_training(manager, dataclasses.replace(state, step=7))
        create = {
            "other rngs": lambda: start(rngs={"dropout": jax.random.key(5)}),
            "no position": lambda: start(position=None),
        }[saved]
    if newer_damaged:
        save_training(manager, dataclasses.replace(state, step=8))
        overwritten(manager.step_directory(8) / "model/kernel/0.0")
    manager.close()
    before = sorted(tmp_path.rglob("*"))
    caught = catch_error(error, setup_training_from_checkpoint, tmp_path, create)
    assert {name: getattr(caught, name) for name in attributes} == attributes
    assert sorted(tmp_path.rglob("*")) == before


def test_a_whole_step_above_one_with_other_content_is_resumed(tmp_path, manager_at):
    plain_step(tmp_path, 1, {"model": extract_pure_state(start().model)})
    manager = save_checkpoint(manager_at(tmp_path), start().model, 2)
    save_training(manager, start(step=3))
    manager.close()
    state, again = setup_training_from_checkpoint(tmp_path, start)
    with again:
        assert state.step == 3 and again.all_steps() == [1, 2, 3]


def test_the_manager_is_closed_where_training_cannot_start(tmp_path, manager_at):
    save_checkpoint(manager_at(tmp_path), start().model, 7).close()

    def create():
        raise ZeroDivisionError

    for create_state, error in ((start, CheckpointError), (create, ZeroDivisionError)):
        with pytest.raises(error):
            setup_training_from_checkpoint(tmp_path, create_state)
    state, manager = setup_training_from_checkpoint(tmp_path / "new", start)  # nothing holds on to the directory
    with manager:
        assert state.step == 0


def test_recovery_names_what_an_undamaged_step_lacks(tmp_path, manager_at):
    save_tree(manager_at(tmp_path), 7, {"w": np.ones(2)}).close()
    error = catch_error(CheckpointNotFoundError, recover_from_corruption, tmp_path, start().model)
    assert (error.step, error.missing_items, error.available_items) == (7, ("model",), ("tree",))


def test_what_a_deletion_left_in_parts_is_damaged(tmp_path, manager_at):
    manager = save_training(save_training(manager_at(tmp_path), start(step=1)), start(step=2))
    manager.close()
    (tmp_path / "2" / "_CHECKPOINT_METADATA").unlink()
    shutil.rmtree(tmp_path / "2" / "digests")
    for item in ("model", "optimizer", "rngs", "position"):
        (tmp_path / "2" / item / "_METADATA").unlink()
    state, again = setup_training_from_checkpoint(tmp_path, start)
    with again:
        assert state.step == 1 and (tmp_path / "damaged" / "2").is_dir()
