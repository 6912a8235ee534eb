"""Jobs, and the processes that they are split into."""

from __future__ import annotations

import pytest

from artifex_bench.core.job import REST, SEARCH, WHOLE, Job, job_from_json, job_to_json, split_job
from tests.build import case, replaced


def test_a_budget_is_searched_in_one_process_and_measured_in_another():
    job = Job(case("budget-0.5"), cache="folder")
    assert split_job(job) == (replaced(job, part=SEARCH), replaced(job, part=REST))
    assert [job_from_json(job_to_json(part)) for part in split_job(job)] == list(split_job(job))


@pytest.mark.parametrize(
    "change",
    [{"case": case("all")}, {"round": 1}, {"steps": 0}, {"cache": None}, {"profile": "trace"}],
    ids=lambda change: next(iter(change)),
)
def test_other_jobs_run_in_one_process(change):
    job = replaced(Job(case("budget-0.5"), cache="folder"), **change)
    assert split_job(job) == (job,) and job.part == WHOLE


def test_jobs_for_aot_targets_run_in_one_process():
    job = Job(replaced(case("budget-0.5"), target="tpu:v5e"), cache="folder")
    assert split_job(job) == (job,)
