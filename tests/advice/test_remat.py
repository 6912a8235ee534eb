"""Advice on strategies that ran here: the choice, its figures, the confidence, and why each other case was rejected."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifex_bench.advice import advise
from artifex_bench.advice.data import Candidate, Confidence, Doubt, Level, Question, Reason, Rejection
from artifex_bench.core.case import CaseError
from artifex_bench.kinds.frames import make_frame
from tests.advice.build import MIB, SWEEP, advise_on, job, name_choices, saved, with_measured_peak
from tests.build import case, measured, record, replaced, taken
from tests.shown import remat


def over(needed, budget, reason=Reason.OVER_MEMORY_BUDGET):
    return Rejection(reason, {"needed_bytes": needed * MIB, "over_bytes": (needed - budget) * MIB})


def test_the_fastest_that_fits_and_why_each_other_was_rejected():
    advice = advise_on(*SWEEP, memory_budget=60 * MIB)
    assert name_choices(advice) == ("dots_saveable", "every-2")
    assert (advice.question, advice.limits.memory_bytes) == (Question.FASTEST, 60 * MIB)
    figures = advice.choice.figures
    assert (figures["step_seconds"], figures["time_ratio"]) == (pytest.approx(0.11), pytest.approx(1.1))
    assert figures["time_ratio_low"] < figures["time_ratio"] < figures["time_ratio_high"]
    assert (figures["compiled_peak_bytes"], figures["spare_bytes"]) == (60 * MIB, 0)
    assert (advice.confidence.level, advice.confidence.doubts) == (Level.HIGH, ())
    assert advice.confidence.interval == pytest.approx((0.1089, 0.1111), rel=1e-3)
    seconds = {"attention-only": 0.125, "all": 0.14}
    peaks = {"attention-only": 55 * MIB, "all": 20 * MIB}
    behind = {name: {"step_seconds": seconds[name], "compiled_peak_bytes": peaks[name]} for name in seconds}
    assert advice.rejected == {
        "mlp-only": Rejection(Reason.ELIMINATED, message="because it is eliminated"),
        "segments-2": Rejection(Reason.OOM, message="it was oom"),
        "none": over(80, 60),
        "attention-only": Rejection(Reason.DOMINATED, pytest.approx(behind["attention-only"]), "every-2"),
        "all": Rejection(Reason.SLOWER, pytest.approx(behind["all"])),
    }


def met_by(plan):
    """A job of a budget that was met by that plan."""
    fields = job("budget-0.5", 95, 50)
    budget = taken("budget_bytes", 60 * MIB)
    return replaced(fields, measurements=(*fields.measurements, replaced(budget, detail={"plan": plan})))


def test_a_budget_that_another_strategys_program_met_names_that_strategy():
    (named, own) = (advise_on(*SWEEP, met_by(plan), memory_budget=60 * MIB) for plan in ("dots_saveable", "mixture"))
    assert named.choice.name == own.choice.name == "budget-0.5"
    assert (named.choice.program_of, own.choice.program_of) == ("dots_saveable", None)
    notes = [note for _, _, notes in remat.grouped(make_frame([*SWEEP, met_by("none")])) for note in notes]
    assert "budget-0.5: the program of none" in notes
    assert make_frame([*SWEEP, met_by("mixture")]).plan.dropna().tolist() == ["mixture"]


def test_what_is_over_a_budget_as_measured_does_not_fit():
    small, large = (with_measured_peak(mib, job("dots_saveable", 110, 50)) for mib in (52, 61))
    assert advise_on(SWEEP[0], SWEEP[1], small, memory_budget=60 * MIB).choice.name == "dots_saveable"
    advice = advise_on(SWEEP[0], SWEEP[1], large, memory_budget=60 * MIB)
    assert advice.choice.name == "all"
    assert advice.rejected["dots_saveable"] == over(61, 60, Reason.OVER_MEMORY_BUDGET_MEASURED)
    nearest = advise_on(SWEEP[0], large, memory_budget=60 * MIB).nearest
    assert nearest == Candidate("dots_saveable", {"needed_bytes": 61 * MIB})


@pytest.mark.parametrize(
    ("compiled", "measured", "count"),
    [(50, 52, 0), (50, 49, 0), (59, 61, 1), (1000, 1040, 1), (1000, 1060, 2), (100, 115, 1), (100, 117, 2)],
)
def test_notes_name_memory_that_no_plan_holds_and_budgets_that_are_not_met(compiled, measured, count):
    """Over a budget of 60 MiB as measured; and more than 5 % and more than 16 MiB above the compiled peak."""
    one = with_measured_peak(measured, job("budget-60MiB", 110, compiled))
    one = replaced(one, measurements=(*one.measurements, taken("budget_bytes", 60 * MIB)))
    [(_, _, notes)] = remat.grouped(make_frame([one]))
    assert len([note for note in notes if "measured" in note]) == count


def test_the_least_memory_within_a_time():
    advice = advise_on(*SWEEP, time_budget=1.22)
    assert name_choices(advice) == ("every-2", "dots_saveable")
    assert (advice.question, advice.limits.time_ratio) == (Question.LEAST_MEMORY, 1.22)
    assert advice.rejected["all"].reason is Reason.OVER_TIME_BUDGET
    assert advice.rejected["all"].figures["time_ratio"] == pytest.approx(1.4)
    assert advice.confidence == Confidence(Level.LOW, (Doubt.TIME_BUDGET,))
    assert advice.choice.figures["time_ratio_high"] > 1.22
    assert advise_on(*SWEEP, time_budget=1.3).confidence == Confidence(Level.HIGH)


def test_a_step_whose_interval_reaches_below_the_time_budget_is_perhaps_over_it():
    advice = advise_on(*SWEEP, time_budget=1.199)
    assert advice.rejected["every-2"].reason is Reason.PERHAPS_OVER_TIME_BUDGET
    assert advice.rejected["every-2"].figures["time_ratio_low"] < 1.199


def test_both_budgets_are_kept():
    advice = advise_on(*SWEEP, memory_budget=55 * MIB, time_budget=1.22)
    assert name_choices(advice) == ("every-2", None)
    assert advice.confidence.doubts == (Doubt.TIME_BUDGET,)
    assert (advice.limits.memory_bytes, advice.limits.time_ratio) == (55 * MIB, 1.22)


def test_if_nothing_fits_the_least_peak_is_nearest():
    advice = advise_on(*SWEEP, memory_budget=10 * MIB)
    assert advice.choice is advice.confidence is None
    assert advice.nearest == Candidate("all", {"needed_bytes": 20 * MIB})


def test_if_nothing_is_fast_enough_the_fastest_is_nearest():
    advice = advise_on(*SWEEP, time_budget=0.5)
    assert (advice.choice, advice.nearest) == (None, Candidate("none", {"time_ratio": 1.0}))
    assert "all" in advice.rejected


@pytest.mark.parametrize(
    ("spread", "level", "doubt", "overlaps"),
    [
        ((0.9, 1.0, 1.1), Level.LOW, Doubt.OVERLAP, ("all",)),
        ((1,), Level.UNKNOWN, Doubt.SINGLE_SAMPLE, ()),
    ],
)
def test_confidence_follows_from_the_intervals(spread, level, doubt, overlaps):
    records = (job("none", 100, 80, spread=spread), job("all", 105, 20, spread=spread))
    confidence = advise_on(*records, memory_budget=100 * MIB).confidence
    assert (confidence.level, confidence.doubts, confidence.overlaps) == (level, (doubt,), overlaps)


def test_a_contended_choice_has_low_confidence():
    steps = (*measured(steps=(0.1, 0.1, 0.1)), taken("other_cpu_share", 0.5))
    confidence = advise_on(
        record(case("none"), measurements=steps), job("all", 140, 20), memory_budget=100 * MIB
    ).confidence
    assert (confidence.level, confidence.doubts) == (Level.LOW, (Doubt.CONTENDED,))


def test_the_only_case_is_compared_with_nothing():
    advice = advise_on(job("none", 100, 80), memory_budget=100 * MIB)
    assert name_choices(advice) == (None, None) and advice.confidence is None
    assert advice.nearest.name == "none" and advice.rejected["none"].reason is Reason.ONLY_CASE
    over = advise_on(job("none", 100, 80), memory_budget=10 * MIB)
    assert over.rejected["none"].reason is Reason.OVER_MEMORY_BUDGET


def test_a_case_that_was_not_timed_is_rejected_beside_timed_ones():
    advice = advise_on(job("none", 100, 80), job("all", None, 20), memory_budget=100 * MIB)
    assert advice.choice.name == "none"
    assert advice.rejected == {"all": Rejection(Reason.NOT_TIMED)}


def test_where_no_step_was_timed_peaks_are_ranked():
    peaks = {"none": 80, "every-2": 50, "all": 20, "mlp-only": 60}
    advice = advise_on(*(job(name, None, peak) for name, peak in peaks.items()), memory_budget=70 * MIB)
    assert (advice.question, advice.limits.memory_bytes) == (Question.LEAST_MEMORY, 70 * MIB)
    assert name_choices(advice) == ("all", "every-2")
    assert advice.choice.figures == {"compiled_peak_bytes": 20 * MIB, "spare_bytes": 50 * MIB}
    assert advice.confidence == Confidence(Level.HIGH, (Doubt.NOT_TIMED,))
    larger = Rejection(Reason.LARGER, {"compiled_peak_bytes": 60 * MIB})
    assert advice.rejected == {"none": over(80, 70), "mlp-only": larger}


def test_a_run_in_which_no_step_was_timed_needs_no_budget():
    advice = advise_on(job("none", None, 80), job("all", None, 20))
    assert (advice.question, *name_choices(advice)) == (Question.LEAST_MEMORY, "all", "none")
    assert advice.confidence.doubts == (Doubt.NOT_TIMED,)


@pytest.mark.parametrize(
    ("records", "budget", "message"),
    [
        (SWEEP, {"mtbf_seconds": 3600}, "--mtbf.*--memory-budget, --time-budget"),
        ([saved("sync", 1.0, 1.0)], {"mtbf_seconds": 1, "memory_budget": 1}, "--memory-budget.*--mtbf"),
        ([job("none", None, 80), job("all", None, 20)], {"time_budget": 1.1}, "1.10x.*--memory-budget"),
        ([record()], {}, "--memory-budget"),
        ([saved("sync", 1.0, 1.0)], {}, "--mtbf"),
        ([], {}, "--resume"),
    ],
)
def test_a_budget_that_is_missing_or_cannot_apply_is_one_clear_line(records, budget, message):
    with pytest.raises(CaseError, match=message):
        advise(make_frame(records) if len(records) else pd.DataFrame({"kind": []}), **budget)


@given(
    st.lists(st.tuples(st.integers(1, 500), st.integers(1, 500)), min_size=2, max_size=8),
    st.integers(1, 500),
)
def test_the_choice_always_fits_and_no_other_that_fits_is_faster(points, budget):
    advice = advise_on(*(job(f"every-{i + 1}", *p) for i, p in enumerate(points)), memory_budget=budget * MIB)
    fits = {f"every-{i + 1}": ms for i, (ms, mib) in enumerate(points) if mib <= budget}
    choice, runner_up = name_choices(advice)
    assert (choice in fits) == bool(fits)
    if fits:
        assert fits[choice] == min(fits.values())
    named = [choice, runner_up, *advice.rejected]
    assert sorted(n for n in named if n) == sorted(f"every-{i + 1}" for i in range(len(points)))  # each once
