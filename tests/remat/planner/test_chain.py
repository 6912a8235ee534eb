"""A chain of layers that all differ: nothing is lost against trying every plan."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import pytest

from artifex_bench import remat_to_budget
from artifex_bench.core.record import OWN
from artifex_bench.remat.measure.budget import StepCompiler
from artifex_bench.remat.measure.rates import CPU
from artifex_bench.remat.planner import planning
from artifex_bench.remat.planner.candidates import list_candidates
from artifex_bench.remat.planner.choices import SaveNamed
from artifex_bench.remat.planner.graph import join_graphs
from artifex_bench.remat.planner.graph_builder import build_graph
from artifex_bench.remat.planner.layers import find_stacks
from artifex_bench.remat.planner.rewrite import rewrite_function
from artifex_bench.remat.planner.solver import solve_for_budget
from artifex_bench.remat.planner.trial import CompiledStep

WIDTHS = (32, 24, 16, 8)


def chain(weights, x):
    for w in weights:
        x = jax.checkpoint(lambda w, x: jnp.tanh(jnp.exp(x @ w)))(w, x)
    return jnp.sum(x**2)


def arguments():
    return [jnp.ones(pair) for pair in itertools.pairwise(WIDTHS)], jnp.ones((64, WIDTHS[0]))


@pytest.fixture(scope="module")
def graph():
    args = arguments()
    found = {}

    def observe(stack, layer, prefix, jvp):
        found[stack] = build_graph(prefix, jvp, CPU.make_rates())

    stacks = find_stacks(chain, *args)
    assert [stack.depth for stack in stacks] == [1, 1, 1] and not any(s.carried_bytes == 0 for s in stacks)
    jax.make_jaxpr(
        jax.grad(rewrite_function(chain, {s.name: ((1, SaveNamed(frozenset())),) for s in stacks}, observe))
    )(*args)
    return join_graphs(list(found.values()), [1] * len(found))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 0.5, 0.75, 1.0])
def test_regret_is_zero_against_every_plan(graph, share):
    savable = [v for v, value in enumerate(graph.values) if value.savable]
    assert 6 <= len(savable) <= 15
    plans = [frozenset(p) for n in range(len(savable) + 1) for p in itertools.combinations(savable, n)]
    budget = share * graph.count_bytes(graph.needed)
    best = min(graph.estimate_seconds(plan) for plan in plans if graph.count_bytes(plan) <= budget)
    found = solve_for_budget(graph, budget)
    assert graph.count_bytes(found) <= budget
    assert graph.estimate_seconds(found) == pytest.approx(best, rel=1e-9)


def test_of_plans_with_the_same_peak_one_that_saves_less_in_all_stays_in_the_choice(monkeypatch):
    """The estimate of its peak is the surer; and none stays that another betters in peak, bytes saved and seconds."""
    found = []
    monkeypatch.setattr(planning, "list_candidates", lambda kinds: found.extend(list_candidates(kinds)) or found)
    target = StepCompiler(
        "fake", CPU, lambda function, args, donated: CompiledStep(jax.eval_shape(function, *args)[0].size)
    )
    remat_to_budget(chain, *arguments(), budget="1MiB", target=target)
    own = {(c.bytes, c.saved, c.seconds) for c in found if c.label in OWN}
    pairs = list(itertools.permutations(own, 2))
    assert not any(all(mine <= theirs for mine, theirs in zip(*pair, strict=True)) for pair in pairs)
    assert any(a[0] == b[0] and a[1] < b[1] and a[2] > b[2] for a, b in pairs)
