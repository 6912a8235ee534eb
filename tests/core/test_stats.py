"""Statistics compared with their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifex_bench.core.stats import (
    RESAMPLES,
    Summary,
    bootstrap_medians,
    least_ratio,
    pareto_front,
    summarize,
    wilson_interval,
)

times = st.floats(1e-6, 1e3)
rounds = st.lists(st.lists(times, max_size=6), max_size=5)
few = st.integers(0, 5).map(float)  # ties are common
points = st.lists(st.tuples(few, few) | st.tuples(times, times), max_size=12)


@given(rounds)
def test_the_interval_holds_the_median_of_all_samples(groups):
    pooled = [value for group in groups for value in group]
    found = summarize(groups)
    if not pooled:
        assert found is None
        return
    assert found.median == np.median(pooled)
    assert (found.samples, found.rounds) == (len(pooled), sum(1 for group in groups if group))
    if len(pooled) == 1:
        assert (found.low, found.high) == (None, None)
    else:
        assert min(pooled) <= found.low <= found.median <= found.high <= max(pooled)


def test_one_sample_has_no_spread():
    assert summarize([[0.5]]) == Summary(0.5, None, None, 1, 1)
    assert summarize([[], [0.5], []]) == Summary(0.5, None, None, 1, 1)


def test_no_samples_are_no_summary():
    assert summarize([]) is None
    assert summarize([[], []]) is None


def test_equal_samples_have_an_interval_without_width():
    assert summarize([[2.0, 2.0], [2.0]]) == Summary(2.0, 2.0, 2.0, 3, 2)


@given(rounds, st.sampled_from((0.5, 2.0, 1024.0)))
def test_another_unit_scales_everything(groups, factor):
    one, other = summarize(groups), summarize([[value * factor for value in group] for group in groups])
    if one is None or one.low is None:
        assert (one is None) == (other is None)
        return
    assert (other.median, other.low, other.high) == tuple(factor * v for v in (one.median, one.low, one.high))


def test_the_same_samples_give_the_same_interval():
    groups = [[1.0, 2.0, 4.0], [1.5, 3.0]]
    assert summarize(groups) == summarize(groups)


def test_rounds_that_differ_widen_the_interval():
    """Eight samples of two processes that disagree tell less than eight that agree among themselves."""
    apart, mixed = [[1.0] * 4, [2.0] * 4], [[1.0, 1.0, 1.01, 1.01], [1.0, 1.0, 1.01, 1.01]]
    wide, narrow = summarize(apart), summarize(mixed)
    assert (wide.low, wide.high) == (1.0, 2.0)
    assert narrow.high - narrow.low <= 0.011


def test_resampled_medians_are_medians_of_the_values_given():
    found = bootstrap_medians([np.array([1.0, 2.0, 3.0])])
    assert found.shape == (RESAMPLES,)
    assert set(found) == {1.0, 2.0, 3.0}


def beaten(one, other):
    """Whether `other` beats `one`: no worse in both, better in one."""
    return other != one and all(o <= mine for o, mine in zip(other, one, strict=True))


@given(points)
def test_the_pareto_front_is_what_nothing_beats(several):
    found = pareto_front(several)
    assert sorted(found) == [i for i, one in enumerate(several) if not any(beaten(one, other) for other in several)]
    assert [several[i] for i in found] == sorted(several[i] for i in found)


@pytest.mark.parametrize(
    ("several", "front"), [([], []), ([(1, 1)], [0]), ([(1, 2), (1, 2), (1, 3), (0, 9)], [3, 0, 1])]
)
def test_pareto_fronts_small_enough_to_see(several, front):
    assert pareto_front(several) == front


def test_rounds_count_as_one_sample_each():
    """However many steps a round has: two rounds are two samples."""
    above, below = [(1.0,) * 50, (1.1,) * 50], [(1.2,) * 50, (1.35,) * 50]
    assert least_ratio(above, below) == pytest.approx(least_ratio([(1.0,), (1.1,)], [(1.2,), (1.35,)]))
    assert least_ratio(above, below)[1] > 0.05


def test_what_is_added_to_most_values_of_a_round_makes_no_difference():
    ratio, p = least_ratio([(1.2, 9.0, 9.0), (1.24, 9.0, 7.0), (1.16, 8.0)], [(1.0, 1.0), (1.03, 1.1), (0.97, 3.0)])
    assert ratio == pytest.approx(1.2, rel=0.01)
    assert p < 0.01


def test_equal_noise_is_significant_as_often_as_said():
    """At 5 %, over 400 pairs of four rounds each: between 2 and 8 %."""
    rng = np.random.default_rng(1)
    sides = np.exp(rng.normal(0, 0.1, (400, 2, 4, 1)))
    assert 8 <= sum(least_ratio(above, below)[1] < 0.05 for above, below in sides) <= 32


@pytest.mark.parametrize(
    ("above", "below", "found"),
    [
        ([(1.0,)], [(2.0,), (2.1,)], None),  # one round: no spread between rounds
        ([(0.0,), (1.0,)], [(2.0,), (2.1,)], None),
        ([(3.0,), (3.0,)], [(3.0,), (3.0,)], (1.0, 1.0)),
        ([(4.0,), (4.0,)], [(3.0,), (3.0,)], (pytest.approx(4 / 3), 0.0)),
    ],
)
def test_where_rounds_cannot_tell(above, below, found):
    assert least_ratio(above, below) == found


@given(st.integers(1, 10**6).flatmap(lambda trials: st.tuples(st.integers(0, trials), st.just(trials))))
def test_the_interval_of_a_share_holds_it_and_is_its_mirror_image(found):
    count, trials = found
    low, high = wilson_interval(count, trials)
    assert 0 <= low <= count / trials + 1e-12 and count / trials - 1e-12 <= high <= 1
    assert (1 - high, 1 - low) == pytest.approx(wilson_interval(trials - count, trials), abs=1e-12)


def test_the_interval_of_a_share_is_that_of_the_published_example():
    """Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29."""
    published = {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }
    for trial, interval in published.items():
        assert wilson_interval(*trial) == pytest.approx(interval, abs=5e-5)
