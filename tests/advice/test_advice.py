"""Advice: the choice, its cost, how sure it is, and why each other case fell."""

from __future__ import annotations

import dataclasses
import json

import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from artifex_bench.advice import remat as module
from artifex_bench.advice.remat import CERTAIN, advise, words
from artifex_bench.cli import main
from artifex_bench.core import run_spec, store
from artifex_bench.core.case import CaseError, CheckpointCase
from artifex_bench.core.record import Record
from artifex_bench.core.run_spec import RunSpec
from artifex_bench.core.verdicts import Verdict
from artifex_bench.kinds.frames import make_frame
from tests.build import case, measured, record, replaced, taken
from tests.shown import remat

MIB = 2**20


def job(strategy, milliseconds, mib, verdict="effective", status="ok", **fields):
    """An ok job (or another) with steps around so many milliseconds and a compiled peak of so many MiB."""
    steps = [milliseconds * factor / 1e3 for factor in fields.pop("spread", (0.99, 1.0, 1.01))]
    told = None if strategy == "none" else Verdict(verdict, f"because it is {verdict}")
    measurements = measured(steps=steps, peak=mib * MIB) if status == "ok" else ()
    return record(case(strategy), status, measurements=measurements, verdict=told, **fields)


SWEEP = (
    job("none", 100, 80),
    job("all", 140, 20),
    job("every-2", 120, 50),
    job("attention-only", 125, 55),
    job("dots_saveable", 110, 60),
    job("mlp-only", 90, 85, "eliminated"),
    job("segments-2", 1, 1, status="oom"),
)


def one(*records, **budget):
    (found,) = advise(make_frame(records or SWEEP), **budget)
    return found


def test_the_fastest_that_fits_and_why_each_other_fell():
    found = one(memory_budget=60 * MIB)
    assert (found.choice, found.next_best, found.how_sure) == ("dots_saveable", "every-2", CERTAIN)
    assert found.question == "the fastest with a peak of 60.0 MiB at most, compiled and measured"
    assert found.cost.startswith("110 ms a step (1.10x none; 95 %: 1.0")
    assert found.cost.endswith("compiled peak 60.0 MiB, 0 B to spare")
    assert found.fell == {
        "mlp-only": "eliminated: because it is eliminated",
        "segments-2": "oom: it was oom",
        "none": "does not fit: 80.0 MiB, 20.0 MiB over",
        "attention-only": "dominated: every-2 is no slower and needs no more memory",
        "all": "meets it and is slower: 140 ms",
    }


def met_by(plan):
    """A job of a budget that was met by that plan."""
    fields = job("budget-0.5", 95, 50)
    budget = taken("budget_bytes", 60 * MIB)
    return replaced(fields, measurements=(*fields.measurements, replaced(budget, detail={"plan": plan})))


def test_a_budget_that_another_strategys_program_met_is_told_as_such():
    (named, own) = (one(*SWEEP, met_by(plan), memory_budget=60 * MIB) for plan in ("dots_saveable", "mixture"))
    assert named.choice == own.choice == "budget-0.5"
    assert "compiled peak 50.0 MiB, the program of dots_saveable, 10.0 MiB to spare" in named.cost
    assert "the program of" not in own.cost
    notes = [note for _, _, notes in remat.grouped(make_frame([*SWEEP, met_by("none")])) for note in notes]
    assert "budget-0.5: the program of none" in notes
    assert make_frame([*SWEEP, met_by("mixture")]).plan.dropna().tolist() == ["mixture"]


def with_measured_peak(mib, record):
    others = (m for m in record.measurements if m.probe != "measured_peak_bytes")
    return replaced(record, measurements=(*others, taken("measured_peak_bytes", mib * MIB)))


def test_what_is_over_a_budget_as_measured_does_not_fit():
    small, large = (with_measured_peak(mib, job("dots_saveable", 110, 50)) for mib in (52, 61))
    assert one(SWEEP[0], SWEEP[1], small, memory_budget=60 * MIB).choice == "dots_saveable"
    found = one(SWEEP[0], SWEEP[1], large, memory_budget=60 * MIB)
    assert found.choice == "all"
    assert "61.0 MiB, 1.00 MiB over" in found.fell["dots_saveable"]
    assert one(SWEEP[0], large, memory_budget=60 * MIB).cost == "the least is dots_saveable with 61.0 MiB"


@pytest.mark.parametrize(
    ("compiled", "measured", "told"),
    [(50, 52, 0), (50, 49, 0), (59, 61, 1), (1000, 1040, 1), (1000, 1060, 2), (100, 115, 1), (100, 117, 2)],
)
def test_notes_tell_of_memory_that_no_plan_holds_and_of_budgets_that_are_not_met(compiled, measured, told):
    """Over a budget of 60 MiB as measured; and more than 5 % and more than 16 MiB above the compiled peak."""
    found = with_measured_peak(measured, job("budget-60MiB", 110, compiled))
    found = replaced(found, measurements=(*found.measurements, taken("budget_bytes", 60 * MIB)))
    [(_, _, notes)] = remat.grouped(make_frame([found]))
    assert len([note for note in notes if "measured" in note]) == told


