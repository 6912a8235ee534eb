"""Run files with one changed value: they are refused in one line, or read and reported."""

from __future__ import annotations

import contextlib
import json
import math

import pytest

from artifex_bench.advice import advise, format_advice
from artifex_bench.core import case as cases
from artifex_bench.core import record as records
from artifex_bench.core import run_spec, stats, store
from artifex_bench.core.case import CaseError, CheckpointCase, FaultCase, RematCase
from artifex_bench.core.record import Measurement, Record, RecordError, record_from_json, record_to_json
from artifex_bench.core.run_spec import RunSpec
from artifex_bench.core.verdicts import Agreement, Verdict
from artifex_bench.kinds.fault import OUTCOMES
from artifex_bench.kinds.frames import make_frame
from artifex_bench.report.comparison import compare_runs
from artifex_bench.report.tables import make_markdown
from artifex_bench.report.text import format_json_rows
from artifex_bench.sweep import scheduler
from artifex_bench.sweep.batch_search import Search
from tests.build import case, measured, record, sketch, taken
from tests.damage import changed

ENVIRONMENT = {"versions": {"jax": "0.12.0"}, "device": "cpu", "memory_bytes": 2**34, "flags": {"XLA_FLAGS": "-a"}}
REMAT = record(
    "all",
    measurements=(
        *(one for one in measured((0.02, 0.03)) if one.probe in ("step_seconds", "compiled_peak_bytes")),
        sketch(),
        taken("other_cpu_share", 0.01),
        Measurement("budget_bytes", "bytes", (9.0,), "share", detail={"plan": "plan"}),
    ),
    verdict=Verdict("effective", "less"),
    agreement=Agreement(True, "equal", 1e-6, 1e-6, 1e-4),
    environment=ENVIRONMENT,
    wall_seconds=1.5,
    started_at="2026-01-02T03:04:05",
)
TIMES = ("blocking_seconds", "committed_seconds", "restore_seconds", "lost_seconds", "raw_write_seconds")
SAVED = Record(CheckpointCase(), 0, "ok", measurements=tuple(taken(name, 0.5, 0.6) for name in TIMES))
FAULT = Record(
    FaultCase(), 0, "ok", measurements=tuple(Measurement(name, "trials", (20,), "count") for name in OUTCOMES)
)


def check_reports(damaged: Record) -> None:
    """Check that tables, comparison and advice of a run with that record are valid, or refused in one line."""
    kept = [record("none"), damaged] if damaged.case.kind == "remat" else [damaged]
    table = make_frame(kept)
    make_markdown(table)
    with contextlib.suppress(CaseError):  # no number is left to compare
        compare_runs(kept, kept)
    budgets = {"remat": [{"memory_budget": 10**6, "time_budget": 1.1}], "checkpoint": [{"mtbf_seconds": 3600.0}]}
    for budget in budgets.get(damaged.case.kind, []):
        try:
            for advice in advise(table, **budget):
                text = format_advice(advice)
                assert "nan" not in text and " -" not in text
        except CaseError as error:  # no step was timed
            assert len(str(error).splitlines()) == 1
    for measurement in damaged.measurements:
        signed = measurement.probe in records.SIGNED
        assert all(math.isfinite(value) and (value >= 0 or signed) for value in measurement.values)


@pytest.mark.parametrize("whole", [REMAT, SAVED, FAULT], ids=["remat", "checkpoint", "fault"])
def test_a_record_with_one_value_changed_is_refused_or_reported(whole, monkeypatch):
    monkeypatch.setattr(stats.bootstrap_medians, "__defaults__", (20, 0))  # few resamples are enough here
    data = json.loads(json.dumps(record_to_json(whole)))
    assert record_from_json(data) == whole
    read = set()
    for path, value, damaged in changed(data):
        try:
            found = record_from_json(damaged)
        except RecordError as error:
            assert len(str(error).splitlines()) == 1 and len(str(error)) < 400, (path, value)
            continue
        if (path, type(value)) not in read and path[-1] not in ("unit", "source", "note"):
            check_reports(found)
        read.add((path, type(value)))
    assert len(read) > 30


WRONG = (math.nan, math.inf, -math.inf, -1.0, 1e300, 10**400, "0.5", None, True, [0.5])


@pytest.mark.parametrize("value", WRONG)
def test_an_invalid_sample_is_refused_with_its_place(value):
    data = record_to_json(record(measurements=(taken("compile_seconds", 1.0), taken("step_seconds", 0.1, 0.2))))
    data["measurements"][1]["values"] = [0.1, value]
    with pytest.raises(RecordError, match="damaged record: measurements"):
        record_from_json(data)
    with pytest.raises((RecordError, TypeError)):
        Measurement("step_seconds", "seconds", (0.1, value))


def test_details_used_by_titles_and_verdicts_are_checked():
    for probe, detail in (
        ("compiled_peak_bytes", {"computed_in": ["float32"]}),
        ("gradient_flops", {"counting_loops_once": {}}),
        ("gradient_sketch", {"loss": 1.0, "leaves": {"a": {"norm": 1.0, "projections": []}}}),
    ):
        found = Measurement(probe, "bytes", (9.0,), detail=detail)
        with pytest.raises(RecordError, match=r"damaged record: measurements\[0\]\.detail\."):
            record_from_json(json.loads(json.dumps(record_to_json(record(measurements=(found,))))))


