"""Measure once per pytest-benchmark session, and add the records to the file that it writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from artifex_bench.core.record import Record
from artifex_bench.integrations.pytest_benchmark_results import add_records
from suites import views

RECORDS = pytest.StashKey[Sequence[Record]]()


@pytest.fixture(scope="session")
def figures(pytestconfig: pytest.Config) -> dict[str, dict[views.Key, views.Row]]:
    records = views.measure_preset("remat", "asv")
    pytestconfig.stash[RECORDS] = records
    return views.make_figures(records)


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, Any]) -> None:
    if RECORDS in config.stash:
        add_records(output_json, config.stash[RECORDS])
