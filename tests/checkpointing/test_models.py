"""The seed's functions: models and optimizers, validation, recovery, resumption."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from flax import nnx

from artifex_bench.checkpointing import (
    CheckpointNotFoundError,
    CorruptCheckpointError,
    TemplateMismatchError,
    TrainingState,
    UnverifiedCheckpointError,
    UnverifiedCheckpointWarning,
    load_checkpoint,
    load_checkpoint_with_optimizer,
    recover_from_corruption,
    save_checkpoint,
    save_checkpoint_with_optimizer,
    save_training,
    setup_training_from_checkpoint,
    validate_checkpoint,
)
from artifex_bench.checkpointing.nnx_models import extract_pure_state
from tests.checkpointing.conftest import Net, assert_same, catch_error

ROOT = Path(__file__).parents[2]


def net(seed=0, width=4):
    return Net(nnx.Rngs(seed), width)


def spoil(manager, step, name="model/norm.scale"):
    """Change one bit of an array."""
    file = next(f for f in (manager.step_directory(step) / name).iterdir() if f.name.isdigit() or "." in f.name[1:])
    data = bytearray(file.read_bytes())
    data[3] ^= 1
    file.write_bytes(bytes(data))


def test_a_model_comes_back_new_and_the_template_stays(manager_at):
    model, template = net(0), net(1)
    model.dropout(jnp.ones(4))  # the PRNG stream has moved
    before = extract_pure_state(template)
    manager = save_checkpoint(manager_at(), model, step=3)
    restored, step = load_checkpoint(manager, target_model_template=template, step=None)
    assert step == 3 and restored is not template
    assert_same(extract_pure_state(restored), extract_pure_state(model))
    assert_same(extract_pure_state(template), before)
    x = jnp.arange(8.0).reshape(2, 4)
    assert jnp.array_equal(restored(x), model(x))


def test_there_may_be_none(manager_at, tmp_path):
    manager = manager_at()
    assert load_checkpoint(manager, net()) == (None, None)
    assert load_checkpoint_with_optimizer(manager, net(), net()) == (None, None, None)
    assert recover_from_corruption(tmp_path / "checkpoints", net()) == (None, None)
    assert str(tmp_path / "none") in str(
        catch_error(CheckpointNotFoundError, recover_from_corruption, tmp_path / "none", net())
    )


def test_an_abstract_template_is_enough(manager_at):
    manager = save_checkpoint(manager_at(), net(0), 1)
    restored, _ = load_checkpoint(manager, nnx.eval_shape(lambda: net(1)))
    assert_same(extract_pure_state(restored), extract_pure_state(net(0)))


def test_another_model_is_a_mismatch_with_its_path_and_nothing_changes(manager_at):
    manager = save_checkpoint(manager_at(), net(0), 1)
    template = net(0, width=5)
    before = extract_pure_state(template)
    error = catch_error(TemplateMismatchError, load_checkpoint, manager, template)
    assert (error.path, error.expected, error.found) == ("model/layers/0/bias", "float32[5]", "float32[4]")
    assert_same(extract_pure_state(template), before)


def test_a_model_with_its_optimizer(manager_at):
    def train(model, optimizer):
        optimizer.update(model, nnx.state(model, nnx.Param))  # as if they were gradients

    model = net(0)
    optimizer = nnx.Optimizer(model, optax.adam(1e-2), wrt=nnx.Param)
    train(model, optimizer)
    manager = save_checkpoint_with_optimizer(manager_at(asynchronous=True), model, optimizer, 1)
    template = net(1)
    blank = nnx.Optimizer(template, optax.adam(1e-2), wrt=nnx.Param)
    restored, restored_optimizer, step = load_checkpoint_with_optimizer(manager, template, blank)
    assert step == 1
    assert_same(extract_pure_state(restored_optimizer), extract_pure_state(optimizer))
    for pair in ((model, optimizer), (restored, restored_optimizer)):
        train(*pair)
    assert_same(extract_pure_state(restored), extract_pure_state(model))
    alone, _ = load_checkpoint(manager, template, 1)  # the model without its optimizer
    assert alone is not None
    save_checkpoint(manager, model, 2)
    error = catch_error(CheckpointNotFoundError, load_checkpoint_with_optimizer, manager, template, blank)
    assert (error.step, error.missing_items, error.available_items) == (2, ("optimizer",), ("model",))


@pytest.mark.parametrize("saved", ["default", "model", "pure"])
def test_checkpoints_of_plain_orbax_load_unverified(tmp_path, manager_at, saved):
    model = net(0)
    state = extract_pure_state(model) if saved == "pure" else nnx.state(model)
    with ocp.CheckpointManager(tmp_path / "plain") as plain:
        args = ocp.args.StandardSave(state)
        plain.save(4, args=args if saved == "default" else ocp.args.Composite(model=args))
    manager = manager_at(tmp_path / "plain")
    with pytest.warns(UnverifiedCheckpointWarning, match="step 4"):
        restored, step = load_checkpoint(manager, net(1))
    assert step == 4
    assert_same(extract_pure_state(restored), extract_pure_state(model))
    with pytest.warns(UnverifiedCheckpointWarning), pytest.raises(TemplateMismatchError) as caught:
        load_checkpoint(manager, net(1, width=6))
    assert caught.value.path.removesuffix("/value") == "model/layers/0/bias"  # a State stores {"value": array}
    # None would mean that there is no checkpoint.
    assert catch_error(UnverifiedCheckpointError, recover_from_corruption, tmp_path / "plain", net(1)).step == 4
    with pytest.warns(UnverifiedCheckpointWarning):
        assert recover_from_corruption(tmp_path / "plain", net(1), allow_unverified=True)[1] == 4


def test_validation(manager_at):
    model = net(0)
    manager = save_checkpoint(save_checkpoint(manager_at(), model, 1), model, 2)
    before = extract_pure_state(model)
    x = jnp.ones((2, 4))
    assert validate_checkpoint(manager, model, 1, x) is True
    assert_same(extract_pure_state(model), before)
    model.layers[0].bias[...] += 0.01
    assert validate_checkpoint(manager, model, step=1, validation_data=x) is False
    assert validate_checkpoint(manager, model, 1, x, tolerance=1.0) is True
    spoil(manager, 1)
    assert validate_checkpoint(manager, model, 1, x, tolerance=1.0) is False
    with pytest.raises(CheckpointNotFoundError):
        validate_checkpoint(manager, model, 7, x)
    with pytest.raises(ValueError, match="tolerance"):
        validate_checkpoint(manager, model, 1, x, tolerance=-1)


def test_damage_names_array_step_and_file(manager_at):
    manager = save_checkpoint(manager_at(), net(0), 1)
    spoil(manager, 1)
    with pytest.raises(CorruptCheckpointError) as caught:
        load_checkpoint(manager, net(1))
    error = caught.value
    assert (error.step, error.path) == (1, "model/norm/scale")
    assert error.file.startswith(str(manager.step_directory(1) / "model")) and error.file in str(error)


def test_recovery_skips_what_does_not_verify_and_says_why(manager_at, caplog):
    manager = manager_at()
    for step in (1, 2, 3):
        save_checkpoint(manager, net(step), step)
    spoil(manager, 3)
    spoil(manager, 2, "model/layers.0.bias")
    skipped = []
    with caplog.at_level(logging.WARNING):
        model, step = recover_from_corruption(str(manager.directory), net(0), on_skip=skipped.append)
    assert step == 1
    assert_same(extract_pure_state(model), extract_pure_state(net(1)))
    assert [(s.step, s.error.path) for s in skipped] == [(3, "model/norm/scale"), (2, "model/layers/0/bias")]
    assert all(s.reason in caplog.text for s in skipped)
    with pytest.raises(TemplateMismatchError):  # another model is no damage
        recover_from_corruption(str(manager.directory), net(0, width=3))


def start():
    model = net(0)
    return TrainingState(
        model=model,
        optimizer=nnx.Optimizer(model, optax.adam(1e-2), wrt=nnx.Param),
        rngs={"noise": jax.random.key(5), "numpy": np.arange(3)},
        position={"epoch": 0, "offset": 0},
    )


def test_training_is_resumed_from_the_newest_step_that_verifies(tmp_path, manager_at):
    state, manager = setup_training_from_checkpoint(tmp_path, start)
    assert state.step == 0
    with manager:
        for step in (10, 20):
            rngs = {**state.rngs, "noise": jax.random.fold_in(state.rngs["noise"], step)}
            position = {"epoch": step, "offset": 7}
            state = TrainingState(state.model, state.optimizer, rngs, position, step)
            save_training(manager, state)
    spoil(manager, 20)
    resumed, again = setup_training_from_checkpoint(tmp_path, start)
    with again:
        assert resumed.step == 10 and resumed.position == {"epoch": 10, "offset": 7}
        assert jax.random.key_data(resumed.rngs["noise"]).tolist() == [
            *jax.random.key_data(jax.random.fold_in(jax.random.key(5), 10)).tolist()
        ]
        assert (tmp_path / "damaged" / "20").is_dir()
        save_training(again, TrainingState(resumed.model, resumed.optimizer, resumed.rngs, resumed.position, 20))
        assert again.all_steps() == [10, 20]


def test_training_killed_and_resumed_ends_with_the_same_bits(tmp_path):
    """The example of the documentation, run through, and run with kill -9 in the middle."""
    script = [sys.executable, str(ROOT / "examples" / "resume_training.py")]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}

    def run(folder, *extra):
        command = [*script, "--dir", str(tmp_path / folder), "--steps", "30", *extra]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    whole = run("whole")
    assert whole.returncode == 0, whole.stderr
    killed = run("killed", "--kill-at", "17")
    assert killed.returncode == -signal.SIGKILL
    resumed = run("killed")
    assert resumed.returncode == 0, resumed.stderr
    assert "resumed at step" in resumed.stdout
    assert whole.stdout.splitlines()[-1] == resumed.stdout.splitlines()[-1]
    assert "weights" in whole.stdout.splitlines()[-1]
