"""The closed loop: with fakes for what compiles, then compiled for the attached device."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifex_bench import remat_to_budget, targets
from artifex_bench.case import CaseError
from artifex_bench.measure.budget import Target, target
from artifex_bench.measure.rates import roofline
from artifex_bench.remat.budget import kept
from artifex_bench.remat.budget.loop import COMPILES, RUNS, _Search
from artifex_bench.remat.budget.plan import Built, _alike
from artifex_bench.remat.budget.pool import Candidate, Part
from artifex_bench.remat.budget.size import Budget, BudgetError, budget
from artifex_bench.remat.budget.stacks import AGAIN, Fine, Plain
from artifex_bench.remat.strategies import Plan, Policy
from tests.remat.budget.functions import DEPTH, WIDTH, called, data, forwards, scanned, unrolled, weights, whole

MIB = 2**20


def candidates(count):
    """Each keeps a MiB more than the one before, and is a second faster; the last is no rematerialization."""
    plans = [Candidate("plan", {"s": ((i, None),)}, i * MIB, float(count - i), 0.0) for i in range(count)]
    return plans, Candidate("none", {"s": ((count, None),)}, 2 * count * MIB, 1.0, 0.0)


@given(st.integers(2, 40), st.data())
def test_never_over_the_budget_never_more_than_six_compilations(count, data):
    plans, plain = candidates(count)
    off = data.draw(st.lists(st.integers(-2 * MIB, 2 * MIB), min_size=count + 1, max_size=count + 1))
    peaks = {id(one): int(50 * MIB + one.bytes + error) for one, error in zip([*plans, plain], off, strict=True)}
    search = _Search([*plans, plain], lambda one: Built(peaks[id(one)]), COMPILES)
    asked = data.draw(st.integers(40, 150)) * MIB
    try:
        found = search.run(Budget("", bytes=asked), plans[0], plain)
    except BudgetError as error:
        assert all(t.peak > asked for t in search.tried)
        assert f"the least peak found in {len(search.tried)} compilations" in str(error)
    else:
        assert found.peak == peaks[id(found.candidate)] <= asked
        assert found.candidate.seconds == min(t.candidate.seconds for t in search.tried if t.peak <= asked)
    assert len(search.tried) <= COMPILES
    assert len({id(t.candidate) for t in search.tried}) == len(search.tried)


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5, 0.75])
def test_with_estimates_that_are_a_fifth_off_it_comes_within_a_plan_of_the_best(fraction):
    plans, plain = candidates(30)
    search = _Search([*plans, plain], lambda one: Built(int(50 * MIB + 1.2 * one.bytes)), COMPILES)
    found = search.run(Budget("", fraction=fraction), plans[0], plain)
    best = max(one.bytes for one in plans if 50 * MIB + 1.2 * one.bytes <= search.limit)
    assert best - found.candidate.bytes <= MIB


def test_a_fraction_is_of_the_way_from_the_leanest_to_none():
    plans, plain = candidates(4)
    search = _Search([*plans, plain], lambda one: Built(int(10 * MIB + one.bytes)), COMPILES)
    search.run(Budget("", fraction=0.25), plans[0], plain)
    assert search.limit == 12 * MIB


def test_of_those_that_fit_the_fastest_as_measured_is_taken_and_named_policies_are_given_a_chance():
    """By the rates the second plan is the fastest; run, a named policy that computes less again is."""
    plans, plain = candidates(2)
    named = [Candidate(f"named-{i}", {"s": ((9 + i, None),)}, i * MIB, 2.0 + i, -1.0 - i) for i in range(3)]
    measured = {"plan": 0.5, "none": 0.4, "named-0": 0.3, "named-1": 0.2, "named-2": 0.1}

    def build(one):
        return Built(int(10 * MIB + one.bytes), lambda: measured[one.label])

    search = _Search([*plans, *named, plain], build, COMPILES)
    found = search.run(Budget("", bytes=11 * MIB), plans[0], plain)
    assert [t.candidate.label for t in search.tried] == ["plan", "plan", "named-2", "named-1"]
    assert found.candidate.label == "named-1"  # named-2 would be faster, and does not fit
    assert len(found.seconds) == RUNS
    assert [bool(t.seconds) for t in search.tried] == [True, True, False, True]


def test_what_the_compiler_refuses_meets_no_budget():
    plans, plain = candidates(4)
    search = _Search(
        [*plans, plain], lambda one: Built(int(10 * MIB + one.bytes), refused=one.bytes > 2 * MIB), COMPILES
    )
    found = search.run(Budget("", bytes=20 * MIB), plans[0], plain)
    assert found.candidate == plans[2]
    assert [t.told()["refused"] for t in search.tried if t.candidate == plans[3]] == [True]


def test_what_cannot_be_run_for_want_of_memory_is_not_taken_beside_what_can():
    plans, plain = candidates(2)

    def build(one):
        def fail():
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED")

        return Built(int(10 * MIB + one.bytes), fail if one == plans[1] else lambda: 0.5)

    search = _Search([*plans, plain], build, COMPILES)
    found = search.run(Budget("", bytes=11 * MIB), plans[0], plain)
    assert found.candidate == plans[0] and len(found.seconds) == RUNS


def test_what_alone_fits_is_timed_too():
    plans, plain = candidates(2)
    search = _Search([*plans, plain], lambda one: Built(int(10 * MIB + one.bytes), lambda: 0.5), COMPILES)
    assert search.run(Budget("", bytes=10 * MIB), plans[0], plain).seconds == (0.5,) * RUNS


def test_where_nothing_runs_named_policies_are_compiled_for_what_the_rates_say_alone():
    plans, plain = candidates(2)
    named = Candidate("named", {"s": ((9, None),)}, 0, 2.0, -1.0)
    search = _Search([*plans, named, plain], lambda one: Built(int(10 * MIB + one.bytes)), COMPILES)
    found = search.run(Budget("", bytes=20 * MIB), plans[0], plain)
    assert [t.candidate for t in search.tried] == plans and found.candidate == plans[1] and not found.seconds


def test_what_was_chosen_can_be_kept_and_read_again(tmp_path):
    groups = {
        "scan-1": ((2, Fine(frozenset(["a.1.0", "a.2.0"]), frozenset(["a.3.0"]))), (1, Plain())),
        "calls-1": ((3, Policy("dots_saveable")), (4, Plan(2, (True, True), group=True))),
    }
    kept.write(tmp_path / "new" / "choice.json", groups)
    assert kept.read(tmp_path / "new" / "choice.json") == groups
    assert kept.read(tmp_path / "other.json") is None


@pytest.mark.parametrize("given", [-1, -0.5, "nan", float("nan"), "inf", True, None, "much", "", "12 parsecs", "0B"])
def test_what_is_no_budget_is_refused_in_a_line(given):
    with pytest.raises(CaseError, match="must be") as caught:
        budget(given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (0, Budget("0", 0.0)),
        (1, Budget("1", 1.0)),
        ("0.5", Budget("0.5", 0.5)),
        ("120MiB", Budget("120MiB", bytes=120 * MIB)),
        ("1B", Budget("1B", bytes=1)),
        (1e17, Budget("1e+17", bytes=10**17)),
        (4096, Budget("4096", bytes=4096)),
    ],
)
def test_what_is_a_budget(given, found):
    assert budget(given) == found


def wide(loss):
    """The loss on enough samples for activations to count."""
    return lambda ws: loss(ws, jnp.ones((4096, WIDTH)))


LOSSES = {"scan": scanned, "calls": called, "whole": whole}


@pytest.mark.parametrize("name", LOSSES)
def test_budgets_are_met_on_the_attached_device(name):
    loss = wide(LOSSES[name])
    planned, plan = remat_to_budget(loss, weights(), budget=0.4)
    assert plan.compiled_peak <= plan.budget_bytes
    assert len(plan.compiled) <= COMPILES
    here = target("attached")
    assert here.build(jax.value_and_grad(planned), (weights(),), ()).peak == plan.compiled_peak
    expected, found = (jax.jit(jax.value_and_grad(f))(weights()) for f in (loss, planned))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * np.abs(b).max()), found, expected)
    assert json.loads(json.dumps(plan.to_json()))["budget"] == "0.4"
    assert f"budget 0.4 on {here.name}" in str(plan)
    assert sum(group.layers for group in plan.groups) in (DEPTH, 1)


@pytest.mark.parametrize("given", [1e20, 2**63])
def test_more_than_a_system_can_count_is_refused(given):
    with pytest.raises(BudgetError, match="less than 8 EiB"):
        budget(given)


@pytest.mark.parametrize("given", [2, -3, (0, 5), (), True, "x", (0, 0), (0, -2)])
def test_an_argument_that_there_is_not_is_refused(given):
    with pytest.raises(BudgetError, match=r"argnums .*: must name arguments of the function, each once, from 0 to 1"):
        remat_to_budget(scanned, weights(), data(), budget=0.5, argnums=given, target=faked(MIB))


@pytest.mark.parametrize("given", [2, True, "x", None])
def test_so_is_a_donated_one(given):
    with pytest.raises(BudgetError, match=r"donate_argnums .*: must name arguments .*, each once, from 0 to 1"):
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
    """Of a function without layers, whose every value is looked for in a trace."""

    def loss(ws, *, scale):
        return whole(ws, data() * scale)

    scale = jnp.ones(WIDTH)
    planned, plan = remat_to_budget(loss, weights(), budget="2MiB", target=faked(MIB), keywords={"scale": scale})
    assert plan.groups[0].saved
    found, expected = (jax.make_jaxpr(jax.grad(f))(weights(), scale=scale) for f in (planned, loss))
    assert str(found).count("dot_general") == str(expected).count("dot_general")  # nothing is computed again
    mine, plain = (jax.grad(lambda s, f=f: f(weights(), scale=s))(scale) for f in (planned, loss))
    np.testing.assert_allclose(mine, plain, rtol=1e-5)


def test_what_has_no_output_or_no_layers_or_complex_values_is_planned_too():
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
        with pytest.raises(BudgetError, match="step: does not differentiate the function"):
            remat_to_budget(forwards, weights(), data(), budget=0.5, step=step)


def test_a_step_that_differentiates_otherwise_than_planned_is_refused():
    def step(loss):
        return jax.grad(loss, (0, 1))

    def loss(ws, scale):
        return jnp.sum(jax.lax.scan(lambda x, w: (jnp.tanh(x @ w) * scale, None), data(), ws)[0])

    with pytest.raises(BudgetError, match=r"argnums 0: the step differentiates the function otherwise"):
        remat_to_budget(loss, weights(), 2.0, budget=0.5, step=step)
    remat_to_budget(loss, weights(), 2.0, budget=0.5, step=step, argnums=(0, 1))


@pytest.mark.parametrize("loss", [scanned, called], ids=["scan", "calls"])
def test_other_layers_than_those_that_were_planned_are_refused(loss):
    """Not run as so many of them as were planned."""
    planned, _ = remat_to_budget(loss, weights(), data(), budget="2MiB", target=faked(MIB))
    for depth in (2, 5):
        with pytest.raises(BudgetError, match=f"planned for 3 layers, called with {depth}: plan anew"):
            planned(weights(depth), data())


def test_layers_that_are_differentiated_in_other_inputs_are_planned_too():
    """The first layer reads data, to which no tangent goes."""
    _, plan = remat_to_budget(unrolled, weights(), data(), budget="2MiB", target=faked(MIB))
    assert [group.layers for group in plan.groups] == [1, 2]
    assert all(group.saved for group in plan.groups)


def test_layers_that_are_not_differentiated_are_no_part_of_a_plan():
    def loss(frozen, ws, x):
        for w in (*frozen, *ws):
            x = jax.checkpoint(lambda w, x: jnp.tanh(x @ w))(w, x)
        return jnp.sum(x**2)

    layers = weights(4)
    args = list(layers[:2]), list(layers[2:]), data()
    _, plan = remat_to_budget(loss, *args, argnums=1, budget="2MiB", target=faked(MIB))
    assert [group.layers for group in plan.groups] == [1, 1]


def test_no_budget_is_above_what_the_device_has():
    plans, plain = candidates(6)
    search = _Search([*plans, plain], lambda one: Built(int(10 * MIB + one.bytes)), COMPILES, 12 * MIB)
    assert search.run(Budget("", bytes=30 * MIB), plans[0], plain).candidate == plans[2]
    small = _Search([*plans, plain], lambda one: Built(int(10 * MIB + one.bytes)), COMPILES, 9 * MIB)
    with pytest.raises(BudgetError, match="budget 1GiB: 9 MiB, the capacity of the device, is not enough"):
        small.run(Budget("1GiB", bytes=2**30), plans[0], plain)


def test_classes_and_flags_by_keyword_are_no_arrays():
    def loss(ws, x, *, dtype, train):
        return whole(ws, x.astype(dtype)) if train else 0.0

    given = {"dtype": np.float32, "train": np.bool_(True)}
    remat_to_budget(loss, weights(), data(), budget="2MiB", target=faked(MIB), keywords=given)


def test_blocks_are_told_by_what_becomes_of_their_layers():
    turns, blocks = Plan(2, (True, False), group=False), Plan(2, (False, False), group=True)
    assert list(_alike(Part((0, 1, 2, 3, 4), 5, turns))) == [Part((0, 2, 4), 5, AGAIN), Part((1, 3), 5, Plain())]
    assert list(_alike(Part((1, 2), 5, turns))) == [Part((1,), 5, Plain()), Part((2,), 5, AGAIN)]
    assert list(_alike(Part((0, 1), 2, blocks))) == [Part((0, 1), 2, blocks)]


def test_a_budget_is_for_one_device(monkeypatch):
    monkeypatch.setattr(targets, "_version", lambda package: "1.0")
    with pytest.raises(CaseError, match=r"target 'gpu:h100:8': a budget is planned for one device: valid are tpu:v4"):
        remat_to_budget(whole, weights(), data(), budget=0.5, target="gpu:h100:8")


@pytest.mark.parametrize(
    ("name", "said"), [("gpu:none", "unknown target 'gpu:none': valid are"), ("tpu:v5e", "is not installed")]
)
def test_a_target_that_is_not_there_is_refused_in_a_line(name, said, monkeypatch):
    monkeypatch.setattr(targets, "_version", lambda package: None)
    with pytest.raises(CaseError, match=said):
        remat_to_budget(whole, weights(), data(), budget=0.5, target=name)


def test_no_device_that_is_not_there_where_jax_may_start_others(monkeypatch):
    monkeypatch.setattr(targets, "_version", lambda package: "1.0")
    before = jax.config.jax_platforms
    jax.config.update("jax_platforms", None)
    try:
        with pytest.raises(CaseError, match="is not attached: plan for it in a process with JAX_PLATFORMS=cpu"):
            remat_to_budget(whole, weights(), data(), budget=0.5, target="tpu:v5e")
    finally:
        jax.config.update("jax_platforms", before)


def faked(peak):
    def build(function, args, donated):
        jax.eval_shape(function, *args)  # as a compilation does, it traces what it is given
        return Built(peak)

    return Target("fake", roofline("tpu"), build)


def test_below_the_least_the_error_names_the_least_found():
    with pytest.raises(BudgetError, match=r"budget 1MiB: 1 MiB is not enough: the least peak found in 6 .* is 64 MiB"):
        remat_to_budget(scanned, weights(), data(), budget="1MiB", target=faked(64 * MIB))


def test_above_the_most_the_fastest_plan_is_given():
    _, plan = remat_to_budget(scanned, weights(), data(), budget="1GiB", target=faked(64 * MIB))
    _, tight = remat_to_budget(whole, weights(), data(), budget="64MiB", target=faked(64 * MIB))
    assert plan.compiled_peak == tight.compiled_peak == 64 * MIB
    assert plan.target == "fake"


def test_a_step_of_ones_own_is_what_is_compiled():
    seen = []

    def step(loss):
        def update(ws, x):
            seen.append("step")
            return ws - 0.1 * jax.grad(loss)(ws, x)

        return update

    planned, plan = remat_to_budget(scanned, weights(), data(), budget=1, step=step, donate_argnums=(0,))
    assert len(seen) == len(plan.compiled)
    assert planned(weights(), data()) == pytest.approx(float(scanned(weights(), data())), rel=1e-5)


def test_a_function_of_nothing_that_is_differentiated_is_refused():
    with pytest.raises(BudgetError, match="no layer of the function is differentiated"):
        remat_to_budget(lambda w, x: w + jax.lax.scan(lambda c, _: (c * 2, None), x, None, 3)[0], 1.0, 2.0, budget=0.5)
