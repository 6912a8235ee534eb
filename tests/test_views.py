"""What asv and pytest-benchmark are handed: the seconds that were measured, and no others."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import timeit
from pathlib import Path

import pytest

from artifex_bench.integrations import benchmark
from artifex_bench.suites.remat import PRESETS
from artifex_bench.sweep import spec
from suites import views
from suites.bench_remat import TOLD
from suites.remat import Transformer
from suites.views import AXES, Clock, asv_view
from tests.build import measured, record, taken

ROOT = Path(__file__).parent.parent
OUTSIDE = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}  # no worker of xdist
KEY = ("all", 4, 4)
STEPS = ((0.25, 0.5, 1.0), (2.0, 4.0, 8.0))  # of two processes
BYTES = {"compiled_peak_bytes": 9.0, "measured_peak_bytes": 8.0, "residual_bytes": 7.0}
ROW = {
    "step_seconds": list(STEPS),
    **BYTES,
    "verdict": "effective",
    "recomputed_flops": 5.0,
    "time_ratio": float("nan"),
}
CACHE = {"transformer": {KEY: {**dict.fromkeys(TOLD), **ROW}}, "mlp": {}}


def test_asv_times_the_median_step_of_every_process():
    """As asv does it: set up again before every sample, one call a sample, the view's own timer."""
    view = Transformer()
    timer = timeit.Timer(lambda: view.time_step(CACHE, *KEY), lambda: view.setup(CACHE, *KEY), timer=view.timer)
    assert timer.repeat(repeat=3, number=1) == [0.5, 4.0, 0.5]
    assert view.repeat == len(STEPS)


def test_asv_tracks_bytes_with_their_unit():
    view = Transformer()
    view.setup(CACHE, *KEY)
    assert view.track_peak_bytes(CACHE, *KEY) == 9
    assert view.track_measured_peak_bytes(CACHE, *KEY) == 8
    assert view.track_residual_bytes(CACHE, *KEY) == 7
    assert Transformer.track_peak_bytes.unit == "bytes"


def test_asv_skips_a_case_that_did_not_end_well():
    with pytest.raises(NotImplementedError):
        Transformer().setup(CACHE, "none", 4, 4)


def test_the_parameters_are_the_cases_of_the_preset():
    cases = spec.expand_preset("remat", "asv", {})
    for grid in PRESETS["asv"]:
        view = asv_view("remat", "asv", grid)
        wanted = {tuple(getattr(case, axis) for axis in AXES) for case in cases if case.model == grid["model"]}
        assert set(itertools.product(*view.params)) == wanted
        assert view.param_names == AXES


def test_a_sweep_becomes_figures_by_case(monkeypatch):
    asked = []

    def measure(request):
        asked.append(request)
        rounds = range(request.rounds)
        fell = next(case for case in request.cases if case.strategy == "all")
        return [
            record(case, "oom" if case == fell else "ok", round=n, **({"measurements": ()} if case == fell else {}))
            for n in rounds
            for case in request.cases
        ]

    monkeypatch.setattr(benchmark, "measure_run", measure)
    found = views.measured("remat", "asv")
    assert set(found) == {"transformer", "mlp"}
    none = found["transformer"]["none", 4, 4]
    assert none["step_seconds"] == [measured()[6].values] * asked[0].rounds  # raw, of every round
    assert none["compiled_peak_bytes"] == 5000
    assert len(found["transformer"]) + len(found["mlp"]) == len(asked[0].cases) - 1


def test_processes_that_others_disturbed_are_left_out_where_enough_remain(monkeypatch):
    def measure(busy):
        return lambda request: [
            record(c, round=n, measurements=(*measured(), taken("other_cpu_share", 0.4 if n < busy else 0.0)))
            for n in range(request.rounds)
            for c in request.cases
        ]

    for busy, left in ((0, 30), (27, 3), (28, 30)):
        monkeypatch.setattr(benchmark, "measure_run", measure(busy))
        assert len(views.measured("remat", "asv")["mlp"]["none", 8, 512]["step_seconds"]) == left


def test_a_clock_stands_still_but_for_what_it_is_told():
    clock = Clock()
    assert clock() == clock() == 0
    clock.pass_by(1.5)
    assert clock() == 1.5


CONFTEST = """
from suites import bench_remat
from tests.test_views import CACHE, KEY
bench_remat.measured = lambda *_: CACHE
"""


def given(folder, *how):
    """pytest-benchmark itself, on figures that are given."""
    (folder / "given.py").write_text(CONFTEST)
    plugins = ["-p", "no:cacheprovider", "-p", "no:xdist", "-p", "given"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--benchmark-only", f"--benchmark-storage={folder}", *plugins, *how],
        cwd=ROOT,
        env={**OUTSIDE, "PYTHONPATH": f"{folder}:{ROOT}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_pytest_benchmark_is_handed_the_same(tmp_path):
    out = tmp_path / "out.json"
    given(tmp_path, f"--benchmark-json={out}", "-k", "transformer-all-4-4")
    (found,) = json.loads(out.read_text())["benchmarks"]
    assert found["stats"]["data"] == [*STEPS[0], *STEPS[1]]
    assert found["group"] == "transformer, depth 4, batch 4"
    assert found["extra_info"]["compiled_peak_bytes"] == 9
    assert found["extra_info"]["verdict"] == "effective"


def test_pytest_benchmark_compares_with_what_was_saved_and_draws(tmp_path):
    given(tmp_path, "--benchmark-save=before", "-k", "all")
    told = given(tmp_path, "--benchmark-compare", f"--benchmark-histogram={tmp_path / 'steps'}", "-k", "all")
    assert "before" in told
    assert "NOW" in told
    (drawn,) = tmp_path.glob("steps*.svg")
    assert "transformer-all-4-4" in drawn.read_text()


def test_plain_pytest_collects_no_benchmark_and_benchmark_only_no_test():
    def collected(*args):
        command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
        done = subprocess.run([*command, *args], cwd=ROOT, env=OUTSIDE, capture_output=True, text=True, check=True)
        return {line.partition("::")[0] for line in done.stdout.splitlines() if "::" in line}

    assert collected("--benchmark-only") == {"suites/bench_remat.py"}
    assert collected("tests/core/test_stats.py", "suites") == {"tests/core/test_stats.py"}
