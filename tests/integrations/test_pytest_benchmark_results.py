"""Records in the files of pytest-benchmark: written by the real plugin, and read back by `load_pytest_benchmark`."""

from __future__ import annotations

import itertools
import json

import pandas as pd
import pytest

from artifex_bench import load_pytest_benchmark
from artifex_bench.core import stats
from artifex_bench.core.case import CaseError, CheckpointCase
from artifex_bench.core.record import Record
from artifex_bench.core.store import StoreError
from artifex_bench.integrations.pytest_benchmark_results import KEY, add_records
from artifex_bench.kinds.frames import make_frame
from artifex_bench.report.tables import make_markdown
from tests.build import record
from tests.damage import changed
from tests.integrations.fabricated import FAILING, PATCH, ROOT, SPEC, call, sweep


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    """A folder in which the real plugin has written two files of one session: (folder, a function that calls it)."""
    folder = tmp_path_factory.mktemp("benchmarks")
    (folder / "patch.py").write_text(PATCH)

    def call_pytest(*options):
        plugins = ["-p", "no:xdist", "-p", "no:cacheprovider", "-p", "patch"]
        words = ["-m", "pytest", "-q", "--benchmark-only", f"--benchmark-storage={folder}", *plugins, *options]
        return call(folder, "python", *words, cwd=ROOT)

    call_pytest(f"--benchmark-json={folder / 'out.json'}", "--benchmark-save=before", "-k", "none or all")
    return folder, call_pytest


def test_results_are_those_of_the_run_in_every_file(storage):
    folder, _ = storage
    (saved,) = folder.glob("*/0001_before.json")
    for path in (folder / "out.json", str(saved)):
        table = load_pytest_benchmark(path)
        pd.testing.assert_frame_equal(table, make_frame(sweep()))
        assert set(table[table.strategy == FAILING].status) == {"oom"}


def test_the_plugin_stores_its_own_numbers_of_the_same_measurements(storage):
    folder, _ = storage
    entries = json.loads((folder / "out.json").read_text())["benchmarks"]
    steps = {}
    for one in sweep():
        if one.status == "ok":
            steps.setdefault((one.case.model, one.case.strategy), []).extend(one.get("step_seconds").values)
    assert len(entries) == len(steps) < len(SPEC.cases)
    for entry in entries:
        model, (strategy, *_) = entry["params"]["model"], entry["params"]["key"]
        assert entry["stats"]["data"] == pytest.approx(steps[model, strategy])
        assert entry["extra_info"]["compiled_peak_bytes"] > 0


def test_the_plugin_compares_with_saved_files_and_plots(storage):
    folder, call_pytest = storage
    output = call_pytest("--benchmark-compare", f"--benchmark-histogram={folder / 'steps'}", "-k", "all")
    assert "0001_before" in output and "NOW" in output
    plots = "".join(plot.read_text() for plot in folder.glob("steps*.svg"))
    assert "transformer-all-4-4" in plots and "mlp-all-8-512" in plots


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"benchmarks": []}', f'{{"{KEY}": []}}', f'{{"{KEY}": 3}}'])
def test_a_file_without_records_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / "out.json"
    path.write_text(content)
    with pytest.raises(StoreError) as refused:
        load_pytest_benchmark(path)
    assert str(path) in str(refused.value) and "\n" not in str(refused.value)


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    for path in (tmp_path / "out.json", tmp_path):
        with pytest.raises(StoreError, match=str(path)):
            load_pytest_benchmark(path)


def test_records_with_one_value_changed_are_refused_or_read(tmp_path, monkeypatch):
    monkeypatch.setattr(stats.bootstrap_medians, "__defaults__", (20, 0))  # fewer resamples: intervals do not matter
    whole = {}
    add_records(whole, [record("none"), record("all")])
    outcomes = []
    for _, value, damaged in itertools.islice(changed(whole), 0, None, 3):
        path = tmp_path / "out.json"
        path.write_text(json.dumps(damaged))
        try:
            table = load_pytest_benchmark(path)
        except (StoreError, CaseError) as error:
            assert "\n" not in str(error) and len(str(error)) < 600
            outcomes.append("refused")
        else:
            assert len(table) in (1, 2)
            if isinstance(value, str):
                make_markdown(table)
            outcomes.append("read")
    assert outcomes.count("refused") > 100 and outcomes.count("read") > 20


def test_records_of_several_kinds_are_refused_in_one_line(tmp_path):
    whole = {}
    add_records(whole, [record("none"), Record(CheckpointCase(), 0, "ok")])
    (tmp_path / "out.json").write_text(json.dumps(whole))
    with pytest.raises(StoreError, match=rf"{KEY}\[1\].*checkpoint.*remat") as refused:
        load_pytest_benchmark(tmp_path / "out.json")
    assert "\n" not in str(refused.value)
