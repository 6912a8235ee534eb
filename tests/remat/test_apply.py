"""Every strategy gives the loss and the gradients of `none`, and scanned layers give those of unrolled ones."""

from __future__ import annotations

import inspect

import jax
import numpy as np
import pytest

from artifex_bench.remat.apply import make_policy
from artifex_bench.remat.measure.jaxprs import count_flops
from artifex_bench.remat.strategies import POLICIES, STRATEGIES, Policy
from tests import programs
from tests.programs import case, loss_and_gradients

TAG = {"mlp": "linear", "vae": "gelu", "transformer": "query"}
DEPTH = {"mlp": 5, "vae": 3, "transformer": 3}  # no group of 2 divides them
LAYERS = ("scan", "unroll")
STRUCTURES = (
    *("all", "every-1", "every-2", "every-3", "every-9", "segments-2", "segments-3", "segments-5", "segments-sqrt"),
    *("nested-1", "nested-2", "nested-3", "nested-sqrt"),
)
COMPOSED = ("segments-2/dots_saveable", "every-2/dots_with_no_batch_dims_saveable", "nested-2/nothing_saveable")
PARTS = ("attention-only", "mlp-only", "attention-only/dots_saveable", "mlp-only/save_only_these_names:mlp_up")


def strategies(model: str) -> tuple[str, ...]:
    """Return every entry of both tables, without offload policies, which a CPU skips."""
    tag = TAG[model]
    arguments = {"none": "", "names": f":{tag}", "policies": f":dots_saveable++save_only_these_names:{tag}"}
    policies = tuple(name + arguments[policy.arguments] for name, policy in POLICIES.items() if not policy.offloads)
    return (*STRUCTURES, *policies, *COMPOSED, *(PARTS if model == "transformer" else ()))


CASES = [
    pytest.param(model, strategy, layers, id=f"{model}-{strategy}-{layers}")
    for model in TAG
    for layers in LAYERS
    for strategy in strategies(model)
]


def test_the_list_has_every_structure():
    written = {name.rpartition("-")[0] + "-<n>" if "-" in name else name for name in STRUCTURES}
    assert written | {"none"} == set(STRATEGIES)


def assert_agree(one, other, tolerance):
    (loss, gradients), (expected, reference) = one, other
    assert loss == pytest.approx(expected, rel=tolerance)
    assert gradients.keys() == reference.keys()
    for name, gradient in reference.items():
        mine, theirs = gradients[name].astype(np.float64), gradient.astype(np.float64)
        assert np.linalg.norm(mine - theirs) <= tolerance * np.linalg.norm(theirs), name


@pytest.mark.parametrize(("model", "strategy", "layers"), CASES)
def test_a_strategy_changes_neither_loss_nor_gradients(model, strategy, layers):
    """Evaluated one by one, operations give the same floats again."""
    reference = loss_and_gradients(case(model, layers=layers, depth=DEPTH[model]))
    assert all(np.linalg.norm(gradient) > 0 for name, gradient in reference[1].items() if "kernel" in name)
    assert_agree(loss_and_gradients(case(model, strategy, layers=layers, depth=DEPTH[model])), reference, 1e-6)


@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize("strategy", ["all", "every-2", "segments-2", "nested-2", "attention-only", "dots_saveable"])
def test_a_strategy_changes_no_gradients_in_bfloat16(strategy, layers):
    """8 bits of mantissa: one unit in the last place is 0.8 %, sums of gradients may come in another order."""
    how = {"layers": layers, "dtype": "bfloat16", "depth": 3}
    mine = loss_and_gradients(case("transformer", strategy, **how))
    assert {str(gradient.dtype) for gradient in mine[1].values()} == {"bfloat16"}
    assert_agree(mine, loss_and_gradients(case("transformer", **how)), 1e-2)


@pytest.mark.parametrize("strategy", ["none", "every-2"])
@pytest.mark.parametrize("model", TAG)
def test_scanned_and_unrolled_layers_agree(model, strategy):
    assert_agree(
        loss_and_gradients(case(model, strategy, layers="scan", depth=DEPTH[model])),
        loss_and_gradients(case(model, strategy, layers="unroll", depth=DEPTH[model])),
        1e-6,
    )