def test_the_least_memory_within_a_time():
    found = one(time_budget=1.22)
    assert (found.choice, found.next_best) == ("every-2", "dots_saveable")
    assert found.question == "the least memory with a step of 1.22x that of none at most"
    assert found.fell["all"] == "too slow: 1.40x"
    assert found.how_sure == "of its peak certain; not of its time: the 95 % interval reaches 1.22x"
    assert one(time_budget=1.3).how_sure == "certain: compiled peaks do not vary"


def test_both_budgets_are_kept():
    found = one(memory_budget=55 * MIB, time_budget=1.22)
    assert (found.choice, found.next_best) == ("every-2", None)
    assert found.how_sure == "nothing else meets it; not of its step: the 95 % interval reaches 1.22x"
    assert "with a peak of 55.0 MiB at most, compiled and measured with a step of 1.22x" in found.question


def test_where_nothing_fits_the_least_is_told():
    found = one(memory_budget=10 * MIB)
    assert (found.choice, found.cost) == (None, "the least is all with 20.0 MiB")
    assert "nothing meets it: the least is all" in words(found)


def test_where_nothing_is_fast_enough_the_fastest_is_told():
    found = one(time_budget=0.5)
    assert (found.choice, found.cost) == (None, "the fastest is none with 1.00x that of none")
    assert "all" in found.fell


def test_intervals_that_overlap_are_not_sure():
    blurred = (job("none", 100, 80), job("all", 105, 20, spread=(0.9, 1.0, 1.1)))
    assert one(*blurred, memory_budget=100 * MIB).how_sure == "not sure: its 95 % interval overlaps that of all"


def test_a_single_sample_has_no_interval():
    single = (job("none", 100, 80, spread=(1,)), job("all", 105, 20, spread=(1,)))
    assert one(*single, memory_budget=100 * MIB).how_sure == "unknown: a single sample has no interval"


def test_a_contended_choice_is_little_sure():
    steps = (*measured(steps=(0.1, 0.1, 0.1)), taken("other_cpu_share", 0.5))
    found = one(record(case("none"), measurements=steps), memory_budget=100 * MIB)
    assert found.how_sure == "little: others used the processors while it was timed"


def untimed(strategy, mib):
    return record(strategy, measurements=measured(steps=(), peak=mib * MIB))


def test_what_was_not_timed_is_not_advised_beside_what_was():
    found = one(job("none", 100, 80), untimed("all", 20), memory_budget=100 * MIB)
    assert found.choice == "none"
    assert "was not timed" in found.fell["all"]


def test_where_no_step_was_timed_peaks_are_ranked():
    found = one(
        *(untimed(*of) for of in (("none", 80), ("every-2", 50), ("all", 20), ("mlp-only", 60))), memory_budget=70 * MIB
    )
    assert found.question == "the least memory with a peak of 70.0 MiB at most, compiled and measured"
    assert (found.choice, found.next_best) == ("all", "every-2")
    assert found.cost == "not timed, compiled peak 20.0 MiB, 50.0 MiB to spare"
    assert "what it costs in time is not known" in found.how_sure
    assert found.fell == {
        "none": "does not fit: 80.0 MiB, 10.0 MiB over",
        "mlp-only": "meets it and needs more: 60.0 MiB",
    }


def test_a_time_budget_has_no_answer_where_no_step_was_timed():
    with pytest.raises(CaseError, match=r"time budget 1.10x: no step of this run was timed: try --memory-budget"):
        one(untimed("none", 80), untimed("all", 20), time_budget=1.1)


def test_a_run_in_which_no_step_was_timed_needs_no_budget():
    found = one(untimed("none", 80), untimed("all", 20))
    assert (found.question, found.choice, found.next_best) == ("the least memory", "all", "none")
    assert "no step was timed" in found.how_sure


@pytest.mark.parametrize(
    ("records", "budget", "message"),
    [
        (
            SWEEP,
            {"mtbf_seconds": 3600},
            "--mtbf: means nothing to a remat run: valid are --memory-budget, --time-budget",
        ),
        (
            None,
            {"mtbf_seconds": 1, "memory_budget": 1},
            "--memory-budget: means nothing to a checkpoint run: valid are --mtbf",
        ),
    ],
)
def test_a_budget_of_another_kind_of_run_is_refused(records, budget, message):
    with pytest.raises(CaseError, match=message):
        advise(make_frame(records or [saved("sync", 1.0, 1.0)]), **budget)


@given(
    st.lists(st.tuples(st.integers(1, 500), st.integers(1, 500)), min_size=1, max_size=8),
    st.integers(1, 500),
)
def test_the_choice_always_fits_and_no_other_that_fits_is_faster(points, budget):
    found = one(*(job(f"every-{i + 1}", *p) for i, p in enumerate(points)), memory_budget=budget * MIB)
    fits = {f"every-{i + 1}": ms for i, (ms, mib) in enumerate(points) if mib <= budget}
    assert (found.choice in fits) == bool(fits)
    if fits:
        assert fits[found.choice] == min(fits.values())
    named = [found.choice, found.next_best, *found.fell]
    assert sorted(n for n in named if n) == sorted(f"every-{i + 1}" for i in range(len(points)))  # each once


