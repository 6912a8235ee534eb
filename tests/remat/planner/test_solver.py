"""The choice against an exhaustive search: nothing is lost on graphs small enough to try every plan."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifex_bench.remat.planner import solver
from artifex_bench.remat.planner.graph import Cost, Graph, Moment, Operation, Value, join_graphs
from artifex_bench.remat.planner.solver import solve_for_budget, solve_frontier, solve_hull, solve_leanest
from tests.build import replaced

SHARE = st.sampled_from((0.0, 0.5, 1.0))


@st.composite
def graphs(draw, copies=True):
    """Up to 9 operations of one or two outputs, each reading earlier values; some values no one can save."""
    steps, values = [], []
    for op in range(draw(st.integers(1, 6))):
        ins = draw(st.sets(st.sampled_from(range(len(values))), max_size=3)) if values else set()
        steps.append(Operation(Cost(draw(st.integers(0, 9)) * 1e-4), tuple(sorted(ins))))
        for _ in range(draw(st.integers(1, 2))):
            size, save = draw(st.integers(0, 7)) * 2**20, draw(st.sampled_from((0.0, 1e-5, 2e-4)))
            values.append(Value(str(len(values)), op, size, save, savable=draw(st.integers(0, 5)) > 0))
    needed = draw(st.sets(st.sampled_from(range(len(values))), min_size=1))
    count, limit = len(values), draw(st.integers(0, 9)) * 2**20
    for v in draw(st.sets(st.sampled_from(range(count)), max_size=2)) if copies else ():
        if values[v].savable:
            size = values[v].bytes
            values.append(
                replaced(
                    values[v], bytes=0.0, save_seconds=draw(st.sampled_from((0.0, 3e-5))), copy_of=v, host_bytes=size
                )
            )
    moments = draw(st.lists(st.tuples(st.integers(0, 9), st.lists(SHARE, min_size=count, max_size=count)), max_size=3))
    shares = [Moment(2**20 * always, (*of, *(0.0,) * (len(values) - count))) for always, of in moments]
    return Graph(tuple(steps), tuple(values), tuple(sorted(needed)), moments=tuple(shares), host_limit=limit)


def every_plan(graph):
    """All that keep no value and its copy too, and no more copies than the host may be sent."""
    on_host = graph.host_limit > 0
    savable = [v for v, value in enumerate(graph.values) if value.savable and (on_host or value.copy_of is None)]
    for count in range(len(savable) + 1):
        for plan in map(frozenset, itertools.combinations(savable, count)):
            if (
                len({graph.find_original(v) for v in plan}) == count
                and graph.count_host_bytes(plan) <= graph.host_limit
            ):
                yield plan


@settings(max_examples=60, deadline=None)
@given(graphs(), st.floats(0, 1))
def test_no_plan_within_the_budget_is_faster(graph, share):
    low = min(map(graph.estimate_peak, every_plan(graph)))
    budget = low + share * sum(value.bytes for value in graph.values)
    found = solve_for_budget(graph, budget)
    assert all(graph.values[v].savable for v in found)
    rounding = 1 + solver.ROUNDING
    assert (
        graph.estimate_peak(found) <= budget * rounding and graph.count_host_bytes(found) <= graph.host_limit * rounding
    )
    best = min(graph.estimate_seconds(plan) for plan in every_plan(graph) if graph.estimate_peak(plan) <= budget)
    assert graph.estimate_seconds(found) == pytest.approx(best, rel=1e-6, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(graphs(copies=False))
def test_the_frontier_falls_and_each_of_its_plans_is_the_best_for_its_peak(graph):
    """Without copies on the host: the plans of the hull have none."""
    plans = solve_frontier(graph, solve_hull(graph), 4)
    seconds, sizes = [graph.estimate_seconds(p) for p in plans], [graph.estimate_peak(p) for p in plans]
    assert seconds == sorted(seconds, reverse=True) and sizes == sorted(sizes)
    assert seconds[-1] == pytest.approx(min(map(graph.estimate_seconds, every_plan(graph))), rel=1e-6, abs=1e-12)
    for plan in plans if not graph.moments else ():
        best = min(
            graph.estimate_seconds(other)
            for other in every_plan(graph)
            if graph.estimate_peak(other) <= graph.estimate_peak(plan)
        )
        assert graph.estimate_seconds(plan) == pytest.approx(best, rel=1e-6, abs=1e-12)


def chain(costs, sizes, needed):
    steps = tuple(Operation(Cost(cost), (i - 1,) if i else ()) for i, cost in enumerate(costs))
    return Graph(steps, tuple(Value(str(i), i, size, 0.0) for i, size in enumerate(sizes)), needed)


def test_an_operation_that_two_chains_need_counts_once():
    graph = Graph(
        (Operation(Cost(5.0), ()), Operation(Cost(1.0), (0,)), Operation(Cost(1.0), (0,))),
        tuple(Value(str(i), i, 4.0, 0.0) for i in range(3)),
        (1, 2),
    )
    assert graph.estimate_seconds(()) == 7.0
    assert graph.estimate_seconds(solve_for_budget(graph, 4.0)) == 2.0  # the shared one saved


def test_a_saved_value_cuts_the_chain_behind_it():
    graph = chain((1.0, 10.0, 1.0), (1, 1, 1), (2,))
    assert solve_for_budget(graph, 1) == {2}
    assert graph.find_recomputed({1}) == {2}
    assert graph.find_recomputed({2}) == set()


def test_a_kind_of_layer_costs_as_often_as_it_is_there():
    graph = chain((1.0, 2.0), (3, 5), (0, 1))
    both = join_graphs([graph, graph], [2, 3])
    assert both.estimate_seconds(()) == 15.0
    assert both.count_bytes(range(4)) == 40
    assert solve_for_budget(both, 15) == {3}


def test_of_several_kinds_what_the_last_layer_saves_costs_nothing_at_the_peak():
    """Two layers, one of each kind, 4 bytes each: while the last is differentiated its value is there in any case."""
    graph = chain((1.0,), (4,), (0,))
    both = join_graphs([graph, graph], [1, 1], [[0.0, 0.0], [1.0, 0.0]])
    assert both.estimate_peak(()) == 4
    assert (both.estimate_peak({0}), both.estimate_peak({1}), both.estimate_peak({0, 1})) == (8, 4, 8)
    assert solve_for_budget(both, 4) == {1}


@settings(max_examples=20, deadline=None)
@given(st.lists(graphs(copies=False), min_size=2, max_size=4), st.floats(0, 1))
def test_a_search_that_is_cut_off_gives_a_plan_within_the_budget_all_the_same(kinds, share):
    before = [[float(j < i) for j in range(len(kinds))] for i in range(len(kinds))]
    every = join_graphs([replaced(kind, moments=()) for kind in kinds], [3] * len(kinds), before)
    low = every.estimate_peak(())
    budget = low + share * (every.estimate_peak(range(len(every.values))) - low)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(solver, "NODES", 1)
        assert every.estimate_peak(solve_for_budget(every, budget)) <= budget * (1 + solver.ROUNDING)


def test_what_derives_from_what_is_read_besides_is_there_only_if_it_is_saved():
    graph = chain((1.0, 0.0), (4, 4), (0, 1))
    assert graph.find_materialized() == {0}
    product = replaced(graph, operations=(graph.operations[0], replaced(graph.operations[1], fusible=False)))
    assert product.find_materialized() == {0, 1}  # no fusion computes a product again
    both = join_graphs([graph, graph], [1, 2], [[0.0, 0.0], [1.0, 0.0]])
    assert (both.estimate_peak(()), both.estimate_peak({2}), both.estimate_peak({3}), both.estimate_peak({2, 3})) == (
        4,
        8,
        12,
        16,
    )


def test_a_copy_on_the_host_stands_in_for_a_value_as_far_as_the_link_goes():
    values = (Value("a", 0, 4.0, 0.0), Value("b", 1, 4.0, 0.0))
    copies = tuple(replaced(v, bytes=0.0, save_seconds=0.1, copy_of=i, host_bytes=4.0) for i, v in enumerate(values))
    graph = Graph((Operation(Cost(1.0), ()), Operation(Cost(2.0), ())), values + copies, (0, 1), host_limit=4.0)
    assert solve_for_budget(graph, 0) == {3}  # the one that takes longer to compute
    assert solve_for_budget(graph, 4) == {0, 3} or solve_for_budget(graph, 4) == {1, 2}
    assert solve_for_budget(graph, 8) == {0, 1}
    assert solve_leanest(graph) == frozenset()
    assert graph.find_recomputed({3}) == {0} and graph.estimate_seconds({3}) == pytest.approx(1.1)
    twice = join_graphs([graph], [2])
    assert (twice.host_limit, twice.count_host_bytes({3}), twice.estimate_seconds({2, 3})) == (
        8.0,
        8.0,
        pytest.approx(0.4),
    )
