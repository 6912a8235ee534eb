"""`remat_to_budget` as its users call it: on the local device, and on a fake one."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from artifex_bench import remat_to_budget, targets
from artifex_bench.core.case import CaseError
from artifex_bench.remat.measure.budget import StepCompiler, make_step_compiler
from artifex_bench.remat.measure.rates import find_roofline
from artifex_bench.remat.planner.budget import BudgetError
from artifex_bench.remat.planner.search import MAX_COMPILATIONS
from artifex_bench.remat.planner.trial import CompiledStep
from tests.remat.planner.functions import DEPTH, WIDTH, called, data, forwards, scanned, unrolled, weights, whole

MIB = 2**20


def faked(peak):
    def build(function, args, donated):
        jax.eval_shape(function, *args)  # traces the function, as a compilation does
        return CompiledStep(peak)

    return StepCompiler("fake", find_roofline("tpu"), build)


def wide(loss):
    """The loss on enough samples for activations to count."""
    return lambda ws: loss(ws, jnp.ones((4096, WIDTH)))


LOSSES = {"scan": scanned, "calls": called, "whole": whole}


@pytest.mark.parametrize("name", LOSSES)
def test_budgets_are_met_on_the_local_device(name):
    loss = wide(LOSSES[name])
    planned, plan = remat_to_budget(loss, weights(), budget=0.4)
    assert plan.compiled_peak <= plan.budget_bytes
    assert len(plan.compiled) <= MAX_COMPILATIONS
    here = make_step_compiler("local")
    assert here.build(jax.value_and_grad(planned), (weights(),), ()).peak == plan.compiled_peak
    expected, found = (jax.jit(jax.value_and_grad(f))(weights()) for f in (loss, planned))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * np.abs(b).max()), found, expected)
    assert json.loads(json.dumps(plan.to_json()))["budget"] == "0.4"
    assert f"budget 0.4 on {here.name}" in str(plan) and plan.named_strategies
    taken = [one for one in plan.compiled if one["taken"]]
    assert [(one["plan"], one["peak"]) for one in taken] == [(plan.plan, plan.compiled_peak)]
    assert [line for line in str(plan).splitlines() if line.endswith(": chosen")]
    assert sum(group.layers for group in plan.groups) in (DEPTH, 1)


@pytest.mark.parametrize("given", [2, -3, (0, 5), (), True, "x", (0, 0), (0, -2)])
def test_a_position_without_an_argument_is_refused(given):
    with pytest.raises(BudgetError, match=r"argnums .*: must .* from 0 to 1"):
        remat_to_budget(scanned, weights(), data(), budget=0.5, argnums=given, target=faked(MIB))


@pytest.mark.parametrize("given", [2, True, "x", None])
def test_a_donated_position_without_an_argument_is_refused(given):
    with pytest.raises(BudgetError, match=r"donate_argnums .*: must .* from 0 to 1"):
        remat_to_budget(scanned, weights(), data(), budget=0.5, donate_argnums=given, target=faked(MIB))


def test_arguments_are_counted_from_the_end_too_and_may_be_several():
    target = faked(MIB)
    planned, _ = remat_to_budget(whole, weights(), data(), budget="2MiB", argnums=(-2, -1), target=target)
    found = jax.jit(jax.grad(planned, (0, 1)))(weights(), data())
    expected = jax.jit(jax.grad(whole, (0, 1)))(weights(), data())
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * np.abs(b).max()), found, expected)


def test_arguments_by_keyword_are_passed_on():
    def loss(ws, x, *, scale, train):
        return whole(ws, x * scale) if train else whole(ws, x)

    given = {"scale": jnp.float32(2.0), "train": True}
    planned, _ = remat_to_budget(loss, weights(), data(), budget="2MiB", target=faked(MIB), keywords=given)
    for train in (True, False):
        found = jax.jit(lambda *a, on=train: planned(*a, scale=3.0, train=on))(weights(), data())
        assert float(found) == pytest.approx(float(loss(weights(), data(), scale=3.0, train=train)), rel=1e-5)


def test_arrays_by_keyword_are_in_the_peak():
    def loss(ws, *, x):
        return whole(ws, x)

    x = jnp.ones((4096, WIDTH))
    planned, plan = remat_to_budget(loss, weights(), budget=0.5, keywords={"x": x})
    assert plan.least_peak > x.nbytes
    found = jax.jit(planned)(weights(), x=x)
    assert float(found) == pytest.approx(float(whole(weights(), x)), rel=1e-5)


def test_arrays_by_keyword_are_planned_for_as_they_are_passed_on():
    """The function has no layers, so all its values are looked up in a trace."""

    def loss(ws, *, scale):
        return whole(ws, data() * scale)

    scale = jnp.ones(WIDTH)
    planned, plan = remat_to_budget(loss, weights(), budget="2MiB", target=faked(MIB), keywords={"scale": scale})
    assert plan.groups[0].saved
    found, expected = (jax.make_jaxpr(jax.grad(f))(weights(), scale=scale) for f in (planned, loss))
    assert str(found).count("dot_general") == str(expected).count("dot_general")  # nothing is computed again
    mine, plain = (jax.grad(lambda s, f=f: f(weights(), scale=s))(scale) for f in (planned, loss))
    np.testing.assert_allclose(mine, plain, rtol=1e-5)


def test_prints_empty_scans_and_complex_values_can_be_planned():
    def printed(ws, x):
        def body(x, w):
            jax.debug.print("{}", x.sum())
            return jnp.tanh(x @ w), None

        return jnp.sum(jax.lax.scan(body, x, ws)[0])

    def complexes(ws, x):
        return jnp.sum(jnp.abs(jax.lax.scan(lambda c, w: (jnp.exp(1j * (c @ w)), None), x + 0j, ws)[0]) ** 2)

    for loss in (printed, complexes):
        remat_to_budget(loss, weights(), data(), budget="2MiB", target=faked(MIB))
        remat_to_budget(loss, *jax.eval_shape(lambda: (weights(), data())), budget=0.5)

    def with_empty(ws, x):
        return scanned(ws, jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, ws[:0])[0])

    planned, _ = remat_to_budget(with_empty, weights(), data(), budget="2MiB", target=faked(MIB))
    assert float(planned(weights(), data())) == pytest.approx(float(with_empty(weights(), data())), rel=1e-5)


def test_a_step_that_differentiates_nothing_is_refused():
    for step in (lambda loss: lambda ws, x: loss(ws, x), lambda loss: lambda ws, x: ws):
        with pytest.raises(BudgetError, match="differentiates no layer"):
            remat_to_budget(forwards, weights(), data(), budget=0.5, step=step)


def test_the_arguments_that_a_step_differentiates_are_planned():
    def step(loss):
        return jax.grad(loss, (0, 1))

    def loss(ws, scale):
        return jnp.sum(jax.lax.scan(lambda x, w: (jnp.tanh(x @ w) * scale, None), data(), ws)[0])

    planned, plan = remat_to_budget(loss, weights(), 2.0, budget="2MiB", step=step, target=faked(MIB))
    assert plan.groups[0].saved
    for mine, theirs in zip(step(planned)(weights(), 2.0), step(loss)(weights(), 2.0), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4)


@pytest.mark.parametrize("loss", [scanned, called, whole], ids=["scan", "calls", "whole"])
def test_a_step_may_differentiate_a_part_of_an_argument(loss):
    """A training step differentiates the parameters in its state."""

    def of_state(state, x):
        return loss(state["params"], x)

    def step(loss):
        def update(state, x):
            gradients = jax.grad(lambda params: loss({**state, "params": params}, x))(state["params"])
            return {"params": state["params"] - 0.1 * gradients, "step": state["step"] + 1}

        return update

    state = {"params": weights(), "step": jnp.int32(0)}
    planned, plan = remat_to_budget(of_state, state, data(), budget="2MiB", step=step, target=faked(MIB))
    assert any(group.saved for group in plan.groups)
    found, expected = (jax.jit(step(one))(state, data()) for one in (planned, of_state))
    np.testing.assert_allclose(found["params"], expected["params"], rtol=1e-4, atol=1e-5)
    assert int(found["step"]) == 1


@pytest.mark.parametrize("loss", [scanned, called], ids=["scan", "calls"])
def test_another_number_of_layers_than_planned_is_refused(loss):
    planned, _ = remat_to_budget(loss, weights(), data(), budget="2MiB", target=faked(MIB))
    for depth in (2, 5):
        with pytest.raises(BudgetError, match=f"3 layers.* {depth}"):
            planned(weights(depth), data())


def test_layers_that_are_differentiated_in_other_inputs_are_planned():
    """The first layer reads data, to which no tangent goes."""
    _, plan = remat_to_budget(unrolled, weights(), data(), budget="2MiB", target=faked(MIB))
    assert [group.layers for group in plan.groups] == [1, 2]
    assert all(group.saved for group in plan.groups)


def test_layers_that_are_not_differentiated_are_not_planned():
    def loss(frozen, ws, x):
        for w in (*frozen, *ws):
            x = jax.checkpoint(lambda w, x: jnp.tanh(x @ w))(w, x)
        return jnp.sum(x**2)

    layers = weights(4)
    args = list(layers[:2]), list(layers[2:]), data()
    _, plan = remat_to_budget(loss, *args, argnums=1, budget="2MiB", target=faked(MIB))
    assert [group.layers for group in plan.groups] == [1, 1]


def test_classes_and_flags_may_be_keywords():
    def loss(ws, x, *, dtype, train):
        return whole(ws, x.astype(dtype)) if train else 0.0

    given = {"dtype": np.float32, "train": np.bool_(True)}
    remat_to_budget(loss, weights(), data(), budget="2MiB", target=faked(MIB), keywords=given)


def test_a_budget_is_for_one_device(monkeypatch):
    monkeypatch.setattr(targets, "_version", lambda package: "1.0")
    with pytest.raises(CaseError, match=r"'gpu:h100:8'.*one device.* tpu:v4"):
        remat_to_budget(whole, weights(), data(), budget=0.5, target="gpu:h100:8")


@pytest.mark.parametrize(("name", "words"), [("gpu:none", "'gpu:none'.* gpu:h100"), ("tpu:v5e", "'tpu:v5e'.* install")])
def test_an_unknown_target_and_a_missing_compiler_are_refused(name, words, monkeypatch):
    monkeypatch.setattr(targets, "_version", lambda package: None)
    with pytest.raises(CaseError, match=words):
        remat_to_budget(whole, weights(), data(), budget=0.5, target=name)


def test_an_aot_target_is_refused_if_jax_may_start_other_devices(monkeypatch):
    monkeypatch.setattr(targets, "_version", lambda package: "1.0")
    before = jax.config.jax_platforms
    jax.config.update("jax_platforms", None)
    try:
        with pytest.raises(CaseError, match=r"'tpu:v5e'.*JAX_PLATFORMS=cpu"):
            remat_to_budget(whole, weights(), data(), budget=0.5, target="tpu:v5e")
    finally:
        jax.config.update("jax_platforms", before)


def test_the_error_of_a_budget_that_is_too_small_has_the_least_peak():
    with pytest.raises(BudgetError, match=r"budget 1MiB: 1 MiB .* 6 .* 64 MiB"):
        remat_to_budget(scanned, weights(), data(), budget="1MiB", target=faked(64 * MIB))


def test_a_large_budget_gives_the_fastest_plan():
    _, plan = remat_to_budget(scanned, weights(), data(), budget="1GiB", target=faked(64 * MIB))
    _, tight = remat_to_budget(whole, weights(), data(), budget="64MiB", target=faked(64 * MIB))
    assert plan.compiled_peak == tight.compiled_peak == 64 * MIB
    assert plan.target == "fake"


def test_a_step_of_the_users_own_is_compiled():
    seen = []

    def step(loss):
        def update(ws, x):
            seen.append("step")
            return ws - 0.1 * jax.grad(loss)(ws, x)

        return update

    planned, plan = remat_to_budget(scanned, weights(), data(), budget=1, step=step, donate_argnums=(0,))
    assert len(seen) == len(plan.compiled) + 1  # one more, to see what it differentiates
    assert planned(weights(), data()) == pytest.approx(float(scanned(weights(), data())), rel=1e-5)


def test_a_function_whose_layers_are_not_differentiated_is_refused():
    with pytest.raises(BudgetError, match="differentiates no layer"):
        remat_to_budget(lambda w, x: w + jax.lax.scan(lambda c, _: (c * 2, None), x, None, 3)[0], 1.0, 2.0, budget=0.5)


@pytest.mark.parametrize(
    ("result", "shown"),
    [
        (lambda x: x, r"float32\[8, 4\]"),
        (lambda x: (x.sum(), {"aux": x}), r"\('float32\[\]', \{'aux': 'float32\[8, 4\]'\}\)"),
        (lambda x: x.sum().astype(int), r"int32\[\]"),
        (lambda x: x.sum() * 1j, r"complex64\[\]"),
        (lambda x: None, "None"),
    ],
    ids=["array", "aux", "integer", "complex", "nothing"],
)
def test_a_function_that_returns_no_real_number_needs_a_step(result, shown):
    with pytest.raises(BudgetError, match=f"returns {shown}, .*step="):
        remat_to_budget(lambda w, x: result(jnp.tanh(x @ w)), jnp.eye(4), jnp.ones((8, 4)), budget=0.5)


def test_with_a_step_a_function_may_return_more():
    def loss(w, x):
        x = jnp.tanh(x @ w)
        return x.sum(), {"aux": x}

    def step(loss):
        return jax.value_and_grad(loss, has_aux=True)

    args = jnp.eye(4), jnp.ones((8, 4))
    planned, _ = remat_to_budget(loss, *args, budget="2MiB", step=step, target=faked(MIB))
    assert planned(*args)[1]["aux"].shape == (8, 4)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"step": 3}, "step 3: .*function"),
        ({"keywords": [1]}, r"keywords \[1\]: .*mapping"),
    ],
    ids=["step", "keywords"],
)
def test_an_argument_of_another_type_is_refused(wrong, words):
    with pytest.raises(BudgetError, match=words):
        remat_to_budget(whole, weights(), data(), budget=0.5, **wrong)
    with pytest.raises(BudgetError, match="function 3: "):
        remat_to_budget(3, weights(), budget=0.5)


def test_the_error_of_an_argument_without_a_derivative_names_it():
    with pytest.raises(BudgetError, match=r"argument 1\['how'\] 'mean': .*keywords"):
        remat_to_budget(lambda w, x: w.sum(), weights(), {"how": "mean"}, budget=0.5)
    with pytest.raises(BudgetError, match=r"argument 0\['step'\]: int32 .*step"):
        remat_to_budget(lambda s, x: whole(s["w"], x), {"w": weights(), "step": jnp.int32(1)}, data(), budget=0.5)


def test_tracers_cannot_be_planned_for():
    with pytest.raises(BudgetError, match="inside jit, grad"):
        jax.jit(lambda x: remat_to_budget(whole, weights(), x, budget=0.5, target=faked(MIB)))(data())
    with pytest.raises(BudgetError, match="inside jit, grad"):
        jax.grad(lambda s: remat_to_budget(lambda w, x: s * whole(w, x), weights(), data(), budget=0.5)[0])(2.0)
