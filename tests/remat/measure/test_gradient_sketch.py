"""Sketches: equal for scanned and unrolled layers, and different after any wrong value."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifex_bench.core.record import Record
from artifex_bench.remat.measure import gradient_sketch as sketches
from artifex_bench.remat.measure.gradient_sketch import PROJECTIONS, sketch_gradients
from artifex_bench.remat.measure.probes import take_probes
from artifex_bench.remat.measure.program import build_program
from artifex_bench.remat.measure.results import Ran
from artifex_bench.remat.verdict import compare_gradients
from tests.programs import case

shapes = st.lists(st.integers(1, 7), max_size=3).map(tuple)
seeds = st.integers(0, 2**32 - 1)


def gradients(seed, shape, layers=3):
    rng = np.random.default_rng(seed)
    return {
        "model": {"head": rng.normal(size=shape)},
        "stacks": {"layers": [rng.normal(size=shape) for _ in range(layers)]},
    }


def stacked(tree):
    return {**tree, "stacks": {"layers": np.stack(tree["stacks"]["layers"])}}


def compare(mine, theirs, dtype="float32"):
    """The agreement of two records that hold these gradients."""

    def record(strategy, tree):
        ran = Ran(0.1, [0.1], None, "not read", None, (1.0, sketch_gradients(tree)))
        return Record(case("mlp", strategy, dtype=dtype), 0, "ok", measurements=tuple(take_probes("ran", ran)))

    return compare_gradients(record("all", mine), record("none", theirs))


@settings(max_examples=40, deadline=None)
@given(seeds, shapes, st.integers(1, 9))
def test_scanned_and_unrolled_layers_give_the_same(seed, shape, chunk):
    tree = gradients(seed, shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sketches, "CHUNK", chunk)  # chunks that end in the middle of a layer
        unrolled, scanned = sketch_gradients(tree), sketch_gradients(stacked(tree))
    assert unrolled == scanned
    assert set(unrolled) == {"model.head", "stacks.layers"}


@settings(max_examples=40, deadline=None)
@given(seeds, shapes)
def test_the_norm_is_the_norm_over_all_layers(seed, shape):
    tree = gradients(seed, shape)
    norm = np.linalg.norm(np.stack(tree["stacks"]["layers"]))
    assert sketch_gradients(tree)["stacks.layers"]["norm"] == pytest.approx(norm)
    assert len(sketch_gradients(tree)["stacks.layers"]["projections"]) == PROJECTIONS


@settings(max_examples=60, deadline=None)
@given(seeds, shapes, st.integers(0, 2), st.floats(1e-3, 1e3), st.data())
def test_one_wrong_value_anywhere_shows(seed, shape, layer, error, data):
    """One value that differs by e moves every projection by e: the estimate is exact."""
    right, wrong = gradients(seed, shape), gradients(seed, shape)
    flat = wrong["stacks"]["layers"][layer].reshape(-1)
    flat[data.draw(st.integers(0, flat.size - 1))] += error
    mine, theirs = sketch_gradients(wrong), sketch_gradients(right)
    assert mine["model.head"] == theirs["model.head"]
    moved = np.subtract(mine["stacks.layers"]["projections"], theirs["stacks.layers"]["projections"])
    assert np.abs(moved) == pytest.approx(np.full(PROJECTIONS, error), rel=1e-6, abs=1e-9)
    found = compare(wrong, right)
    assert found.gradient_error == pytest.approx(error / max(theirs["stacks.layers"]["norm"], 0.01), rel=1e3)
    if error > 1:
        assert found.ok is False
        assert found.worst_parameter == "stacks.layers"


def test_the_same_values_in_another_place_show():
    tree = gradients(0, (4, 5))
    swapped = {**tree, "stacks": {"layers": tree["stacks"]["layers"][::-1]}}
    assert compare(swapped, tree).ok is False
    assert compare({**tree, "model": {"head": tree["model"]["head"][::-1]}}, tree).ok is False


def test_a_wrong_leaf_shows():
    tree = gradients(0, (4, 5))
    assert compare(tree, tree).ok is True
    wrong = compare({**tree, "model": {"head": np.zeros((4, 5))}}, tree)
    assert wrong.ok is False
    assert wrong.worst_parameter == "model.head"
    other_names = compare({"stacks": tree["stacks"], "model": {"tail": tree["model"]["head"]}}, tree)
    assert other_names.ok is False


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_the_error_of_a_gradient_that_is_not_finite_names_the_parameter(bad):
    tree = gradients(0, (4, 5))
    tree["model"]["head"][1, 2] = bad
    with pytest.raises(ValueError, match=r"model\.head"):
        sketch_gradients(tree)


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_random_differences_are_estimated_within_a_factor_of_two(seed):
    """16 projections: the relative deviation of the squared estimate is sqrt(2 / 16)."""
    rng = np.random.default_rng(seed)
    right, noise = rng.normal(size=(50, 20)), rng.normal(size=(50, 20))
    found = compare({"w": right + 1e-2 * noise}, {"w": right})
    actual = 1e-2 * np.linalg.norm(noise) / np.linalg.norm(right)
    assert actual / 2 < found.gradient_error < actual * 2


def test_bfloat16_gradients_are_summed_in_double_precision():
    values = jnp.full((1000,), 1.0, jnp.bfloat16)
    assert sketch_gradients({"w": values})["w"]["norm"] == pytest.approx(math.sqrt(1000))


@pytest.mark.parametrize("model", ["mlp", "vae", "transformer"])
def test_real_gradients_scanned_and_unrolled_give_the_same_names(model):
    names = []
    for layers in ("scan", "unroll"):
        params = build_program(case(model, layers=layers, depth=2)).eval_shapes()[0]["params"]
        names.append(sketch_gradients(jax.tree.map(lambda leaf: np.ones(leaf.shape), params)))
    assert names[0] == names[1]
    assert all(name.startswith(("model.", "stacks.")) for name in names[0])


def test_layers_that_hold_lists_of_layers_give_the_same_scanned_and_unrolled():
    rng = np.random.default_rng(0)
    layers = [{"inner": {0: {"w": rng.normal(size=3)}, 1: {"w": rng.normal(size=3)}}} for _ in range(2)]
    scanned = {"inner": {i: {"w": np.stack([layer["inner"][i]["w"] for layer in layers])} for i in (0, 1)}}
    assert sketch_gradients({"stacks": {"layers": layers}}) == sketch_gradients({"stacks": {"layers": scanned}})
