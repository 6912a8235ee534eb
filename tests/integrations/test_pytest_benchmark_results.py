"""One sweep as a run, as asv's results and as a file of pytest-benchmark: one table, but for what is not kept."""

from __future__ import annotations

import itertools
import json
import math
import pickle
import subprocess
import sys
import timeit
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from asv import results as asv_results
from asv.runner import BenchmarkResult
from asv.util import write_json

import suites.remat
from artifex_bench import load_asv, load_pytest_benchmark, load_run
from artifex_bench.advice.remat import advise
from artifex_bench.core import run_spec, store
from artifex_bench.core.case import CaseError
from artifex_bench.core.case_names import case_id
from artifex_bench.core.record import Measurement
from artifex_bench.core.run_spec import RunSpec
from artifex_bench.core.stats import summarize
from artifex_bench.core.verdicts import Agreement, Verdict
from artifex_bench.integrations import benchmark
from artifex_bench.integrations.asv_results import TRACKED
from artifex_bench.suites import remat
from artifex_bench.sweep import spec
from suites import views
from tests.build import measured, record, taken
from tests.test_views import OUTSIDE, ROOT

FELL = "dots_with_no_batch_dims_saveable"  # in one shape
KNOWN_TO_ASV = (
    *("residual_bytes", "compiled_peak_bytes", "measured_peak_bytes", "residual_ratio", "compiled_peak_ratio"),
    *("measured_peak_ratio", "rounds", "status", "throughput_unit"),
)
UNKNOWN_TO_ASV = (
    *("samples", "verdict", "verdict_reason", "agrees", "agreement_reason", "gradient_flops", "recomputed_flops"),
    *("first_step_seconds", "forward_seconds", "compile_seconds", "other_cpu_share", "parameter_bytes"),
    *("argument_bytes", "output_bytes", "temp_bytes", "host_temp_bytes"),
)
UNKNOWN_TO_PYTEST = [
    *(name + end for name in ("first_step_seconds", "forward_seconds") for end in ("", "_low", "_high")),
    *("measured_peak_bytes_low", "measured_peak_bytes_high"),
    *("argument_bytes", "output_bytes", "temp_bytes", "host_temp_bytes"),
]


def sweep(request):
    """Every case in every round, scattered as on a busy machine; one case falls."""
    rng = np.random.default_rng(0)
    records = []
    for number, which in itertools.product(range(request.rounds), request.cases):
        steps = [float(s) for s in 0.01 * which.depth * len(which.strategy) * rng.lognormal(0, 0.1, request.steps)]
        peak = 5000 * which.depth - 100 * len(which.strategy)
        how = (
            *measured(steps, peak=peak, recomputed=10 * len(which.strategy))[:-1],
            taken("other_cpu_share", 0.01),
            Measurement("measured_peak_bytes", "bytes", (peak + number,), "resident"),
        )
        strange = which.strategy == FELL and which.depth == 4
        judged = {"verdict": Verdict("effective", "less"), "agreement": Agreement(True, "equal")}
        records.append(
            record(which, "oom", round=number)
            if strange
            else record(which, round=number, measurements=how, **(judged if which.strategy != "none" else {}))
        )
    return records


@pytest.fixture(scope="module")
def records():
    return sweep(RunSpec("remat", spec.expand_preset("remat", "asv", {}), **remat.SETTINGS["asv"]))


@pytest.fixture(scope="module")
def cache(records):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benchmark, "measure_run", lambda _: records)
        return views.measured("remat", "asv")


