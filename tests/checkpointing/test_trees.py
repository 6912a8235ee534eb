"""What is saved comes back to the bit: every format, mode and dtype, and any tree."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from artifex_bench.checkpointing import (
    FORMATS,
    Format,
    TemplateMismatchError,
    UnsupportedLeafError,
    load_items,
    load_tree,
    save_items,
    save_tree,
    setup_checkpoint_manager,
)
from artifex_bench.checkpointing.formats import MANY_ARRAYS, choose_format
from tests.checkpointing.conftest import assert_same, catch_error

DTYPES = [
    "float32",
    "float16",
    "bfloat16",
    "float8_e4m3fn",
    "float8_e5m2",
    "int4",
    "int8",
    "uint8",
    "int16",
    "uint16",
    "int32",
    "uint32",
    "bool",
    "complex64",
]


def every_kind():
    return {
        "empty": {"dict": {}, "list": [], "tuple": (), "none": None, "state": optax.EmptyState()},
        "numbers": [1, -(2**63), 2.5, float("nan"), float("-inf"), True, 10**30, 1j],
        "text": ["", "ü\n", b"", b"\x00\xff"],
        "keys": (jax.random.key(3), jax.random.split(jax.random.key(3, impl="rbg"), 3)),
        "numpy": {
            "scalar": np.float32(3),
            "none": np.zeros((0, 3)),
            "big": np.arange(4, dtype=">i8"),
            "t": np.ones((2, 3)).T,
        },
        "jax": {"none": jnp.zeros((0, 2), jnp.bfloat16), "nan": jnp.array([jnp.nan, -0.0, jnp.inf], jnp.bfloat16)},
        "a.b/c": {"": 1, "..": 2, "%": 3},
        "manifest": {"ocdbt": np.ones(2)},
        "_METADATA": np.ones(1),
        "d": np.ones(2),
    }


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("format", ["auto", *FORMATS, Format(False, True, False, chunk_bytes=64)], ids=str)
def test_every_kind_of_leaf_in_every_format_and_mode(manager_at, format, asynchronous):
    tree = every_kind()
    tree["numpy"]["big"] = tree["numpy"]["big"].astype("i8")  # stored in native byte order
    manager = save_tree(manager_at(format=format, asynchronous=asynchronous), 1, tree)
    loaded, step = load_tree(manager, tree)
    assert step == 1
    assert_same(tree, loaded)


@pytest.mark.parametrize("format", ["zarr2", "zarr3-zstd", "ocdbt", "ocdbt-zarr3-zstd"])
def test_every_dtype_of_jax_and_numpy(manager_at, format):
    raw = np.random.default_rng(0).integers(0, 256, (4, 8), np.uint8)
    tree = {}
    for name in DTYPES:
        dtype = np.dtype(getattr(ml_dtypes, name, name))
        host = (raw % 2).astype(bool) if name == "bool" else raw.astype(dtype) if "int" in name else raw.view(dtype)
        tree[name] = {"jax": jnp.asarray(host), "numpy": host, "zero-d": jnp.asarray(host.reshape(-1)[0])}
    tree["64"] = [np.arange(3.0), np.arange(3), np.ones(2, np.complex128), np.arange(3, dtype=np.uint64)]
    loaded, _ = load_tree(save_tree(manager_at(format=format), 1, tree), tree)
    assert_same(tree, loaded)


LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=3),
    st.binary(max_size=3),
    st.tuples(
        st.sampled_from(["float32", "bfloat16", "int8", "bool"]),
        st.lists(st.integers(0, 3), max_size=3),
        st.booleans(),
    ).map(lambda t: (jnp if t[2] else np).zeros(t[1], ml_dtypes.bfloat16 if t[0] == "bfloat16" else t[0])),
    st.integers(0, 9).map(jax.random.key),
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.dictionaries(st.text("ab./%_0ü", max_size=3), inner, max_size=3),
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=2).map(tuple),
    ),
    max_leaves=6,
)


@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=TREES, format=st.sampled_from(["zarr2", "ocdbt"]))
def test_any_tree(tmp_path, tree, format):
    folder = Path(tempfile.mkdtemp(dir=tmp_path))
    manager, _ = setup_checkpoint_manager(folder, format=format)
    with manager:
        loaded, _ = load_tree(save_tree(manager, 0, tree), tree)
    assert_same(tree, loaded)
    shutil.rmtree(folder)


def test_without_a_template_all_comes_back_as_numpy(manager_at):
    tree = {"w": jnp.ones((2, 2)), "deep": [{"n": 3}, {}, "text"]}
    loaded, _ = load_tree(save_tree(manager_at(), 1, tree))
    assert_same(loaded, {"w": np.ones((2, 2), np.float32), "deep": {"0": {"n": 3}, "1": {}, "2": "text"}})


def test_a_part_is_loaded_alone(manager_at):
    tree = {"encoder": {"w": jnp.arange(4.0), "b": jnp.ones(2)}, "decoder": {"w": jnp.zeros(3)}}
    manager = save_tree(manager_at(), 1, tree)
    part = {"encoder": {"w": jnp.zeros(4)}}
    assert_same(load_tree(manager, part, partial=True)[0], {"encoder": {"w": tree["encoder"]["w"]}})
    error = catch_error(TemplateMismatchError, load_tree, manager, part)
    assert (error.path, error.expected, error.found) == ("tree/decoder/w", "nothing there", "float32[3]")


def test_a_part_does_not_need_the_rest_undamaged(manager_at):
    tree = {"a": np.arange(4.0), "b": np.ones(2)}
    manager = save_tree(manager_at(format="zarr2"), 1, tree)
    shutil.rmtree(manager.step_directory(1) / "tree" / "b")
    assert_same(load_tree(manager, {"a": np.zeros(4)}, partial=True)[0], {"a": tree["a"]})


def test_items_are_loaded_apart(manager_at):
    manager = save_items(manager_at(), 3, {"model": {"w": np.ones(2)}, "nothing": {}})
    loaded = load_items(manager, {"model": None})
    assert loaded.step == 3 and loaded.verified
    assert_same(loaded.items["model"], {"w": np.ones(2)})
    assert load_items(manager, {"nothing": {}}).items == {"nothing": {}}


@pytest.mark.parametrize(
    ("template", "path", "expected", "found"),
    [
        ({"a": [np.zeros((2, 3), np.float32)], "n": 1}, "tree/a/0", "float32[2,3]", "float32[3,2]"),
        ({"a": [np.zeros((3, 2), np.float64)], "n": 1}, "tree/a/0", "float64[3,2]", "float32[3,2]"),
        ({"a": [np.zeros((3, 2), np.float32)], "n": 1.0}, "tree/n", "float", "int"),
        ({"a": [np.zeros((3, 2), np.float32)]}, "tree/n", "nothing there", "int"),
        ({"a": [np.zeros((3, 2), np.float32)], "n": 1, "z": {}}, "tree/z", "empty dict", "nothing there"),
        ({"a": jax.random.key(0), "n": 1}, "tree/a", "key<fry>[]", "nothing there"),
        ({"a": (np.zeros((3, 2), np.float32),), "n": 1}, "tree/a", "tuple", "list"),
        ({"a": {"0": np.zeros((3, 2), np.float32)}, "n": 1}, "tree/a", "dict", "list"),
        ([np.zeros((3, 2), np.float32), 1], "tree/0", "float32[3,2]", "nothing there"),
    ],
)
def test_a_mismatch_names_the_first_path_expected_and_found(manager_at, template, path, expected, found):
    manager = save_tree(manager_at(), 1, {"a": [np.ones((3, 2), np.float32)], "n": 1})
    with pytest.raises(TemplateMismatchError) as caught:
        load_tree(manager, template)
    assert (caught.value.path, caught.value.expected, caught.value.found) == (path, expected, found)
    assert "step 1" in str(caught.value) and path in str(caught.value)


@pytest.mark.parametrize(
    "leaf", [np.array(["text"]), np.array([object()]), np.datetime64("2020"), jnp.ones(2, jnp.uint4), object(), print]
)
def test_what_cannot_be_stored_is_named_and_nothing_is_written(manager_at, leaf):
    manager = manager_at()
    assert catch_error(UnsupportedLeafError, save_tree, manager, 1, {"layer": {"odd": leaf}}).path == "layer/odd"
    assert manager.all_steps() == []


def test_auto_takes_few_files_for_many_arrays_and_for_long_names():
    assert choose_format(["a"] * 3) == FORMATS["zarr2"]
    assert choose_format(["a"] * (MANY_ARRAYS + 1)) == FORMATS["ocdbt"]
    assert choose_format(["a" * 300]) == FORMATS["ocdbt"]


def test_a_long_name_is_saved(manager_at):
    tree = {"a" * 300: np.ones(2)}
    assert_same(load_tree(save_tree(manager_at(), 1, tree), tree)[0], tree)


def test_an_unknown_format_names_the_valid_ones(tmp_path):
    for unknown in ("zip", "zarr-2"):
        message = str(catch_error(ValueError, setup_checkpoint_manager, tmp_path, format=unknown))
        assert all(name in message for name in (unknown, "auto", *FORMATS))
