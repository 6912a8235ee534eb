"""The choice against an exhaustive search: nothing is lost on graphs small enough to try every plan."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifex_bench.remat.budget.choice import frontier, optimum
from artifex_bench.remat.budget.graph import Cost, Graph, Step, Value, joined


@st.composite
def graphs(draw):
    """Up to 9 operations of one or two outputs, each reading earlier values; some values no one can save."""
    steps, values = [], []
    for op in range(draw(st.integers(1, 6))):
        ins = draw(st.sets(st.sampled_from(range(len(values))), max_size=3)) if values else set()
        steps.append(Step(Cost(draw(st.integers(0, 9)) * 1e-4), tuple(sorted(ins))))
        for _ in range(draw(st.integers(1, 2))):
            size, save = draw(st.integers(0, 7)) * 2**20, draw(st.sampled_from((0.0, 1e-5, 2e-4)))
            values.append(Value(str(len(values)), op, size, save, savable=draw(st.integers(0, 5)) > 0))
    needed = draw(st.sets(st.sampled_from(range(len(values))), min_size=1))
    return Graph(tuple(steps), tuple(values), tuple(sorted(needed)))


def every_plan(graph):
    savable = [v for v, value in enumerate(graph.values) if value.savable]
    for count in range(len(savable) + 1):
        yield from map(frozenset, itertools.combinations(savable, count))


@settings(max_examples=60, deadline=None)
@given(graphs(), st.floats(0, 1))
def test_no_plan_within_the_budget_is_faster(graph, share):
    budget = share * sum(value.bytes for value in graph.values)
    found = optimum(graph, budget)
    assert all(graph.values[v].savable for v in found)
    assert graph.bytes(found) <= budget + 1
    best = min(graph.seconds(plan) for plan in every_plan(graph) if graph.bytes(plan) <= budget)
    assert graph.seconds(found) == pytest.approx(best, rel=1e-6, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(graphs())
def test_the_frontier_falls_and_each_of_its_plans_is_the_best_for_its_bytes(graph):
    plans = frontier(graph)
    seconds, sizes = [graph.seconds(p) for p in plans], [graph.bytes(p) for p in plans]
    assert seconds == sorted(seconds, reverse=True) and sizes == sorted(sizes)
    assert seconds[-1] == pytest.approx(min(map(graph.seconds, every_plan(graph))), rel=1e-6, abs=1e-12)
    for plan in plans:
        best = min(graph.seconds(other) for other in every_plan(graph) if graph.bytes(other) <= graph.bytes(plan))
        assert graph.seconds(plan) == pytest.approx(best, rel=1e-6, abs=1e-12)


def chain(costs, sizes, needed):
    steps = tuple(Step(Cost(cost), (i - 1,) if i else ()) for i, cost in enumerate(costs))
    return Graph(steps, tuple(Value(str(i), i, size, 0.0) for i, size in enumerate(sizes)), needed)


def test_an_operation_that_two_chains_need_counts_once():
    graph = Graph(
        (Step(Cost(5.0), ()), Step(Cost(1.0), (0,)), Step(Cost(1.0), (0,))),
        tuple(Value(str(i), i, 4.0, 0.0) for i in range(3)),
        (1, 2),
    )
    assert graph.seconds(()) == 7.0
    assert graph.seconds(optimum(graph, 4.0)) == 2.0  # the shared one saved


def test_a_saved_value_cuts_the_chain_behind_it():
    graph = chain((1.0, 10.0, 1.0), (1, 1, 1), (2,))
    assert optimum(graph, 1) == {2}
    assert graph.again({1}) == {2}
    assert graph.again({2}) == set()


def test_a_kind_of_layer_costs_as_often_as_it_is_there():
    graph = chain((1.0, 2.0), (3, 5), (0, 1))
    both = joined([graph, graph], [2, 3])
    assert both.seconds(()) == 15.0
    assert both.bytes(range(4)) == 40
    assert optimum(both, 15) == {3}
