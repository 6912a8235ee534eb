"""Every intermediate can be saved or dropped, and gradients stay what they were."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from artifex_bench.remat.measure.jaxprs import count_flops
from artifex_bench.remat.measure.rates import CPU
from artifex_bench.remat.planner.choices import Blocks, JaxPolicy, NoRemat, SaveNamed
from artifex_bench.remat.planner.graph_builder import build_graph
from artifex_bench.remat.planner.layers import WHOLE_FUNCTION, Stack, find_stacks
from artifex_bench.remat.planner.rewrite import rewrite_function
from artifex_bench.remat.strategies import Policy, parse_strategy
from tests.remat.planner import functions
from tests.remat.planner.functions import DEPTH, data, weights

RATES = CPU.make_rates()
LOSSES = {name: getattr(functions, name) for name in ("scanned", "backwards", "called", "whole")}


def graphs(loss, *args):
    """{stack: its layers' graph}."""
    found = {}

    def observe(stack, layer, prefix, jvp):
        found[stack] = build_graph(prefix, jvp, RATES)

    nothing = {s.name: ((s.depth, SaveNamed(frozenset())),) for s in find_stacks(loss, *args)}
    jax.make_jaxpr(jax.grad(rewrite_function(loss, nothing, observe)))(*args)
    return found


@functools.cache
def plain(loss):
    """Compiled once for all that is held against it."""
    return jax.jit(jax.value_and_grad(loss))


def same(loss, groups, *args):
    expected, gradients = plain(loss)(*args)
    found, mine = jax.jit(jax.value_and_grad(rewrite_function(loss, groups)))(*args)
    np.testing.assert_allclose(found, expected, rtol=2e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6 * np.abs(b).max()), mine, gradients)


def choices(graph):
    every = [value.name for value in graph.values if value.savable]
    return {"nothing": frozenset(), "all": frozenset(every), "some": frozenset(every[::3])}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("saved", ["nothing", "all", "some"])
def test_gradients_are_the_plain_ones_whatever_is_saved(name, saved):
    loss, args = LOSSES[name], (weights(), data())
    found = graphs(loss, *args)
    assert found
    same(
        loss, {s.name: ((s.depth, SaveNamed(choices(found[s.name])[saved])),) for s in find_stacks(loss, *args)}, *args
    )


@pytest.mark.parametrize("name", ["scanned", "backwards", "called"])
def test_gradients_are_the_plain_ones_with_layers_in_groups(name):
    loss, args = LOSSES[name], (weights(), data())
    ((stack, graph),) = graphs(loss, *args).items()
    fine = SaveNamed(choices(graph)["some"])
    same(loss, {stack: ((1, SaveNamed(frozenset())), (DEPTH - 2, fine), (1, NoRemat()))}, *args)
    same(loss, {stack: ((2, JaxPolicy(Policy("dots_saveable"))), (DEPTH - 2, NoRemat()))}, *args)


@pytest.mark.parametrize("name", ["scanned", "called"])
def test_gradients_are_the_plain_ones_with_some_values_on_the_host(name):
    """On a CPU, whose host memory is its own."""
    loss, args = LOSSES[name], (weights(), data())
    ((stack, graph),) = graphs(loss, *args).items()
    every = [value.name for value in graph.values if value.savable]
    same(loss, {stack: ((DEPTH, SaveNamed(frozenset(every[::3]), frozenset(every[1::3]))),)}, *args)
    groups = {stack: ((DEPTH, SaveNamed(frozenset(), frozenset(every[1::3]))),)}
    assert "TransferToMemoryKind" in str(
        jax.make_jaxpr(jax.grad(rewrite_function(loss, groups)))(*args)
    ) or "<host>" in str(jax.make_jaxpr(jax.grad(rewrite_function(loss, groups)))(*args))


BLOCKS = ("every-2", "segments-2", "nested-2", "segments-3", "nested-3")


@pytest.mark.parametrize("loss", [functions.forwards, functions.backwards, functions.unrolled])
@pytest.mark.parametrize("block", BLOCKS)
def test_gradients_are_the_plain_ones_with_layers_in_blocks(loss, block):
    """Five layers: the last block is a shorter one; and blocks of the first four beside one layer by itself."""
    args = weights(5), data()
    (stack,) = find_stacks(loss, *args)
    assert stack.depth == 5
    same(loss, {stack.name: ((5, Blocks.from_plan(parse_strategy(block, 5))),)}, *args)
    same(loss, {stack.name: ((4, Blocks.from_plan(parse_strategy(block, 4))), (1, NoRemat()))}, *args)


@pytest.mark.parametrize("name", ["scanned", "called"])
def test_blocks_of_layers_with_all_that_a_layer_may_hold(name):
    args = weights(), data()
    (stack,) = find_stacks(LOSSES[name], *args)
    same(LOSSES[name], {stack.name: ((DEPTH, Blocks.from_plan(parse_strategy("nested-2", DEPTH))),)}, *args)


def products(loss, groups, *args):
    """Matrix products of the gradient, those of a loop as often as it runs."""
    return count_flops(jax.make_jaxpr(jax.grad(rewrite_function(loss, groups)))(*args)) / count_flops(
        jax.make_jaxpr(jax.grad(loss))(*args)
    )


