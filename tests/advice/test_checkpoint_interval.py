"""Advice on checkpoints: the way to save that loses the least time, and its interval."""

from __future__ import annotations

import pytest

from artifex_bench.advice.data import Doubt, Level, Question, Reason, Rejection
from artifex_bench.checkpointing.frequency import lost_share, young_daly_interval
from tests.advice.build import advise_on, name_choices, saved

MTBF = 4 * 3600


def test_how_to_save_and_how_often():
    advice = advise_on(
        saved("sync", 2.0, 1.0),
        saved("async", 0.02, 1.0, lost=(0.5, 0.51, 0.5)),
        saved("sync", 8.0, 1.0, format="npz"),
        saved("sync", 1.0, 1.0, status="skipped", format="torch"),
        mtbf_seconds=MTBF,
    )
    assert name_choices(advice) == ("auto, async", "auto, sync")
    assert (advice.question, advice.limits.mtbf_seconds) == (Question.LEAST_TIME_LOST, MTBF)
    figures = advice.choice.figures
    assert (figures["save_seconds"], figures["restore_seconds"]) == (0.5, 1.0)
    assert figures["interval_seconds"] == young_daly_interval(0.5, MTBF, 1.0)
    assert figures["lost_share"] == lost_share(figures["interval_seconds"], 0.5, MTBF, 1.0)
    assert advice.choice.detects_damage is True
    assert (advice.confidence.level, advice.confidence.doubts) == (Level.HIGH, ())
    assert advice.rejected["torch, sync"] == Rejection(Reason.SKIPPED, message="no torch here")
    assert advice.rejected["npz, sync"].reason is Reason.LOSES_MORE
    assert advice.rejected["npz, sync"].figures["lost_share"] > figures["lost_share"]


@pytest.mark.parametrize(
    ("lost", "level", "doubt", "overlaps"),
    [
        ((0.5,), Level.UNKNOWN, Doubt.SINGLE_SAMPLE, ()),
        ((0.1, 0.5, 9.0), Level.LOW, Doubt.OVERLAP, ("auto, sync",)),
    ],
)
def test_confidence_rests_on_what_a_save_costs_a_loop_if_that_is_more_than_the_call_blocked(
    lost, level, doubt, overlaps
):
    advice = advise_on(saved("sync", 2.0, 1.0), saved("async", 0.02, 1.0, lost=lost), mtbf_seconds=MTBF)
    confidence = advice.confidence
    assert advice.choice.name == "auto, async"
    assert (confidence.level, confidence.doubts, confidence.overlaps) == (level, (doubt,), overlaps)


def test_a_loop_that_lost_nothing_in_a_round_costs_what_the_call_blocked():
    advice = advise_on(saved("async", 0.02, 1.0, lost=(-0.01, 0.3, 0.3)), saved("sync", 2.0, 1.0), mtbf_seconds=MTBF)
    assert (advice.choice.name, advice.confidence.level) == ("auto, async", Level.HIGH)


def test_a_format_that_loses_data_silently_is_never_chosen():
    advice = advise_on(
        saved("sync", 0.1, 0.1, format="pickle"), saved("sync", 2.0, 1.0), saved("async", 3.0, 1.0), mtbf_seconds=MTBF
    )
    assert name_choices(advice) == ("auto, sync", "auto, async")
    assert advice.rejected["pickle, sync"].reason is Reason.SILENT_LOSS
    silent = advise_on(
        saved("sync", 0.1, 0.1, format="pickle"), saved("sync", 0.1, 0.1, format="orbax"), mtbf_seconds=MTBF
    )
    assert name_choices(silent) == (None, None)
    assert {one.reason for one in silent.rejected.values()} == {Reason.SILENT_LOSS}


def test_the_only_way_to_save_is_compared_with_nothing():
    advice = advise_on(saved("sync", 2.0, 1.0), mtbf_seconds=MTBF)
    assert name_choices(advice) == (None, None) and advice.confidence is None
    assert advice.rejected["auto, sync"].reason is Reason.ONLY_CASE
    assert advice.nearest.figures["interval_seconds"] > 0


def test_if_every_way_to_save_failed_there_is_no_choice():
    advice = advise_on(saved("sync", 1.0, 1.0, status="failed"), mtbf_seconds=3600)
    assert advice.choice is advice.nearest is None
    assert advice.rejected["auto, sync"].reason is Reason.FAILED