@pytest.fixture(scope="module")
def run(records, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "run"
    store.create_run(folder, run_spec.run_spec_to_json(RunSpec("remat", tuple(dict.fromkeys(r.case for r in records)))))
    for found in records:
        store.append_record(folder, found)
    return load_run(folder)


def asv_run(folder, cache, commit="c0ffee00" * 5, date=1, machine="desk", environment="existing", **how):
    """What `asv run` leaves: our classes called as asv calls them, stored by asv's own class."""
    stored = asv_results.Results({"machine": machine}, {}, commit, date, "3.11", environment, {})
    benchmarks = {}
    for title, view in {"Transformer": suites.remat.Transformer, "Mlp": suites.remat.Mlp}.items():
        for name in ("time_step", *TRACKED):
            points = list(itertools.product(*view.params))
            told = {
                "name": f"remat.{title}.{name}",
                "version": view.version,
                "params": [[repr(value) for value in axis] for axis in view.params],
                "param_names": list(view.param_names),
            }
            benchmarks[told["name"]] = told
            values, samples = zip(*(one_point(view, name, cache, key) for key in points), strict=True)
            number = [1 if taken else None for taken in samples]
            stored.add_result(told, BenchmarkResult(values, samples, number, 0, "", None), **how)
    foreign = {"name": "other.time_it", "version": "5e1f", "params": []}
    stored.add_result(foreign, BenchmarkResult([1.0], [[1.0]], [1], 0, "", None))
    stored.save(str(folder))
    write_json(str(folder / machine / "machine.json"), {"machine": machine}, 1)
    write_json(str(folder / "benchmarks.json"), benchmarks, 2)
    return folder


def one_point(view, name, cache, key):
    """(value, samples) as asv takes them."""
    bench = view()
    try:
        bench.setup(cache, *key)
    except NotImplementedError:
        return math.nan, None
    if name != "time_step":
        return getattr(bench, name)(cache, *key), None
    timer = timeit.Timer(lambda: bench.time_step(cache, *key), lambda: bench.setup(cache, *key), timer=bench.timer)
    return 0.0, timer.repeat(repeat=bench.repeat, number=1)


def group_by_case(table):
    return table.set_index("case")


def same(one, other, columns):
    pd.testing.assert_frame_equal(one[list(columns)], other[list(columns)], check_dtype=False, check_names=False)


def medians(records):
    """{case's id: the median step of each process}."""
    found = {}
    for one in records:
        if one.get("step_seconds") is not None:
            found.setdefault(case_id(one.case), []).append(float(np.median(one.get("step_seconds").values)))
    return found


def test_asv_gives_what_the_run_gives(cache, run, records, tmp_path):
    found = load_asv(asv_run(tmp_path, cache, record_samples=True))
    assert list(found.columns) == list(run.columns)
    mine, theirs = group_by_case(run), group_by_case(found)
    assert set(mine.index) == set(theirs.index)
    ok = mine.index[mine.status == "ok"]
    same(mine.loc[ok], theirs.loc[ok], KNOWN_TO_ASV)
    assert theirs.loc[ok, list(UNKNOWN_TO_ASV)].isna().all(axis=None)
    for name in ok:
        summary, row = summarize([medians(records)[name]]), theirs.loc[name]
        assert (row.step_seconds, row.step_seconds_low, row.step_seconds_high) == pytest.approx(
            (summary.median, summary.low, summary.high)
        )
        assert row.step_seconds_low <= mine.loc[name].step_seconds_high
        assert row.step_seconds_high >= mine.loc[name].step_seconds_low
    held = theirs.loc[ok][theirs.loc[ok].strategy != "none"]
    assert (held.time_ratio_low <= held.time_ratio).all() and (held.time_ratio <= held.time_ratio_high).all()


def test_what_did_not_end_well_is_a_skip_to_asv(cache, run, tmp_path):
    fell = group_by_case(load_asv(asv_run(tmp_path, cache))).loc[list(run[run.status != "ok"]["case"])]
    assert list(fell.status) == ["skipped"] * len(fell) != []
    assert set(fell.reason) == {"asv keeps no reason"}
    assert fell[["step_seconds", "compiled_peak_bytes", "rounds", "verdict"]].isna().all(axis=None)


def test_asv_without_samples_has_medians_and_no_intervals(cache, records, tmp_path):
    found = group_by_case(load_asv(asv_run(tmp_path, cache)))
    for name, each in medians(records).items():
        assert found.loc[name].step_seconds == pytest.approx(np.median(each))
        assert found.loc[name].rounds == len(each)
    for column in ("step_seconds_low", "step_seconds_high", "time_ratio_low"):
        assert found[column].isna().all(), column


def test_a_single_sample_has_no_interval(cache, tmp_path):
    short = {
        model: {key: {**row, "step_seconds": row["step_seconds"][:1]} for key, row in rows.items()}
        for model, rows in cache.items()
    }
    found = load_asv(asv_run(tmp_path, short, record_samples=True))  # asv run --quick
    found = found[found.status == "ok"]
    assert (found.rounds == 1).all() and found.step_seconds.notna().all() and found.step_seconds_low.isna().all()


def test_what_failed_in_asv_is_failed(cache, tmp_path):
    folder = asv_run(tmp_path, cache)
    (path,) = (folder / "desk").glob("c0ffee*.json")
    stored = json.loads(path.read_text())
    for row in stored["results"].values():
        row[0] = None  # as asv writes it when all parameters fell
    path.write_text(json.dumps(stored))
    found = load_asv(folder)
    assert set(found.status) == {"failed"}
    assert found.reason.str.startswith("asv keeps no reason").all()


def test_the_newest_commit_or_the_one_that_is_named(cache, tmp_path):
    old = {model: {} for model in cache}
    asv_run(tmp_path, cache, commit="a" * 40, date=2)
    asv_run(tmp_path, old, commit="b" * 40, date=1)
    assert "ok" in set(load_asv(tmp_path).status)
    assert set(load_asv(tmp_path, commit="bbbb").status) == {"skipped"}
    with pytest.raises(CaseError, match=r"unknown commit 'cc': valid are aaaa.*, bbbb"):
        load_asv(tmp_path, commit="cc")


def test_machines_and_environments_are_named_where_there_are_several(cache, tmp_path):
    asv_run(tmp_path, cache, machine="desk")
    asv_run(tmp_path, cache, machine="server")
    with pytest.raises(CaseError, match="results of several machines: give machine=, one of desk, server"):
        load_asv(tmp_path)
    assert len(load_asv(str(tmp_path), machine="desk"))
    asv_run(tmp_path, cache, machine="desk", environment="virtualenv-py3.11")
    with pytest.raises(CaseError, match="several environments: give environment=, one of existing, virtualenv"):
        load_asv(tmp_path, machine="desk")
    assert len(load_asv(tmp_path, machine="desk", environment="existing"))


def lines(refused):
    assert str(refused.value).count("\n") == 0
    return str(refused.value)


def test_what_is_no_folder_of_asv_results_is_one_clear_line(cache, tmp_path):
    with pytest.raises(store.StoreError, match="is no folder of asv results: `asv run` makes one") as refused:
        load_asv(tmp_path / "nowhere")
    assert "nowhere" in lines(refused)
    with pytest.raises(store.StoreError, match=r"cannot read .*benchmarks\.json: No such file"):
        load_asv(tmp_path)
    (tmp_path / "benchmarks.json").write_text("{}")
    with pytest.raises(store.StoreError, match="holds no results yet"):
        load_asv(tmp_path)
    folder = asv_run(tmp_path, cache)
    (path,) = (folder / "desk").glob("c0ffee*.json")
    whole = json.loads(path.read_text())
    for damage, message in (
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        (json.dumps({**whole, "version": 1}), "is no results file of asv in version 2"),
        (json.dumps({**whole, "params": {}}), "is no results file of asv in version 2"),
        (json.dumps({**whole, "results": {"other.time_it": [[1.0], [], "5e1f"]}}), "holds no results of these suites"),
        (json.dumps({**whole, "results": {"other.time_it": 3}}), "is damaged, or of a version"),
    ):
        path.write_text(damage)
        with pytest.raises(store.StoreError, match=message) as refused:
            load_asv(folder)
        lines(refused)


GIVEN = """
import pickle
from pathlib import Path
from suites import bench_remat
bench_remat.measured = lambda *_: pickle.loads(Path(__file__).with_name("cache.pickle").read_bytes())
"""


@pytest.fixture(scope="module")
def saved(cache, tmp_path_factory):
    """The file that the real plugin writes of figures that are given."""
    folder = tmp_path_factory.mktemp("pytest")
    (folder / "given.py").write_text(GIVEN)
    (folder / "cache.pickle").write_bytes(pickle.dumps(cache))
    out = folder / "out.json"
    how = ["--benchmark-only", f"--benchmark-json={out}", "-p", "no:xdist", "-p", "given", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *how],
        cwd=ROOT,
        env={**OUTSIDE, "PYTHONPATH": f"{folder}:{ROOT}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def test_pytest_benchmark_gives_what_the_run_gives(saved, run):
    found = load_pytest_benchmark(saved)
    assert list(found.columns) == list(run.columns)
    mine, theirs = group_by_case(run[run.status == "ok"]), group_by_case(found)
    assert set(mine.index) == set(theirs.index)
    same(mine, theirs.loc[mine.index], [name for name in theirs if name not in UNKNOWN_TO_PYTEST])
    assert theirs[UNKNOWN_TO_PYTEST].isna().all(axis=None)


def test_pytest_benchmark_without_raw_data_has_medians_and_no_intervals(saved, run, tmp_path):
    whole = json.loads(Path(saved).read_text())
    for one in whole["benchmarks"]:
        del one["stats"]["data"]  # as --benchmark-autosave leaves it
    (tmp_path / "saved.json").write_text(json.dumps(whole))
    mine, theirs = (
        group_by_case(run[run.status == "ok"]),
        group_by_case(load_pytest_benchmark(str(tmp_path / "saved.json"))),
    )
    same(mine, theirs.loc[mine.index], ("step_seconds", "time_ratio", "rounds", "samples", "verdict"))
    assert theirs[["step_seconds_low", "time_ratio_high"]].isna().all(axis=None)


def test_what_is_no_file_of_pytest_benchmark_is_one_clear_line(saved, tmp_path):
    path = tmp_path / "out.json"
    with pytest.raises(store.StoreError, match=r"cannot read .*out\.json: No such file"):
        load_pytest_benchmark(path)
    with pytest.raises(store.StoreError, match="Is a directory"):
        load_pytest_benchmark(tmp_path)
    whole = json.loads(saved.read_text())
    stats = whole["benchmarks"][0]["stats"]
    for damage, message in (
        ("", "not JSON"),
        ("{}", "is no file of pytest-benchmark"),
        ('{"benchmarks": []}', "holds no benchmark of these suites"),
        (json.dumps({"benchmarks": [{"extra_info": {}, "stats": stats}]}), "holds no benchmark of these suites"),
        (json.dumps({"benchmarks": [{"extra_info": {"case": {}}, "stats": stats}]}), "is damaged, or of a version"),
    ):
        path.write_text(damage)
        with pytest.raises(store.StoreError, match=message) as refused:
            load_pytest_benchmark(path)
        lines(refused)


def test_advice_is_given_from_any_of_them(saved, cache, run, tmp_path):
    """The exchange format is one: what reads a run reads the others."""
    kinds = [run, load_asv(asv_run(tmp_path, cache, record_samples=True)), load_pytest_benchmark(saved)]
    choices = [[one.choice for one in advise(table, memory_budget=10**6)] for table in kinds]
    assert choices[0] == choices[1] == choices[2]


def test_what_asv_tracks_is_what_is_read():
    tracked = {name for name in dir(suites.remat.Transformer) if name.startswith(("track_", "time_"))}
    assert tracked == {"time_step", *TRACKED}
