"""Whatever is given to a public function, it works or is refused in one line, and nothing is written elsewhere."""

from __future__ import annotations

import json
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xxhash
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from artifex_bench.checkpointing import (
    CheckpointError,
    CheckpointNotFoundError,
    CorruptCheckpointError,
    TrainingState,
    UnsupportedLeafError,
    load_checkpoint,
    load_items,
    load_numpy,
    load_sharded_checkpoint,
    load_tree,
    recover_from_corruption,
    save_checkpoint,
    save_items,
    save_sharded_checkpoint,
    save_training,
    save_tree,
    setup_checkpoint_manager,
    setup_training_from_checkpoint,
    shard_mesh,
    validate_checkpoint,
)
from tests.checkpointing.conftest import assert_same, catch_error
from tests.checkpointing.test_resume import model, start

TREE = {"w": np.arange(3.0)}


def deep(levels):
    tree = np.ones(1)
    for _ in range(levels):
        tree = [tree]
    return tree


def cyclic():
    tree = []
    tree.append(tree)
    return tree


def donated():
    array = jnp.ones(3)
    array.delete()
    return array


NO_LEAVES = {
    "abstract": lambda: jax.ShapeDtypeStruct((2,), jnp.float32),
    "donated": donated,
    "function": lambda: print,
    "set": lambda: {1},
    "keys of two types": lambda: {1: 1, "a": 2},
    "float0": lambda: np.zeros(2, jax.dtypes.float0),
    "long double": lambda: np.longdouble(1),
    "too deep": lambda: deep(300),
    "in itself": cyclic,
    "too large a number": lambda: -(10**5000),
    "two leaves of one name": lambda: {"a": {1: 1.0}, "b": Twice()},
}


@jax.tree_util.register_pytree_with_keys_class
class Twice:
    """A node whose two children have one name."""

    def tree_flatten_with_keys(self):
        key = jax.tree_util.DictKey("same")
        return ((key, 1), (key, 2)), None

    @classmethod
    def tree_unflatten(cls, aux, children):
        return cls()


@pytest.mark.parametrize("make", NO_LEAVES.values(), ids=NO_LEAVES)
def test_a_leaf_that_cannot_be_saved_is_refused_and_nothing_is_written(manager_at, make):
    manager = manager_at()
    catch_error(UnsupportedLeafError, save_tree, manager, 1, {"x": make()})
    assert os.listdir(manager.directory) == []


def test_a_traced_array_is_refused(manager_at):
    manager = manager_at()

    @jax.jit
    def step(x):
        save_tree(manager, 1, {"x": x})
        return x

    catch_error(UnsupportedLeafError, step, jnp.ones(2))


@pytest.mark.parametrize("make", NO_LEAVES.values(), ids=NO_LEAVES)
def test_no_template_is_taken_for_damage(manager_at, make):
    manager = save_tree(manager_at(), 1, {"x": {"y": np.ones(2)}})
    with pytest.raises(CheckpointError) as caught:
        load_tree(manager, {"x": make()})
    assert not isinstance(caught.value, CorruptCheckpointError)


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.one_of(st.text(max_size=4), st.sampled_from(["\udcff", "\n", "..", "a" * 300, "\\", "d"])))
def test_any_key_of_a_dict_is_saved_and_named_in_one_line(tmp_path, key):
    tree = {"x": {key: np.ones(1)}}
    with setup_checkpoint_manager(tmp_path)[0] as manager:
        step = (manager.latest_step() or 0) + 1
        assert_same(load_tree(save_tree(manager, step, tree), tree)[0], tree)
        catch_error(CheckpointError, load_tree, manager, {"x": {key: np.ones(2)}})


def test_a_tree_of_a_hundred_levels_is_saved(manager_at):
    tree = deep(99)
    assert_same(load_tree(save_tree(manager_at(), 1, {"x": tree}), {"x": tree})[0], {"x": tree})


@pytest.mark.parametrize(
    "name", ["digests", "metrics", "", "a/b", "a\\b", ".", "..", ".x", "x" * 101, "commit_success.txt", "a\0", 3, None]
)
def test_a_name_of_an_item_that_could_not_be_loaded_again_is_refused(manager_at, name):
    manager = manager_at()
    catch_error(ValueError, save_items, manager, 1, {name: TREE})
    assert os.listdir(manager.directory) == []


@pytest.mark.parametrize("name", ["tree", "a.b", "a b", "ü", "-", "default", "x" * 100])
def test_other_names_of_items_are_right(manager_at, name):
    manager = save_items(manager_at(), 1, {name: TREE}, metrics={"loss": 1})
    assert_same(load_items(manager, {name: TREE}).items, {name: TREE})


@pytest.mark.parametrize("items", [None, 3, ["tree"], "tree"])
def test_items_without_names_are_refused(manager_at, items):
    manager = save_tree(manager_at(), 1, TREE)
    catch_error(ValueError, save_items, manager, 2, items)
    catch_error(ValueError, load_items, manager, items)


@pytest.mark.parametrize("no_model", [None, 3, 1.5, "model", np.ones(2), jnp.ones(2)], ids=repr)
def test_what_is_no_model_is_refused(manager_at, no_model):
    manager = save_checkpoint(manager_at(), model(), 1)
    for save in (save_checkpoint, save_sharded_checkpoint):
        catch_error(CheckpointError, save, manager, no_model, 2)
    for load in (load_checkpoint, load_sharded_checkpoint):
        catch_error(CheckpointError, load, manager, no_model)
    catch_error(CheckpointError, recover_from_corruption, str(manager.directory), no_model)
    catch_error(CheckpointError, validate_checkpoint, manager, no_model, 1, jnp.ones((1, 2)))
    assert manager.all_steps() == [1]


def test_other_arguments_are_refused(tmp_path, manager_at):
    manager = save_checkpoint(manager_at(), model(), 1)
    for onto in (3, "cpu"):
        catch_error(ValueError, load_sharded_checkpoint, manager, model(), onto=onto)
    for count in (0, 1.5, "1", True, 10**6):
        catch_error(ValueError, shard_mesh, count)
        catch_error(ValueError, save_sharded_checkpoint, manager, model(), 2, count)
    for tolerance in ("a", None, -1, float("nan")):
        catch_error(ValueError, validate_checkpoint, manager, model(), 1, jnp.ones((1, 2)), tolerance)
    catch_error(ValueError, setup_training_from_checkpoint, tmp_path / "run", lambda: model())
    catch_error(CheckpointError, setup_training_from_checkpoint, tmp_path / "run", lambda: TrainingState(model(), None))
    catch_error(CheckpointNotFoundError, load_numpy, manager, item="nothing")


def test_a_step_of_another_version_is_no_damage(tmp_path):
    state, manager = setup_training_from_checkpoint(tmp_path, start)
    with manager:
        save_training(manager, state)
    file = tmp_path / "0" / "digests" / "process_0.txt"
    body = json.dumps({**json.loads(file.read_text().partition("\n")[2]), "version": 10**6})
    file.write_text(f"xxh3_128 {xxhash.xxh3_128_hexdigest(body.encode())}\n{body}")
    catch_error(CheckpointError, setup_training_from_checkpoint, tmp_path, start)
    assert not (tmp_path / "damaged").exists()
