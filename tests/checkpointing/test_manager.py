"""What the manager promises: listed steps are on disk, failures are raised, and steps to keep stay."""

from __future__ import annotations

import threading

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from artifex_bench.checkpointing import (
    KEEP_ALL,
    CheckpointError,
    CheckpointNotFoundError,
    Retention,
    StepExistsError,
    load_tree,
    orbax_handlers,
    save_tree,
    setup_checkpoint_manager,
)
from tests.checkpointing.conftest import assert_same, catch_error

TREE = {"w": np.arange(6.0, dtype=np.float32)}


def test_the_directory_is_made_and_given_back_absolute(tmp_path, monkeypatch, manager_at):
    monkeypatch.chdir(tmp_path)
    manager, directory = setup_checkpoint_manager("some/where")
    with manager:
        assert directory == str(tmp_path / "some/where")
        assert manager.latest_step() is None
        assert load_tree(manager, TREE) == (None, None)


def test_a_missing_directory_raises(tmp_path):
    (tmp_path / "file").write_text("")
    for name, options in (("missing", {"create": False}), ("missing", {"read_only": True}), ("file", {})):
        error = catch_error(CheckpointNotFoundError, setup_checkpoint_manager, tmp_path / name, **options)
        assert error.step is None and str(tmp_path / name) in str(error)


def test_a_missing_step_names_the_available_ones(manager_at):
    manager = save_tree(save_tree(manager_at(), 2, TREE), 4, TREE)
    for call in (lambda: load_tree(manager, TREE, 3), lambda: manager.delete(3), lambda: manager.metadata(3)):
        error = catch_error(CheckpointNotFoundError, call)
        assert (error.step, error.available_steps) == (3, (2, 4))


@pytest.mark.parametrize("asynchronous", [False, True])
def test_an_existing_or_older_step_is_an_error_and_changes_nothing(manager_at, asynchronous):
    manager = save_tree(manager_at(asynchronous=asynchronous), 5, TREE)
    for step in (5, 3):
        error = catch_error(StepExistsError, save_tree, manager, step, {"w": np.zeros(6, np.float32)})
        assert (error.step, error.newest) == (step, 5)
    assert manager.all_steps() == [5]
    assert_same(load_tree(manager, TREE)[0], TREE)


@pytest.mark.parametrize("step", [-1, 1.0, True, "1"])
def test_a_step_is_a_whole_number(manager_at, step):
    with pytest.raises(ValueError, match=f"step {step!r}"):
        save_tree(manager_at(), step, TREE)


@pytest.fixture
def held_back(monkeypatch):
    """While this event is clear, the digests are not written, and so no step is committed."""
    gate, write = threading.Event(), orbax_handlers._write_digests
    monkeypatch.setattr(orbax_handlers, "_write_digests", lambda *a: (gate.wait(30), write(*a)))
    yield gate
    gate.set()


def test_a_step_in_flight_is_not_reported(manager_at, held_back):
    manager = manager_at(asynchronous=True)
    held_back.set()
    save_tree(manager, 1, TREE)
    manager.wait_until_finished()
    held_back.clear()
    save_tree(manager, 2, TREE)
    assert manager.latest_step() == 1 and manager.all_steps() == [1]
    manager.check_for_errors()  # returns at once
    held_back.set()
    assert load_tree(manager, TREE)[1] == 2  # loading waits
    assert manager.all_steps() == [1, 2]


@pytest.mark.parametrize(
    ("retention", "stay"),
    [
        (Retention(), [6, 7, 8, 9, 10]),
        (Retention(last=2), [2, 9, 10]),
        (Retention(last=None), [2, 10]),
        (Retention(last=1, every=4), [2, 4, 8, 10]),
        (Retention(last=1, best=2, metric="loss"), [2, 5, 6, 10]),
        (Retention(last=1, best=2, metric="loss", mode="max"), [1, 2, 9, 10]),
        (KEEP_ALL, list(range(1, 11))),
    ],
    ids=str,
)
def test_what_stays(manager_at, retention, stay):
    pinned = set() if retention == Retention() else {2}
    manager = manager_at(retention=retention)
    for step in range(1, 11):
        loss = float("nan") if step == 10 else abs(step - 5.4)  # 5 and 6 are least, 1 and 9 most
        save_tree(manager, step, TREE, metrics={"loss": loss}, keep=step in pinned)
    assert manager.all_steps() == sorted({*stay, *pinned})
    assert all(manager.metrics(step) is not None for step in manager.all_steps())