@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize("strategy", ["all", "every-2", "segments-2", "nested-2", "segments-sqrt", "every-4"])
@pytest.mark.parametrize("depth", [1, 2, 4])
def test_depths_that_groups_divide_and_depths_below_a_group(depth, strategy, layers):
    mine = loss_and_gradients(case("mlp", strategy, layers=layers, depth=depth))
    assert_agree(mine, loss_and_gradients(case("mlp", layers=layers, depth=depth)), 1e-6)


@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize("strategy", ["all", "nested-2", "segments-2/dots_saveable"])
def test_compiled_programs_agree(strategy, layers):
    """With XLA's fusions and rearrangements: float32 within 1e-5 of each parameter's norm."""

    def run(strategy):
        one = case("mlp", strategy, layers=layers, step="gradient")
        loss, gradients = programs.compiled(one).step(*programs.program(one).make_arrays())
        return float(loss), programs.by_parameter(gradients)

    assert_agree(run(strategy), run("none"), 1e-5)


def recomputed(strategy, depth, layers="scan", **sizes):
    one = case("mlp", strategy, layers=layers, depth=depth, **sizes)
    return count_flops(programs.traced(one).gradient) - count_flops(programs.plain(one).gradient)


@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize(
    ("strategy", "layers_again"),
    [("all", 5), ("every-2", 3), ("every-3", 2), ("every-9", 1), ("nothing_saveable", 5), ("dots_saveable", 0)],
)
def test_a_strategy_recomputes_the_layers_that_its_name_says(strategy, layers_again, layers):
    """The product and the bias of an mlp layer are recomputed; with the product saved, the bias alone.

    A scan over groups of layers also adds up gradients of slices of the parameters: few FLOPs beside a large batch.
    """
    batch, width, depth = 256, 8, 5
    slices = depth * depth * (width * width + width) if layers == "scan" and strategy.startswith("every") else 0
    product, bias = 2 * batch * width * width, batch * width
    expected = layers_again * (product + bias) if strategy != "dots_saveable" else 5 * bias
    assert expected <= recomputed(strategy, depth, layers, batch=batch) <= expected + slices < expected + product


@pytest.mark.parametrize("strategy", ["all", "segments-4", "every-4", "nested-4"])
@pytest.mark.parametrize("depth", [1, 4, 5])
def test_a_scan_of_one_trip_keeps_its_recomputation(strategy, depth):
    """XLA dissolves loops of a single trip: without a barrier it then merges the recomputation away."""
    one = case("mlp", strategy, depth=depth, width=32, batch=64, step="gradient")
    mine, plain = (count_flops(t.gradient, loops_once=True) for t in (programs.traced(one), programs.plain(one)))
    planned = mine - plain
    none = programs.compiled(case("mlp", depth=depth, width=32, batch=64, step="gradient")).flops
    assert programs.compiled(one).flops - none > 0.8 * planned


def test_a_policy_of_the_users_own_is_the_function_that_it_names():
    from tests.remat.own_policy import save_sines

    assert make_policy(Policy("tests.remat.own_policy:save_sines")) is save_sines


def test_a_policy_is_that_of_jax_with_its_name():
    policies = jax.checkpoint_policies
    assert make_policy(None) is None
    assert make_policy(Policy("dots_saveable")) is policies.dots_saveable


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (Policy("save_only_these_names", ("a", "b")), jax.checkpoint_policies.save_only_these_names("a", "b")),
        (
            Policy("offload_dot_with_no_batch_dims"),
            jax.checkpoint_policies.offload_dot_with_no_batch_dims("device", "pinned_host"),
        ),
        (
            Policy("save_and_offload_only_these_names", ("a",), ("b",)),
            jax.checkpoint_policies.save_and_offload_only_these_names(
                names_which_can_be_saved=("a",),
                names_which_can_be_offloaded=("b",),
                offload_src="device",
                offload_dst="pinned_host",
            ),
        ),
    ],
)
def test_policies_with_arguments_are_made_as_jax_makes_them(policy, expected):
    """Before jax 0.11 some are objects with `__eq__`; others are closures, equal if their code and variables are.

    Offloading goes from the device to pinned host memory.
    """
    found = make_policy(policy)
    if not inspect.isfunction(expected):
        assert found == expected
        return
    assert found.__code__ is expected.__code__
    assert inspect.getclosurevars(found).nonlocals == inspect.getclosurevars(expected).nonlocals
