"""When to save: by the loss, and by what it costs. Without JAX."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifex_bench.checkpointing.frequency import (
    AdaptiveCheckpointing,
    lost_share,
    save_plan,
    young_daly_interval,
)


def test_neither_needs_jax():
    code = (
        "import sys; from artifex_bench.checkpointing import AdaptiveCheckpointing, FAULTS, errors\n"
        "assert not {'jax', 'orbax', 'flax', 'numpy'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def saves(adaptive, losses, first=1, stride=1):
    steps = range(first, first + stride * len(losses), stride)
    return [step for step, loss in zip(steps, losses, strict=True) if adaptive.should_checkpoint(step, loss)]


def test_calm_training_saves_at_doubling_intervals_up_to_the_longest():
    adaptive = AdaptiveCheckpointing(100, 50, 400)
    assert saves(adaptive, [1.0] * 2000) == [100, 300, 700, 1100, 1500, 1900]


def test_unstable_training_saves_at_halving_intervals_down_to_the_shortest():
    adaptive = AdaptiveCheckpointing(100, 20, 400)
    assert saves(adaptive, [float(i % 2) for i in range(300)])[:4] == [50, 75, 95, 115]


def test_one_unstable_stretch_halves_the_interval_once():
    adaptive = AdaptiveCheckpointing(400, 10, 400)
    losses = [1.0] * 50 + [5.0, 1.0] * 20 + [1.0] * 110
    assert saves(adaptive, losses) == [200]
    assert adaptive.current_interval == 200


def test_step_numbers_need_not_be_multiples():
    adaptive = AdaptiveCheckpointing(10, 10, 10)
    assert saves(adaptive, [1.0] * 12, first=1003, stride=3) == [1012, 1024, 1036]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_unstable(bad):
    adaptive = AdaptiveCheckpointing(100, 10, 400)
    saves(adaptive, [1.0, bad])
    assert adaptive.current_interval == 50


def test_forced_and_marked_saves_start_the_interval_anew():
    adaptive = AdaptiveCheckpointing(100, 100, 100)
    assert not adaptive.should_checkpoint(1, 1.0)
    assert adaptive.force_checkpoint() is True
    assert adaptive.should_checkpoint(2, 1.0)
    adaptive.mark_saved(50)  # the end of an epoch
    assert saves(adaptive, [1.0] * 150, first=51) == [150]


@pytest.mark.parametrize("options", [(10, 20, 30), (10, 0, 30), (40, 20, 30)])
def test_intervals_that_cannot_be(options):
    with pytest.raises(ValueError, match="min_interval"):
        AdaptiveCheckpointing(*options)
    with pytest.raises(ValueError, match="window"):
        AdaptiveCheckpointing(window=1)
    with pytest.raises(ValueError, match="threshold"):
        AdaptiveCheckpointing(threshold=math.nan)


def test_young_and_daly_agree_where_saves_are_short():
    assert young_daly_interval(1, 1e6) == pytest.approx(math.sqrt(2e6), rel=2e-3)
    # Daly 2006: 5 minutes to save, a day between failures
    assert young_daly_interval(300, 86400) == pytest.approx(7001, abs=1)


@settings(deadline=None, derandomize=True, max_examples=50)
@given(
    save=st.floats(0.01, 1000),
    ratio=st.floats(5, 1e6),
    restore=st.floats(0, 1000),
)
def test_the_interval_is_where_the_least_is_lost(save, ratio, restore):
    mtbf = save * ratio
    best = young_daly_interval(save, mtbf, restore)
    least = min(lost_share(best * 1.01**n, save, mtbf, restore) for n in range(-100, 101))
    assert 0 < least <= lost_share(best, save, mtbf, restore) <= least + 5e-3


def test_what_is_lost():
    assert lost_share(100, 1, 1e9) == pytest.approx(1 / 101, rel=1e-4)  # nothing fails: the saves alone
    assert lost_share(100, 1, 1000, 50) > lost_share(100, 1, 1000)
    assert lost_share(1e6, 1, 100) == 1.0
    assert lost_share(1, 1, 1, 699) == pytest.approx(1.0)


def test_a_plan_in_steps():
    plan = save_plan(step_seconds=0.5, save_seconds=2, mtbf_seconds=3600, restore_seconds=30)
    assert plan.seconds == plan.steps * 0.5 == pytest.approx(young_daly_interval(2, 3600), abs=0.5)
    assert plan.lost == lost_share(plan.seconds, 2, 3600, 30)
    assert save_plan(1000, 0.001, 10).steps == 1


@pytest.mark.parametrize(
    ("times", "wrong"),
    [
        ((0, 1), "save_seconds"),
        ((1, 0), "mtbf_seconds"),
        ((-1, 1), "save_seconds"),
        ((math.nan, 1), "save_seconds"),
        ((1, math.inf), "mtbf_seconds"),
        ((1, 1, -1), "restore_seconds"),
    ],
)
def test_times_that_cannot_be(times, wrong):
    with pytest.raises(ValueError, match=wrong):
        young_daly_interval(*times)


def test_saves_that_take_longer_than_machines_last():
    assert young_daly_interval(100, 50) == 50
    assert young_daly_interval(100, 10) == 10
    with pytest.raises(ValueError, match="interval_seconds"):
        lost_share(0, 1, 1)
    with pytest.raises(ValueError, match="step_seconds"):
        save_plan(0, 1, 1)