def test_pins_and_metrics_outlive_the_manager(manager_at):
    first = manager_at(retention=Retention(last=1, best=1, metric="loss"))
    save_tree(first, 1, TREE, keep=True, metrics={"loss": 3})
    save_tree(first, 2, TREE, metrics={"loss": np.float32(1)})
    first.close()
    second = manager_at(retention=Retention(last=1, best=1, metric="loss"))
    save_tree(second, 3, TREE, metrics={"loss": jnp.array(2.0)})
    save_tree(second, 4, TREE, metrics={"loss": 2})
    assert second.all_steps() == [1, 2, 4]
    assert second.is_pinned(1) and not second.is_pinned(2)
    assert second.best_step() == 2
    assert second.metrics(3) is None and second.metrics(4) == {"loss": 2.0}


def test_metrics_are_kept_without_a_retention_that_reads_them(manager_at):
    manager = save_tree(manager_at(), 1, TREE, metrics={"loss": 0.5})
    save_tree(manager, 2, TREE)
    assert manager.metrics(1) == {"loss": 0.5} and manager.metrics(2) is None
    with pytest.raises(CheckpointError, match="Retention"):
        manager.best_step()


@pytest.mark.parametrize("metrics", [None, {}, {"accuracy": 1}, {"loss": [1, 2]}, {"loss": np.ones((2, 2))}], ids=repr)
def test_metrics_that_are_missing_or_not_numbers_are_rejected(manager_at, metrics):
    manager = manager_at(retention=Retention(best=1, metric="loss"))
    assert "'loss'" in str(catch_error(ValueError, save_tree, manager, 1, TREE, metrics=metrics))
    assert manager.all_steps() == []


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        ({"last": 0}, "last"),
        ({"every": True}, "every"),
        ({"best": 2}, "metric"),
        ({"best": 1, "metric": "loss", "mode": "least"}, "mode"),
    ],
)
def test_a_retention_that_cannot_be(options, wrong):
    with pytest.raises(ValueError, match=wrong):
        Retention(**options)


def test_deleting_a_step_lets_an_older_one_be_saved(manager_at):
    manager = save_tree(save_tree(manager_at(), 1, TREE), 9, TREE)
    manager.delete(9)
    assert save_tree(manager, 5, TREE).all_steps() == [1, 5]


def test_a_read_only_manager_loads_and_does_not_save(manager_at):
    save_tree(manager_at(), 1, TREE)
    reader = manager_at(read_only=True)
    assert_same(load_tree(reader, TREE)[0], TREE)
    with pytest.raises(CheckpointError):
        save_tree(reader, 2, TREE)
    with pytest.raises(CheckpointError):
        reader.delete(1)
    assert reader.all_steps() == [1]


def test_orbax_reads_what_is_saved_here(manager_at):
    manager = save_tree(manager_at(), 1, {"a": [jnp.ones(2)], "n": 3})
    with ocp.CheckpointManager(manager.directory) as plain:
        plainly = ocp.RestoreArgs(restore_type=np.ndarray)
        args = ocp.args.PyTreeRestore({"a": {"0": 0}, "n": 0}, {"a": {"0": plainly}, "n": plainly})
        seen = plain.restore(1, args=ocp.args.Composite(tree=args))
    assert seen["tree"]["a"]["0"].tolist() == [1, 1] and int(seen["tree"]["n"]) == 3


@pytest.mark.parametrize("format", ["zarr2", "ocdbt"])
def test_donating_the_arrays_right_after_an_async_save_is_safe(manager_at, held_back, format):
    step = jax.jit(lambda tree: jax.tree.map(lambda x: x * -3 + 1, tree), donate_argnums=0)
    state = step({f"w{i}": jax.random.normal(jax.random.key(i), (512, 512)) for i in range(8)})
    manager = manager_at(asynchronous=True, format=format)
    expected = {name: np.array(value) for name, value in state.items()}
    state = jax.tree.map(jnp.array, expected)
    save_tree(manager, 1, state)
    for _ in range(3):
        state = jax.block_until_ready(step(state))
    held_back.set()  # only now are the arrays hashed
    assert_same(load_tree(manager, expected)[0], expected)


def test_numpy_arrays_changed_right_after_an_async_save_are_saved_as_they_were(manager_at):
    manager = manager_at(asynchronous=True)
    tree = {"w": np.ones((256, 256))}
    save_tree(manager, 1, tree)
    tree["w"][:] = 7
    assert_same(load_tree(manager, tree)[0], {"w": np.ones((256, 256))})
