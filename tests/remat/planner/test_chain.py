"""A chain of layers that all differ: nothing is lost against trying every plan."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import pytest

from artifex_bench import remat_to_budget
from artifex_bench.core.record import OWN
from artifex_bench.remat.measure.budget import Target
from artifex_bench.remat.measure.rates import CPU
from artifex_bench.remat.planner import loop
from artifex_bench.remat.planner.choice import optimum
from artifex_bench.remat.planner.derivative import graph_of
from artifex_bench.remat.planner.graph import joined
from artifex_bench.remat.planner.plan import Built
from artifex_bench.remat.planner.pool import pool
from artifex_bench.remat.planner.stacks import Fine, planned, stacks_of

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

    def told(stack, layer, prefix, derivative):
        found[stack] = graph_of(prefix, derivative, CPU.rates())

    stacks = stacks_of(chain, *args)
    assert [stack.depth for stack in stacks] == [1, 1, 1] and not any(s.carried_bytes == 0 for s in stacks)
    jax.make_jaxpr(jax.grad(planned(chain, {s.name: ((1, Fine(frozenset())),) for s in stacks}, told)))(*args)
    return joined(list(found.values()), [1] * len(found))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 0.5, 0.75, 1.0])
def test_regret_is_zero_against_every_plan(graph, share):
    savable = [v for v, value in enumerate(graph.values) if value.savable]
    assert 6 <= len(savable) <= 15
    plans = [frozenset(p) for n in range(len(savable) + 1) for p in itertools.combinations(savable, n)]
    budget = share * graph.bytes(graph.needed)
    best = min(graph.seconds(plan) for plan in plans if graph.bytes(plan) <= budget)
    found = optimum(graph, budget)
    assert graph.bytes(found) <= budget
    assert graph.seconds(found) == pytest.approx(best, rel=1e-9)


def test_of_plans_with_the_same_peak_one_that_saves_less_in_all_stays_in_the_choice(monkeypatch):
    """The estimate of its peak is the surer; and none stays that another betters in peak, bytes saved and seconds."""
    found = []
    monkeypatch.setattr(loop, "pool", lambda kinds: found.extend(pool(kinds)) or found)
    target = Target("fake", CPU, lambda function, args, donated: Built(jax.eval_shape(function, *args)[0].size))
    remat_to_budget(chain, *arguments(), budget="1MiB", target=target)
    own = {(c.bytes, c.saved, c.seconds) for c in found if c.label in OWN}
    pairs = list(itertools.permutations(own, 2))
    assert not any(all(mine <= theirs for mine, theirs in zip(*pair, strict=True)) for pair in pairs)
    assert any(a[0] == b[0] and a[1] < b[1] and a[2] > b[2] for a, b in pairs)
