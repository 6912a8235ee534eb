"""Files of asv and pytest-benchmark with any one of their values changed: refused in one line, or read as they say."""

from __future__ import annotations

import json
import math

import pytest

from artifex_bench import load_asv, load_pytest_benchmark
from artifex_bench.core import case as cases
from artifex_bench.core import stats
from artifex_bench.core.case import CaseError
from artifex_bench.core.store import StoreError
from artifex_bench.report.tables import make_markdown
from suites.views import fixed
from tests.build import case
from tests.damage import changed

NAME = "remat.Transformer."
RESULTS = {
    "version": 2,
    "commit_hash": "c0ffee00" * 5,
    "date": 1,
    "env_name": "existing",
    "params": {"machine": "desk"},
    "result_columns": ["result", "params", "version", "samples", "stats_repeat"],
    "results": {
        f"{NAME}time_step": [[0.1, math.nan], [["'none'", "'all'"], ["2"], ["2"]]],
        f"{NAME}track_peak_bytes": [[5000, math.nan], [["'none'", "'all'"], ["2"], ["2"]]],
    },
}
VERSION = fixed({"model": "mlp", "strategy": "none", "depth": 2, "batch": 2, "sequence": None, "heads": None})
for row in RESULTS["results"].values():
    row += [VERSION, [[0.1, 0.2], None], [2, None]]
BENCHMARKS = {name: {"param_names": ["strategy", "depth", "batch"]} for name in RESULTS["results"]}
SAVED = {
    "benchmarks": [
        {
            "extra_info": {
                "case": cases.case_to_json(case("all")),
                "steps_of_processes": [2, 1],
                "compiled_peak_bytes": 5000,
                "measured_peak_bytes": 4000,
                "measured_peak_source": "resident",
                "verdict": "effective",
                "verdict_reason": "less",
                "agrees": True,
                "agreement_reason": "equal",
            },
            "stats": {"data": [0.1, 0.2, 0.3], "median": 0.2, "rounds": 3},
        }
    ]
}


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    monkeypatch.setattr(stats.bootstrap_medians, "__defaults__", (20, 0))  # their number tells nothing


@pytest.fixture
def asv(tmp_path):
    """The two files of asv's results, as they are written here."""
    (tmp_path / "desk").mkdir()
    (tmp_path / "desk" / "c0ffee.json").write_text(json.dumps(RESULTS))
    (tmp_path / "benchmarks.json").write_text(json.dumps(BENCHMARKS))
    return tmp_path


def read_or_refused(load, path, named=False):
    """Whether what is there was read; a table then holds no figure that no measurement gives."""
    try:
        table = load(path)
    except (StoreError, CaseError) as error:
        assert len(str(error).splitlines()) == 1 and len(str(error)) < 500
        return False
    for column in ("step_seconds", "compiled_peak_bytes", "measured_peak_bytes", "rounds", "samples"):
        assert all(0 <= value <= 1e30 for value in table[column].dropna()), column
    if named:  # something may be called otherwise
        make_markdown(table)
    return True


def test_the_files_are_sound(asv):
    table = load_asv(asv)
    assert list(table.status) == ["ok", "skipped"] and table.step_seconds[0] == pytest.approx(0.15)
    (asv / "out.json").write_text(json.dumps(SAVED))
    assert load_pytest_benchmark(asv / "out.json").step_seconds[0] == 0.2


@pytest.mark.parametrize(("name", "whole"), [("desk/c0ffee.json", RESULTS), ("benchmarks.json", BENCHMARKS)])
def test_a_file_of_asv_with_one_value_changed(asv, name, whole):
    read = []
    for _, value, damaged in changed(json.loads(json.dumps(whole))):
        (asv / name).write_text(json.dumps(damaged))
        read.append(read_or_refused(load_asv, asv, isinstance(value, str)))
    assert read.count(False) > 50


def test_the_version_of_an_asv_benchmark_with_one_value_changed(asv):
    for _, _, damaged in changed(json.loads(VERSION)):
        results = json.loads(json.dumps(RESULTS))
        results["results"][f"{NAME}time_step"][2] = json.dumps(damaged)
        (asv / "desk" / "c0ffee.json").write_text(json.dumps(results))
        read_or_refused(load_asv, asv)


def test_a_file_of_pytest_benchmark_with_one_value_changed(tmp_path):
    read = []
    for _, value, damaged in changed(SAVED):
        (tmp_path / "out.json").write_text(json.dumps(damaged))
        read.append(read_or_refused(load_pytest_benchmark, tmp_path / "out.json", isinstance(value, str)))
    assert read.count(False) > 100 and read.count(True) > 20


@pytest.mark.parametrize("literal", ["(" * 5000, "9" * 5000, "'a' * 10", "[]", "__import__('os')", "{1: 2}", "\x00"])
def test_a_parameter_that_is_no_value(asv, literal):
    results = json.loads(json.dumps(RESULTS))
    results["results"][f"{NAME}time_step"][1][1] = [literal]
    (asv / "desk" / "c0ffee.json").write_text(json.dumps(results))
    assert not read_or_refused(load_asv, asv)


def test_steps_that_are_not_those_of_the_processes(tmp_path):
    for sizes in ([2], [2, 2], [0]):
        damaged = json.loads(json.dumps(SAVED))
        damaged["benchmarks"][0]["extra_info"]["steps_of_processes"] = sizes
        (tmp_path / "out.json").write_text(json.dumps(damaged))
        with pytest.raises(StoreError, match="steps, and"):
            load_pytest_benchmark(tmp_path / "out.json")
