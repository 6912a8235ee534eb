"""What is saved comes back to the bit: every format, mode and dtype, and any tree."""

from __future__ import annotations

import collections
import enum
import json
import shutil
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
import pytest
import xxhash
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
from tests.checkpointing.conftest import assert_same

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
    with pytest.raises(TemplateMismatchError, match="tree/decoder/w: the template expects nothing there"):
        load_tree(manager, part)


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
    with pytest.raises(UnsupportedLeafError, match=rf"layer/odd is a {type(leaf).__name__}"):
        save_tree(manager, 1, {"layer": {"odd": leaf}})
    assert manager.all_steps() == []


def test_a_memory_map_is_an_array(manager_at, tmp_path):
    mapped = np.memmap(tmp_path / "map", np.float32, "w+", shape=(3,))
    mapped[:] = [1, 2, 3]
    assert load_tree(save_tree(manager_at(), 1, {"w": mapped}))[0]["w"].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    "leaf", [np.array(["text"]), np.array([object()]), np.datetime64("2020"), jnp.ones(2, jnp.uint4), object(), print]
)
def test_what_cannot_be_stored_is_named_and_nothing_is_written(manager_at, leaf):
    manager = manager_at()
    with pytest.raises(UnsupportedLeafError, match="layer/odd"):
        save_tree(manager, 1, {"layer": {"odd": leaf}})
    assert manager.all_steps() == []


def test_auto_takes_few_files_for_many_arrays_and_for_long_names():
    assert choose_format(["a"] * 3) == FORMATS["zarr2"]
    assert choose_format(["a"] * (MANY_ARRAYS + 1)) == FORMATS["ocdbt"]
    assert choose_format(["a" * 300]) == FORMATS["ocdbt"]


def test_a_long_name_is_saved(manager_at):
    tree = {"a" * 300: np.ones(2)}
    assert_same(load_tree(save_tree(manager_at(), 1, tree), tree)[0], tree)


def test_an_unknown_format_names_the_valid_ones(tmp_path):
    with pytest.raises(ValueError, match="unknown format 'zip': valid are auto, zarr2"):
        setup_checkpoint_manager(tmp_path, format="zip")
