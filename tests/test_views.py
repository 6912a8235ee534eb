"""The views of the suites for asv and pytest-benchmark. They store the measured seconds and no others."""

from __future__ import annotations

import itertools
import subprocess
import sys
import timeit

import pytest

from artifex_bench.integrations import benchmark
from artifex_bench.suites.remat import PRESETS
from artifex_bench.sweep import spec
from suites import views
from suites.remat import Mlp, Transformer
from suites.views import AXES, Clock
from tests.build import measured, record, taken
from tests.integrations.fabricated import OUTSIDE, ROOT, SPEC, sweep

KEY = ("all", 4, 4)
STEPS = ((0.25, 0.5, 1.0), (2.0, 4.0, 8.0))  # of two processes
BYTES = {"compiled_peak_bytes": 9.0, "measured_peak_bytes": 8.0, "residual_bytes": 7.0}
CACHE = {"transformer": {KEY: {"step_seconds": list(STEPS), **BYTES}}}


def test_asv_times_the_median_step_of_every_process():
    """Like asv, set up again before every sample, with one call per sample and the view's own timer."""
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


@pytest.mark.parametrize("view", [Transformer, Mlp])  # CACHE has a case of Transformer and none of Mlp
def test_asv_skips_a_case_that_did_not_complete(view):
    with pytest.raises(NotImplementedError):
        view().setup(CACHE, "none", 4, 4)


def test_the_parameters_are_the_cases_of_the_preset():
    cases = spec.expand_preset("remat", "asv", {})
    for grid, view in zip(PRESETS["asv"], (Transformer, Mlp), strict=True):
        wanted = {tuple(getattr(case, axis) for axis in AXES) for case in cases if case.model == grid["model"]}
        assert set(itertools.product(*view.params)) == wanted
        assert view.param_names == AXES


def test_a_preset_is_measured_with_its_settings(monkeypatch):
    monkeypatch.setattr(benchmark, "measure_run", lambda spec: spec)
    assert views.measure_preset("remat", "asv") == SPEC


def test_records_become_figures_of_the_cases_that_completed():
    figures = views.make_figures(sweep())
    completed = {(r.case.model, r.case.strategy, r.case.depth, r.case.batch) for r in sweep() if r.status == "ok"}
    assert {(model, *key) for model, rows in figures.items() for key in rows} == completed
    none = figures["transformer"]["none", 4, 4]
    raw = [r.get("step_seconds").values for r in sweep() if r.case.model == "transformer" and r.case.strategy == "none"]
    assert none["step_seconds"] == raw and len(raw) == SPEC.rounds
    assert none["compiled_peak_bytes"] == 5000 * 4 - 100 * len("none")


@pytest.mark.parametrize(("contended", "left"), [(0, 30), (27, 3), (28, 30)])
def test_contended_processes_are_left_out_if_enough_others_remain(contended, left):
    records = [
        record("none", round=n, measurements=(*measured(), taken("other_cpu_share", 0.4 if n < contended else 0.0)))
        for n in range(30)
    ]
    ((row,),) = (rows.values() for rows in views.make_figures(records).values())
    assert len(row["step_seconds"]) == left


def test_a_clock_advances_only_by_advance():
    clock = Clock()
    assert clock() == clock() == 0
    clock.advance(1.5)
    assert clock() == 1.5


def test_plain_pytest_collects_no_benchmark_and_benchmark_only_no_test():
    def collected(*args):
        command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
        done = subprocess.run([*command, *args], cwd=ROOT, env=OUTSIDE, capture_output=True, text=True, check=True)
        return {line.partition("::")[0] for line in done.stdout.splitlines() if "::" in line}

    assert collected("--benchmark-only") == {"suites/bench_remat.py"}
    assert collected("tests/core/test_stats.py", "suites") == {"tests/core/test_stats.py"}
