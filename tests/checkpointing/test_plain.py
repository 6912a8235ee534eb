"""Steps that plain Orbax wrote: any tree of theirs loads, in the template's structure or as it is."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

from artifex_bench.checkpointing import (
    CheckpointNotFoundError,
    TemplateMismatchError,
    UnverifiedCheckpointError,
    load_items,
    load_numpy,
    load_tree,
)
from tests.checkpointing.conftest import assert_same, catch_error

pytestmark = pytest.mark.filterwarnings("ignore::artifex_bench.checkpointing.UnverifiedCheckpointWarning")

SAVES = {"standard": ocp.args.StandardSave, "pytree": ocp.args.PyTreeSave}


def plainly(folder, save=ocp.args.PyTreeSave, **items):
    with ocp.CheckpointManager(folder) as manager:
        manager.save(1, args=ocp.args.Composite(**{name: save(tree) for name, tree in items.items()}))


@pytest.fixture
def every_container():
    return {
        "tuple": (jnp.ones(2),),
        "list": [jnp.zeros(3), {"x": np.ones(1)}, (jnp.ones(1), [jnp.ones(4)])],
        "dict": {"0": jnp.ones(1), "a.b": {"c/d": jnp.ones(2)}, "manifest": jnp.ones(1)},
        "numbers": {7: 3, 8: 2.5, 9: True},
        "optimizer": optax.adam(1e-2).init({"w": jnp.ones(2)}),
        "empty": {"dict": {}, "list": [], "tuple": (), "none": None},
    }


@pytest.mark.parametrize("save", SAVES.values(), ids=SAVES)
def test_tuples_lists_and_odd_names_load(tmp_path, manager_at, save, every_container):
    plainly(tmp_path / "plain", save, tree=every_container)
    manager = manager_at(tmp_path / "plain")
    assert_same(load_tree(manager, every_container)[0], every_container)
    loaded, _ = load_tree(manager)
    assert loaded["list"]["2"]["1"]["0"].tolist() == [1] * 4 and loaded["dict"]["a%2Eb"]["c%2Fd"].tolist() == [1, 1]
    assert loaded["empty"] == {"dict": {}, "list": [], "tuple": (), "none": None}
    part = {"list": [every_container["list"][0]], "numbers": {7: 0}}
    assert_same(load_tree(manager, part, partial=True)[0], {"list": part["list"], "numbers": {7: 3}})


@pytest.mark.parametrize("tree", [(jnp.ones(2),), [jnp.ones(2)], [[], ({},)], {"o": (jnp.ones(2),)}], ids=str)
def test_the_tree_itself_may_be_a_tuple_or_a_list(tmp_path, manager_at, tree):
    plainly(tmp_path / "plain", tree=tree)
    assert_same(load_tree(manager_at(tmp_path / "plain"), tree)[0], tree)


def test_text_and_keys_load(tmp_path, manager_at):
    tree = {"text": "words", "texts": ["a", "b"], "key": jax.random.key(3), "keys": (jax.random.key(4, impl="rbg"),)}
    plainly(tmp_path / "plain", tree=tree)
    manager = manager_at(tmp_path / "plain")
    assert_same(load_tree(manager, tree)[0], tree)
    assert_same(load_tree(manager, jax.eval_shape(lambda: {"key": tree["key"]}), partial=True)[0], {"key": tree["key"]})
    assert load_tree(manager)[0]["texts"] == {"0": "a", "1": "b"}


@pytest.mark.parametrize(
    ("saved", "template", "path"),
    [
        ({"o": (jnp.ones(2),)}, {"o": {"0": jnp.ones(2)}}, "tree/o"),
        ({"o": {"0": jnp.ones(2)}}, {"o": [jnp.ones(2)]}, "tree/o"),
        ({"o": {}, "w": np.ones(1)}, {"o": None, "w": np.ones(1)}, "tree/o"),
        ({"o": [], "w": np.ones(1)}, {"o": {}, "w": np.ones(1)}, "tree/o"),
        ({"o": {}, "w": np.ones(1)}, {"o": np.ones(1), "w": np.ones(1)}, "tree/o"),
        ({"o": "text"}, {"o": np.ones(1)}, "tree/o"),
        ({"o": np.ones(1)}, {"o": "text"}, "tree/o"),
        ({"o": np.ones(1), "t": "text"}, {"o": np.ones(1)}, "tree/t"),
    ],
    ids=str,
)
def test_another_container_is_a_mismatch(tmp_path, manager_at, saved, template, path):
    plainly(tmp_path / "plain", tree=saved)
    with pytest.raises(TemplateMismatchError) as caught:
        load_tree(manager_at(tmp_path / "plain"), template)
    assert caught.value.path == path


def test_an_item_is_not_loaded_in_the_place_of_another(tmp_path, manager_at):
    plainly(tmp_path / "plain", model={"w": jnp.ones(2)})
    manager = manager_at(tmp_path / "plain")
    assert load_numpy(manager, item="anything")[0]["w"].tolist() == [1, 1]  # the only one there is
    error = catch_error(CheckpointNotFoundError, load_items, manager, {"model": None, "optimizer": None})
    assert (error.step, error.missing_items, error.available_items) == (1, ("optimizer",), ("model",))
    assert (
        catch_error(UnverifiedCheckpointError, load_items, manager, {"model": None}, allow_unverified=False).step == 1
    )


def test_an_item_without_a_tree_is_not_taken_for_the_tree_beside_it(tmp_path, manager_at):
    with ocp.CheckpointManager(tmp_path / "plain") as manager:
        config = ocp.args.JsonSave({"width": 2})
        manager.save(1, args=ocp.args.Composite(tree=ocp.args.PyTreeSave({"w": np.ones(2)}), config=config))
    manager = manager_at(tmp_path / "plain")
    error = catch_error(CheckpointNotFoundError, load_items, manager, {"config": None})
    assert (error.missing_items, error.available_items) == (("config",), ("tree",))
    for name in ("tree", "a\0", "../1", 3):
        assert load_items(manager, {name: None}).items[name]["w"].tolist() == [1, 1]
