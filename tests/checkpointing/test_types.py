"""What comes back has the type that was saved: containers, weak types, subclasses."""

from __future__ import annotations

import collections
import enum
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import xxhash

from artifex_bench.checkpointing import (
    TemplateMismatchError,
    UnsupportedLeafError,
    load_tree,
    save_tree,
)
from tests.checkpointing.conftest import assert_same, catch_error

EMPTY = [{}, [], (), None, optax.EmptyState()]


@pytest.mark.parametrize("saved", EMPTY, ids=repr)
@pytest.mark.parametrize("template", EMPTY, ids=repr)
def test_empty_containers_are_told_apart(manager_at, saved, template):
    manager = save_tree(manager_at(), 1, {"state": saved, "w": np.ones(1)})
    if type(saved) is type(template):
        assert_same(load_tree(manager, {"state": template, "w": np.ones(1)})[0], {"state": saved, "w": np.ones(1)})
    else:
        with pytest.raises(TemplateMismatchError) as caught:
            load_tree(manager, {"state": template, "w": np.ones(1)})
        assert caught.value.path == "tree/state"


def test_containers_that_load_as_each_other(manager_at):
    ordered = collections.OrderedDict(w=np.ones(1), e=collections.OrderedDict())
    manager = save_tree(manager_at(), 1, {"state": {"w": np.ones(1), "e": {}}})
    assert_same(load_tree(manager, {"state": ordered})[0], {"state": ordered})
    assert_same(
        load_tree(save_tree(manager, 2, {"state": ordered}), {"state": dict(ordered)}, 1)[0]["state"], dict(ordered)
    )


def test_a_step_of_a_version_that_did_not_record_containers_loads(manager_at):
    manager = save_tree(manager_at(), 1, {"a": [np.ones(2)], "e": {}})
    file = manager.step_directory(1) / "digests" / "process_0.txt"
    document = json.loads(file.read_text().partition("\n")[2])
    for row in document["items"]["tree"].values():
        del row["containers"]
    body = json.dumps(document)
    file.write_text(f"xxh3_128 {xxhash.xxh3_128_hexdigest(body.encode())}\n{body}")
    for template in ({"a": [np.ones(2)], "e": {}}, {"a": (np.ones(2),), "e": {}}):
        assert_same(load_tree(manager, template)[0], template)


@pytest.mark.parametrize("number", [1, 2.5, 3j], ids=str)
def test_weak_types_come_back_as_they_were_saved(manager_at, number):
    tree = {"weak": jnp.full((2, 3), number), "strong": jnp.full((2,), number, jnp.asarray(number).dtype)}
    tree["zero-d"] = jnp.asarray(number)
    manager = save_tree(manager_at(), 1, tree)
    swapped = {"weak": jnp.asarray(np.zeros((2, 3), tree["weak"].dtype)), "strong": tree["strong"] + 0}
    for template in (tree, {**swapped, "zero-d": jax.eval_shape(lambda: tree["zero-d"])}):
        loaded, _ = load_tree(manager, template)
        assert_same(loaded, tree)
        assert [loaded[name].weak_type for name in sorted(tree)] == [False, True, True]
        assert (loaded["zero-d"] * jnp.ones(1, jnp.complex64)).dtype == jnp.complex64
        assert loaded["weak"].sharding == tree["weak"].sharding


def test_weak_types_keep_every_bit(manager_at):
    bits_of = np.array([0x7F800001, 0xFFC12345, 0x80000000, 0x00000001], np.uint32)  # NaNs with a payload, -0, denormal
    weak = jnp.full((4,), 0.0).at[...].set(bits_of.view(np.float32))
    loaded, _ = load_tree(save_tree(manager_at(), 1, {"w": weak}), {"w": weak})
    assert loaded["w"].weak_type and np.asarray(loaded["w"]).tobytes() == np.asarray(weak).tobytes()


class Metres(np.ndarray):
    """An array with a unit, which would be lost."""


class Colour(enum.IntEnum):
    RED = 1


@pytest.mark.parametrize(
    "leaf",
    [
        np.ma.masked_array([1, 2], [True, False]),
        np.ma.masked,
        np.ones(2).view(Metres),
        np.rec.array([(1, 2.0)]),
        Colour.RED,
        np.str_("a"),
    ],
    ids=lambda leaf: type(leaf).__name__,
)
def test_what_would_lose_its_type_is_refused(manager_at, leaf):
    manager = manager_at()
    error = catch_error(UnsupportedLeafError, save_tree, manager, 1, {"layer": {"odd": leaf}})
    assert error.path == "layer/odd" and type(leaf).__name__ in str(error)
    assert manager.all_steps() == []


def test_a_memory_map_is_an_array(manager_at, tmp_path):
    mapped = np.memmap(tmp_path / "map", np.float32, "w+", shape=(3,))
    mapped[:] = [1, 2, 3]
    assert load_tree(save_tree(manager_at(), 1, {"w": mapped}))[0]["w"].tolist() == [1, 2, 3]
