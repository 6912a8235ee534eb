"""The search for the largest batch, on fabricated peaks: the next batch, and the edge at the end."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifex_bench.core.batch_edge import Point, find_disorder, find_edge
from artifex_bench.core.run_spec import Search
from artifex_bench.sweep.batch_search import (
    GUESSES,
    apply_memory_budget,
    choose_next_batch,
    compute_resolution,
    make_point,
    next_case,
)
from tests.build import case, record, replaced, taken

CAPACITY = 16.0


def searched(peak, search=Search(), known=True):  # noqa: B008 - it is frozen
    """The points in the order of the search. Peaks above the capacity are given only if they are `known`."""
    points: list[Point] = []
    while (batch := choose_next_batch(points, CAPACITY, search)) is not None:
        assert batch not in [point.batch for point in points]
        assert len(points) < 100
        needed = peak(batch)
        points.append(Point(batch, needed if known or needed <= CAPACITY else None, needed <= CAPACITY))
    return points


def batches(points):
    return [point.batch for point in points]


def test_a_linear_peak_is_interpolated():
    assert batches(searched(lambda batch: 1 + 0.25 * batch)) == [1, 4, 60, 61]


def test_a_jump_of_the_peak_costs_a_few_more_compilations():
    points = searched(lambda batch: 1 + 0.25 * batch + (3 if batch > 40 else 0))
    assert batches(points) == [1, 4, 60, 50, 48, 49]
    assert batches(find_edge(points)) == [48, 49]


@pytest.mark.parametrize(
    ("bytes_each", "compiled", "proven"),
    [(17, [1], [None, 1]), (16, [1, 4, 2], [1, 2]), (5, [1, 4, 3], [3, 4]), (4, [1, 4, 5], [4, 5])],
)
def test_few_fit_or_none(bytes_each, compiled, proven):
    points = searched(lambda batch: bytes_each * batch)
    assert batches(points) == compiled
    assert [point and point.batch for point in find_edge(points)] == proven


def test_batches_are_multiples_up_to_the_limit():
    assert batches(searched(lambda batch: 1.0, Search(multiple=8, limit=100))) == [8, 32, 96]
    assert batches(searched(lambda batch: 1 + 0.25 * batch, Search(multiple=8))) == [8, 32, 56, 64]


PEAKS = st.tuples(st.floats(0, 20), st.floats(1e-6, 4), st.floats(0.5, 1.5), st.integers(1, 3000), st.floats(0, 4)).map(
    lambda p: lambda batch: p[0] + p[1] * batch ** p[2] + (p[4] if batch > p[3] else 0)
)
SEARCHES = st.builds(
    lambda multiple, times: Search(None, multiple, multiple * times + 1), st.integers(1, 64), st.integers(1, 10**6)
)


@given(PEAKS, SEARCHES, st.booleans())
def test_if_peaks_grow_the_edge_is_proven(peak, search, known):
    points = searched(peak, search, known)
    fits, fails = find_edge(points)
    assert all(batch % search.multiple == 0 and batch <= search.limit for batch in batches(points))
    assert not list(find_disorder(points))
    if fits is None:
        assert fails is not None and fails.batch == search.multiple
    elif fails is None:
        assert fits.batch + search.multiple > search.limit
    else:
        assert fails.batch - fits.batch <= compute_resolution(fits.batch, search.multiple)
        assert fails.batch - fits.batch <= max(search.multiple, 0.01 * fits.batch)
    assert len(points) <= GUESSES + 2 * math.log2(search.limit)


@given(st.integers(0, 2**32), SEARCHES)
def test_with_any_peaks_the_search_ends_at_an_edge(seed, search):
    points = searched(lambda batch: random.Random(f"{seed} {batch}").uniform(1, 31), search)
    fits, fails = find_edge(points)
    assert fits is None or fails is None or fails.batch - fits.batch <= compute_resolution(fits.batch, search.multiple)


def test_disorder_is_found_between_neighbours():
    one, two, three, four = Point(1, 5, True), Point(2, 4, True), Point(3, None, False), Point(4, 15, True)
    assert list(find_disorder([four, one, three, two])) == [(one, two), (three, four)]
    assert find_edge([four, one, three, two]) == (four, None)


def compiled(batch, peak, capacity=16, strategy="none", target="tpu:v5e", status="ok"):
    taken_here = (taken("compiled_peak_bytes", peak), taken("capacity_bytes", capacity)) if status == "ok" else ()
    return record(case(strategy, batch=batch, target=target), status, measurements=taken_here)


START = case("none", batch=1, target="tpu:v5e")


def test_a_search_follows_its_own_records():
    others = [compiled(4, 99, strategy="all"), compiled(4, 99, target="gpu:h100")]
    assert next_case(START, others, Search()) == START
    mine = [compiled(1, 1), compiled(4, 4)]
    assert next_case(START, [*others, *mine], Search()) == replaced(START, batch=16)
    assert next_case(START, [*mine, compiled(16, 16), compiled(17, 17)], Search()) is None


@pytest.mark.parametrize("status", ["failed", "timeout", "skipped"])
def test_a_failed_case_ends_its_search(status):
    assert next_case(START, [compiled(1, 1), compiled(4, 0, status=status)], Search()) is None


def test_a_compilation_that_runs_out_of_memory_says_that_the_batch_does_not_fit():
    found = [compiled(1, 1), compiled(4, 4), compiled(16, 0, status="oom")]
    assert make_point(found[2]) == Point(16, None, False)
    assert next_case(START, found, Search()) == replaced(START, batch=15)
    assert next_case(START, [compiled(1, 0, status="oom")], Search()) is None


@pytest.mark.parametrize(("cublas", "fits"), [(15, True), (17, False)])
def test_the_larger_of_two_peaks_decides_whether_a_batch_fits(cublas, fits):
    found = compiled(4, 10)
    both = replaced(found, measurements=(*found.measurements, taken("cublas_peak_bytes", cublas)))
    assert make_point(both) == Point(4, cublas, fits)


def test_a_memory_budget_beyond_the_capacity_changes_nothing():
    found = compiled(4, 4)
    assert apply_memory_budget(found, 17) is found


def test_a_memory_budget_replaces_the_capacity():
    found = compiled(4, 4)
    assert apply_memory_budget(found, None) is found
    limited = apply_memory_budget(found, 3)
    assert limited.value("capacity_bytes") == 3
    assert [m.probe for m in limited.measurements] == ["compiled_peak_bytes", "capacity_bytes"]