def test_blocks_are_run_again_as_one_and_nested_ones_twice():
    def loss(ws, x):
        return jnp.sum(jax.lax.scan(lambda x, w: (jnp.sin(x @ w), None), x, ws)[0])

    args = jnp.ones((4, 64, 64)), jnp.ones((8, 64))
    of = {
        block: products(loss, {"scan-1": ((4, Blocks.from_plan(parse_strategy(block, 4))),)}, *args)
        for block in ("segments-2", "nested-2")
    }
    # a layer is a product forward and two backward: run again are all four; nested, two blocks' first ones once more
    assert of["segments-2"] == pytest.approx(16 / 12, rel=0.03)
    assert of["nested-2"] == pytest.approx(20 / 12, rel=0.05)


def test_nnx_scan_of_nnx_remat():
    loss, params = functions.nnx_scanned()
    ((stack, graph),) = graphs(loss, params, data()).items()
    assert stack == "scan-1" and len(graph.values) > 10
    for saved in choices(graph).values():
        same(loss, {stack: ((1, SaveNamed(frozenset())), (DEPTH - 1, SaveNamed(saved)))}, params, data())


def test_dropout_draws_the_same_under_the_same_keys():
    loss = functions.scanned
    groups = {"scan-1": ((DEPTH, SaveNamed(frozenset())),)}
    losses = [jax.jit(function) for function in (loss, rewrite_function(loss, groups))]
    expected, mine = ([float(function(weights(), data(), key)) for key in (0, 1)] for function in losses)
    assert expected[0] != expected[1]
    assert mine == pytest.approx(expected)


def count(jaxpr, primitive):
    return str(jaxpr).count(f" {primitive} ")


def test_what_is_saved_is_not_computed_again_though_its_derivative_reads_it():
    def loss(w, x):
        return jnp.sum(jnp.tanh(jnp.exp(x * w)))

    args = jnp.ones(4), jnp.ones(4)
    graph = graphs(loss, *args)[WHOLE_FUNCTION]
    by = {value.label: value.name for value in graph.values}

    def program(*labels):
        names = frozenset(by[label] for label in labels)
        return jax.make_jaxpr(jax.grad(rewrite_function(loss, {WHOLE_FUNCTION: ((1, SaveNamed(names)),)})))(*args)

    assert [count(program(), "exp"), count(program(), "tanh")] == [2, 2]
    assert [count(program("exp"), "exp"), count(program("exp"), "tanh")] == [1, 2]
    assert [count(program("exp", "tanh"), "exp"), count(program("exp", "tanh"), "tanh")] == [1, 1]


@pytest.mark.parametrize("saved", ["nothing", "all", "some"])
def test_the_graph_says_what_is_computed_again(saved):
    """Products that the graph wants again are the products that the traced gradient has over the plain one's."""

    def loss(w, x):
        return jnp.sum(jnp.exp(jnp.sin(jnp.sin(x @ w) @ w)) @ w)

    args = jnp.ones((4, 4)), jnp.ones((4, 4))
    graph = graphs(loss, *args)[WHOLE_FUNCTION]
    names = choices(graph)[saved]
    index = {v for v, value in enumerate(graph.values) if value.name in names}
    products = sum(graph.values[v].label == "dot_general" for v in _outputs(graph, graph.find_recomputed(index)))
    mine = jax.make_jaxpr(jax.grad(rewrite_function(loss, {WHOLE_FUNCTION: ((1, SaveNamed(names)),)})))(*args)
    plain = jax.make_jaxpr(jax.grad(loss))(*args)
    assert str(mine).count("dot_general[") - str(plain).count("dot_general[") == products


def test_what_comes_after_branches_can_be_saved_as_what_comes_before():
    def loss(w, x, i):
        x = jax.lax.cond(i % 2 == 0, jnp.sin, jnp.cos, x * w)
        return jnp.sum(jnp.tanh(jnp.exp(x) * w))

    args = jnp.ones(4), jnp.ones(4), jnp.int32(1)
    graph = graphs(loss, *args)[WHOLE_FUNCTION]
    assert {"exp", "tanh"} <= {value.label for value in graph.values}
    for saved in choices(graph).values():
        same(loss, {WHOLE_FUNCTION: ((1, SaveNamed(saved)),)}, *args)


def _outputs(graph, ops):
    return [v for v, value in enumerate(graph.values) if value.operation in ops]


def test_stacks_are_scans_and_calls_that_are_alike():
    args = weights(), data()
    (scan,) = find_stacks(functions.scanned, *args)
    assert (scan.name, scan.depth) == ("scan-1", DEPTH)
    assert scan.slice_bytes >= args[0].nbytes
    (calls,) = find_stacks(functions.called, *args)
    assert (calls.name, calls.depth, calls.carried_bytes, calls.kept_outs) == ("calls-1", DEPTH, args[1].nbytes, (0,))
    assert len(calls.positions) == DEPTH and list(calls.positions) == sorted(calls.positions)
    assert find_stacks(functions.whole, *args) == (Stack(WHOLE_FUNCTION, 1),)


def test_values_carry_the_users_names_and_lines():
    graph = graphs(functions.called, weights(), data())["calls-1"]
    probs = [value for value in graph.values if value.label == "probs"]
    assert probs and probs[-1].shape == "f32[6,8]"
    assert probs[-1].line.startswith("planner/functions.py:")
    keys = [value for value in graph.values if not value.savable]
    assert keys and all("key" in value.shape for value in keys)
