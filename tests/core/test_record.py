"""Records: valid values, and their JSON."""

from __future__ import annotations

import json

import pytest
from hypothesis import given

from artifex_bench.core import case as cases
from artifex_bench.core import run_spec
from artifex_bench.core.case_names import case_id
from artifex_bench.core.job import job_from_json, job_to_json
from artifex_bench.core.record import Measurement, Record, RecordError, record_from_json, record_to_json
from tests import strategies as made
from tests.build import case, record


def through(data):
    return json.loads(json.dumps(data, allow_nan=False))


@given(made.records)
def test_records_round_trip(found):
    assert record_from_json(through(record_to_json(found))) == found


@given(made.jobs)
def test_jobs_round_trip(job):
    assert job_from_json(through(job_to_json(job))) == job
    assert job.key == (case_id(job.case), job.round)


@given(made.requests)
def test_run_specs_round_trip(request):
    assert run_spec.run_spec_from_json(through(run_spec.run_spec_to_json(request))) == request


def test_a_measurement_has_values_or_a_note():
    with pytest.raises(RecordError, match="'step_seconds'"):
        Measurement("step_seconds", "seconds")


def test_an_absent_number_is_none_and_never_zero():
    found = record(measurements=(Measurement("a", "bytes", (3.0, 4.0)), Measurement("b", "bytes", note="why")))
    assert (found.value("a"), found.value("b"), found.value("c")) == (3.0, None, None)
    assert found.get("b").note == "why"
    assert found.get("c") is None


def test_the_key_is_the_case_and_the_round():
    assert record("all", round=3).key == (case_id(case("all")), 3)


def test_an_unknown_status_is_refused():
    with pytest.raises(cases.CaseError, match=r"'fine'.* ok, oom, timeout, failed, skipped"):
        Record(case(), 0, "fine")


@pytest.mark.parametrize("schema", [0, 2, None, "1"])
def test_another_schema_is_refused_by_name(schema):
    data = {**record_to_json(record()), "schema": schema}
    with pytest.raises(RecordError, match=f"{schema!r}.* 1"):
        record_from_json(data)


@pytest.mark.parametrize(
    "damage",
    [
        {"case": None},
        {"case": {"kind": "remat", "depth": -1}},
        {"case": []},
        {"status": "fine"},
        {"status": []},
        {"measurements": [{"probe": "a"}]},
        {"measurements": [[]]},
        {"measurements": 3},
        {"verdict": {"colour": "red"}},
        {"agreement": "yes"},
        {"surplus": 1},
    ],
)
def test_damaged_records_are_refused(damage):
    data = {**record_to_json(record()), **damage}
    with pytest.raises(RecordError, match="damaged"):
        record_from_json(data)


@pytest.mark.parametrize("data", [[], 5, "text", None, True])
def test_values_that_are_not_records_are_refused(data):
    with pytest.raises(RecordError, match="damaged"):
        record_from_json(data)


def test_a_record_without_its_case_is_refused():
    data = record_to_json(record())
    del data["case"]
    with pytest.raises(RecordError, match="case: "):
        record_from_json(data)