def saved(mode, blocking, restore, lost=None, status="ok", format="auto"):
    values = {
        "blocking_seconds": (0.99 * blocking, blocking, 1.01 * blocking),
        "committed_seconds": (2 * blocking,),
        "restore_seconds": (restore,),
        "training_step_seconds": (0.01,),
        **({"lost_seconds": lost} if lost is not None else {}),
    }
    measurements = tuple(taken(name, *found) for name, found in values.items()) if status == "ok" else ()
    reason = "" if status == "ok" else "no torch here"
    return Record(CheckpointCase(format=format, mode=mode), 0, status, reason, measurements=measurements)


def test_how_to_save_and_how_often():
    found = one(
        saved("sync", 2.0, 1.0),
        saved("async", 0.02, 1.0, lost=(0.5, 0.51, 0.5)),
        saved("sync", 8.0, 1.0, format="npz"),
        saved("sync", 1.0, 1.0, status="skipped", format="torch"),
        mtbf_seconds=4 * 3600,
    )
    assert (found.choice, found.next_best, found.how_sure) == ("auto, async", "auto, sync", CERTAIN)
    assert found.question == "the least time lost with a failure every 4.00 h"
    assert found.cost.startswith("save every 120 s; 0.84% of the time is lost (a save costs 500 ms of training")
    assert found.fell["torch, sync"] == "skipped: no torch here"
    assert found.fell["npz, sync"].startswith("loses 3.")


@pytest.mark.parametrize(
    ("lost", "how_sure"),
    [
        ((0.5,), "unknown: a single sample has no interval"),
        ((0.1, 0.5, 9.0), "not sure: its 95 % interval overlaps that of auto, sync"),
    ],
)
def test_how_sure_a_way_to_save_is_rests_on_what_decides(lost, how_sure):
    """On what a save costs a training loop, where that is more than the call blocked."""
    found = one(saved("sync", 2.0, 1.0), saved("async", 0.02, 1.0, lost=lost), mtbf_seconds=4 * 3600)
    assert (found.choice, found.how_sure) == ("auto, async", how_sure)


def test_a_loop_that_lost_nothing_in_a_round_costs_what_the_call_blocked():
    found = one(saved("async", 0.02, 1.0, lost=(-0.01, 0.3, 0.3)), mtbf_seconds=4 * 3600)
    assert (found.choice, found.how_sure) == ("auto, async", "no other was run")


def test_where_every_way_to_save_fell_there_is_no_choice():
    found = one(saved("sync", 1.0, 1.0, status="failed"), mtbf_seconds=3600)
    assert (found.choice, found.cost) == (None, "all fell")


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([record()], "a remat run needs a budget: give --memory-budget"),
        ([saved("sync", 1.0, 1.0)], "needs the mean time between failures: give --mtbf"),
        ([], "no advice from a run of kind 'empty': valid are remat, checkpoint"),
    ],
)
def test_a_question_that_is_missing_is_one_clear_line(records, message):
    with pytest.raises(CaseError, match=message):
        advise(make_frame(records) if records else pd.DataFrame({"kind": []}))


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "run"
    store.create_run(made, run_spec.run_spec_to_json(RunSpec("remat", tuple(r.case for r in SWEEP), rounds=1)))
    for found in SWEEP:
        store.append_record(made, found)
    return made


def test_from_the_command_line_in_words_and_as_json(folder):
    told = CliRunner().invoke(main, ["advise", str(folder), "--memory-budget", "60MiB"])
    assert told.exit_code == 0, told.output
    assert "take dots_saveable: 110 ms a step" in told.output
    asked = CliRunner().invoke(main, ["advise", str(folder), "--time-budget", "1.22x", "--json"])
    (found,) = json.loads(asked.output)
    assert found["choice"] == "every-2"
    assert set(found) == {field.name for field in dataclasses.fields(module.Advice)}


def test_of_an_unfinished_run_it_says_so(tmp_path):
    records = SWEEP[:3]
    request = RunSpec("remat", tuple(r.case for r in SWEEP[:5]), rounds=1)
    store.create_run(tmp_path / "run", run_spec.run_spec_to_json(request))
    for found in records:
        store.append_record(tmp_path / "run", found)
    told = CliRunner().invoke(main, ["advise", str(tmp_path / "run"), "--memory-budget", "60MiB", "--json"])
    assert json.loads(told.stdout)[0]["choice"] == "every-2"
    assert "2 jobs" in told.stderr
    assert told.stderr.endswith(f"artifex-bench run --resume {tmp_path / 'run'}\n")


def test_a_question_that_is_missing_is_wrong_use(folder):
    refused = CliRunner().invoke(main, ["advise", str(folder)])
    assert refused.exit_code == 2
    assert refused.stderr.count("\n") == 1
