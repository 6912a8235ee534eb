"""The choice against an exhaustive search: nothing is lost on graphs small enough to try every plan."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifex_bench.remat.planner import choice
from artifex_bench.remat.planner.choice import frontier, hull, least, optimum
from artifex_bench.remat.planner.graph import Cost, Graph, Moment, Step, Value, joined
from tests.build import replaced

SHARE = st.sampled_from((0.0, 0.5, 1.0))


@st.composite
def graphs(draw, copies=True):
    """Up to 9 operations of one or two outputs, each reading earlier values; some values no one can save."""
    steps, values = [], []
    for op in range(draw(st.integers(1, 6))):
        ins = draw(st.sets(st.sampled_from(range(len(values))), max_size=3)) if values else set()
        steps.append(Step(Cost(draw(st.integers(0, 9)) * 1e-4), tuple(sorted(ins))))
        for _ in range(draw(st.integers(1, 2))):
            size, save = draw(st.integers(0, 7)) * 2**20, draw(st.sampled_from((0.0, 1e-5, 2e-4)))
            values.append(Value(str(len(values)), op, size, save, savable=draw(st.integers(0, 5)) > 0))
    needed = draw(st.sets(st.sampled_from(range(len(values))), min_size=1))
    count, limit = len(values), draw(st.integers(0, 9)) * 2**20
    for v in draw(st.sets(st.sampled_from(range(count)), max_size=2)) if copies else ():
        if values[v].savable:
            size = values[v].bytes
            values.append(
                replaced(values[v], bytes=0.0, save_seconds=draw(st.sampled_from((0.0, 3e-5))), of=v, on_host=size)
            )
    moments = draw(st.lists(st.tuples(st.integers(0, 9), st.lists(SHARE, min_size=count, max_size=count)), max_size=3))
    shares = [Moment(2**20 * always, (*of, *(0.0,) * (len(values) - count))) for always, of in moments]
    return Graph(tuple(steps), tuple(values), tuple(sorted(needed)), moments=tuple(shares), host_limit=limit)


def every_plan(graph):
    """All that keep no value and its copy too, and no more copies than the host may be sent."""
    on_host = graph.host_limit > 0
    savable = [v for v, value in enumerate(graph.values) if value.savable and (on_host or value.of is None)]
    for count in range(len(savable) + 1):
        for plan in map(frozenset, itertools.combinations(savable, count)):
            if len({graph.original(v) for v in plan}) == count and graph.on_host(plan) <= graph.host_limit:
                yield plan


@settings(max_examples=60, deadline=None)
@given(graphs(), st.floats(0, 1))
def test_no_plan_within_the_budget_is_faster(graph, share):
    low = min(map(graph.peak, every_plan(graph)))
    budget = low + share * sum(value.bytes for value in graph.values)
    found = optimum(graph, budget)
    assert all(graph.values[v].savable for v in found)
    rounding = 1 + choice.ROUNDING
    assert graph.peak(found) <= budget * rounding and graph.on_host(found) <= graph.host_limit * rounding
    best = min(graph.seconds(plan) for plan in every_plan(graph) if graph.peak(plan) <= budget)
    assert graph.seconds(found) == pytest.approx(best, rel=1e-6, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(graphs(copies=False))
def test_the_frontier_falls_and_each_of_its_plans_is_the_best_for_its_peak(graph):
    """Without copies on the host: the plans of the hull have none."""
    plans = frontier(graph, hull(graph), 4)
    seconds, sizes = [graph.seconds(p) for p in plans], [graph.peak(p) for p in plans]
    assert seconds == sorted(seconds, reverse=True) and sizes == sorted(sizes)
    assert seconds[-1] == pytest.approx(min(map(graph.seconds, every_plan(graph))), rel=1e-6, abs=1e-12)
    for plan in plans if not graph.moments else ():
        best = min(graph.seconds(other) for other in every_plan(graph) if graph.peak(other) <= graph.peak(plan))
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


def test_of_several_kinds_what_the_last_layer_saves_costs_nothing_at_the_peak():
    """Two layers, one of each kind, 4 bytes each: while the last is differentiated its value is there in any case."""
    graph = chain((1.0,), (4,), (0,))
    both = joined([graph, graph], [1, 1], [[0.0, 0.0], [1.0, 0.0]])
    assert both.peak(()) == 4
    assert (both.peak({0}), both.peak({1}), both.peak({0, 1})) == (8, 4, 8)
    assert optimum(both, 4) == {1}


@settings(max_examples=20, deadline=None)
@given(st.lists(graphs(copies=False), min_size=2, max_size=4), st.floats(0, 1))
def test_a_search_that_is_cut_off_gives_a_plan_within_the_budget_all_the_same(kinds, share):
    before = [[float(j < i) for j in range(len(kinds))] for i in range(len(kinds))]
    every = joined([replaced(kind, moments=()) for kind in kinds], [3] * len(kinds), before)
    low = every.peak(())
    budget = low + share * (every.peak(range(len(every.values))) - low)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(choice, "NODES", 1)
        assert every.peak(optimum(every, budget)) <= budget * (1 + choice.ROUNDING)


def test_what_derives_from_what_is_read_besides_is_there_only_if_it_is_saved():
    graph = chain((1.0, 0.0), (4, 4), (0, 1))
    assert graph.core() == {0}
    product = replaced(graph, steps=(graph.steps[0], replaced(graph.steps[1], fusible=False)))
    assert product.core() == {0, 1}  # no fusion computes a product again
    both = joined([graph, graph], [1, 2], [[0.0, 0.0], [1.0, 0.0]])
    assert (both.peak(()), both.peak({2}), both.peak({3}), both.peak({2, 3})) == (4, 8, 12, 16)


def test_a_copy_on_the_host_stands_in_for_a_value_as_far_as_the_link_goes():
    values = (Value("a", 0, 4.0, 0.0), Value("b", 1, 4.0, 0.0))
    copies = tuple(replaced(v, bytes=0.0, save_seconds=0.1, of=i, on_host=4.0) for i, v in enumerate(values))
    graph = Graph((Step(Cost(1.0), ()), Step(Cost(2.0), ())), values + copies, (0, 1), host_limit=4.0)
    assert optimum(graph, 0) == {3}  # the one that takes longer to compute
    assert optimum(graph, 4) == {0, 3} or optimum(graph, 4) == {1, 2}
    assert optimum(graph, 8) == {0, 1}
    assert least(graph) == frozenset()
    assert graph.again({3}) == {0} and graph.seconds({3}) == pytest.approx(1.1)
    twice = joined([graph], [2])
    assert (twice.host_limit, twice.on_host({3}), twice.seconds({2, 3})) == (8.0, 8.0, pytest.approx(0.4))
