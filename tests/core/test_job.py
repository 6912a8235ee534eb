"""What a visit is, and in how many processes it is made."""

from __future__ import annotations

from dataclasses import replace

import pytest

from artifex_bench.core import job as visits
from artifex_bench.core.job import REST, SEARCH, WHOLE, Visit, parts
from tests.build import case


def test_a_budget_is_searched_in_a_process_of_its_own_and_measured_in_another():
    visit = Visit(case("budget-0.5"), cache="folder")
    assert parts(visit) == (replace(visit, part=SEARCH), replace(visit, part=REST))
    assert [visits.from_json(visits.to_json(part)) for part in parts(visit)] == list(parts(visit))


@pytest.mark.parametrize(
    "change",
    [{"case": case("all")}, {"round": 1}, {"steps": 0}, {"cache": None}, {"profile": "trace"}],
    ids=lambda change: next(iter(change)),
)
def test_another_visit_is_made_in_one(change):
    visit = replace(Visit(case("budget-0.5"), cache="folder"), **change)
    assert parts(visit) == (visit,) and visit.part == WHOLE


def test_nothing_runs_for_a_device_that_is_not_there():
    visit = Visit(replace(case("budget-0.5"), target="tpu:v5e"), cache="folder")
    assert parts(visit) == (visit,)