def test_a_difference_may_be_negative():
    assert Measurement("lost_seconds", "seconds", (-0.1,)).values == (-0.1,)


def test_a_time_of_zero_gives_no_ratio():
    records = [record("none", measurements=measured((0.0, 0.0))), record("all", measurements=measured((0.1, 0.2)))]
    table = make_frame(records).set_index("strategy")
    assert math.isnan(table.time_ratio["all"]) and math.isnan(table.throughput_per_second["none"])


def test_ratios_to_the_smallest_float_are_absent():
    least = 5e-324  # the smallest float
    records = [
        record("none", measurements=measured((least,), peak=least)),
        record("all", measurements=measured((1e9,))),
    ]
    table = make_frame(records).set_index("strategy")
    assert math.isnan(table.time_ratio["all"]) and math.isnan(table.throughput_per_second["none"])
    assert json.loads(format_json_rows(table))[1]["compiled_peak_ratio"] is None
    saved = [
        Record(CheckpointCase(), 0, "ok", measurements=(taken("restore_seconds", value),)) for value in (least, 1e9)
    ]
    assert json.loads(format_json_rows(compare_runs(saved[:1], saved[1:])))[0]["ratio"] is None


@pytest.mark.parametrize("count", [1e10, 1.5, -1])
def test_trials_are_counted_in_whole_numbers(count):
    with pytest.raises(RecordError, match=f"silent_trials.*{count}"):
        Measurement("silent_trials", "trials", (count,), "count")


SPECS = [
    RunSpec("remat", (case("none"), case("all", mesh="data=2")), memory_limit=2**30),
    RunSpec("checkpoint", (CheckpointCase(),)),
    RunSpec("fault", (FaultCase(),)),
    RunSpec("max-batch", (case("none"),), search=Search(2**30)),
]


@pytest.mark.parametrize("spec", SPECS, ids=[spec.suite for spec in SPECS])
def test_a_manifest_with_one_value_changed_is_refused_or_read(spec, tmp_path):
    store.create_run(tmp_path / "run", run_spec.run_spec_to_json(spec))
    manifest = tmp_path / "run" / store.MANIFEST
    assert run_spec.load_run_spec(tmp_path / "run") == spec
    refused = 0
    for path, value, damaged in changed(json.loads(manifest.read_text())):
        manifest.write_text(json.dumps(damaged))
        try:
            found = run_spec.load_run_spec(tmp_path / "run")
        except store.StoreError as error:
            refused += 1
            assert len(str(error).splitlines()) == 1, (path, value)
            assert str(error).startswith(f"cannot read {manifest}: ")
            continue
        assert scheduler.remaining_jobs(found, tmp_path / "run", []) or found.rounds == 0
    assert refused > 50


def test_the_message_names_the_field_its_value_and_the_rule(tmp_path):
    data = run_spec.run_spec_to_json(RunSpec("remat", (RematCase(), RematCase(depth=8))))
    for change, start in (
        ({"rounds": "two"}, "rounds 'two': "),
        ({"rounds": 0}, "rounds 0: "),
        (
            {"cases": [data["cases"][0], {**data["cases"][1], "depth": 1.5}]},
            "cases[1]: depth 1.5: ",
        ),
        ({"colour": 1}, "colour: "),
        ({"cases": []}, "cases"),
        *(
            (
                {"suite": suite, "cases": [cases.case_to_json(CheckpointCase())]},
                f"suite {suite!r}: ",
            )
            for suite in ("chen", "papers", "profile", "max-batch")
        ),
    ):
        with pytest.raises(ValueError) as refused:
            run_spec.run_spec_from_json({**data, **change})
        assert str(refused.value).startswith(start)


def test_a_repeated_line_is_one_record(tmp_path):
    store.create_run(tmp_path / "run", {})
    path = tmp_path / "run" / store.RECORDS
    for one in (record("none"), record("all"), record("none", round=1)):
        store.append_record(tmp_path / "run", one)
    once = store.load_records(tmp_path / "run")
    path.write_bytes(path.read_bytes() * 3)
    assert store.load_records(tmp_path / "run") == once
    store.append_record(tmp_path / "run", later := record("none", measurements=measured((0.5,))))
    assert store.load_records(tmp_path / "run") == [later, *once[1:]]


def test_a_case_of_another_kind_is_refused_with_its_line(tmp_path):
    store.create_run(tmp_path / "run", {})
    store.append_record(tmp_path / "run", record("none"))
    store.append_record(tmp_path / "run", FAULT)
    with pytest.raises(store.StoreError, match=r"line 2: .*fault.*remat"):
        store.load_records(tmp_path / "run")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_not_finite_are_not_json(number):
    with pytest.raises(ValueError, match="not a finite number"):
        store.parse_json(f'{{"timeout": {number}}}')
