"""The command, pytest-benchmark and asv agree: bytes exactly, times within their intervals.

This takes about a minute, and times agree only on an idle machine. Run it with
THREE_WAYS=1 python -m pytest -p no:xdist tests/test_three_ways.py
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys

import pytest

from artifex_bench import load_asv, load_pytest_benchmark, load_run
from tests.integrations.fabricated import ROOT, call

# the suite's views, with two cases instead of all
SMALL = """
from artifex_bench.suites import remat
GRID = {"model": "transformer", "strategy": ("none", "all"), "depth": 2, "width": 64, "batch": 4, "sequence": 32}
remat.PRESETS["asv"], remat.SETTINGS["asv"] = (GRID,), {"rounds": 6, "steps": 10}
"""
VIEW = (
    SMALL
    + """
from pathlib import Path
from suites.views import make_asv_view
Transformer = make_asv_view("remat", "asv", GRID, Path(__file__).parents[1] / "asv.conf.json")
"""
)
AXES = "--model transformer --strategy none,all --depth 2 --width 64 --batch 4 --sequence 32 --rounds 6 --steps 10"


def run(folder):
    code = "from artifex_bench.cli import main; main()"
    command = [sys.executable, "-c", code, "run", "remat", *AXES.split(), "--out", str(folder), "--name", "run"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return load_run(folder / "run")


def desk(folder):
    (folder / "small.py").write_text(SMALL)
    out = folder / "out.json"
    words = ["-q", "--benchmark-only", f"--benchmark-json={out}", "-p", "no:xdist", "-p", "small"]
    call(folder, "python", "-m", "pytest", *words, cwd=ROOT)
    return load_pytest_benchmark(out)


def ci(folder):
    (folder / "views").mkdir()
    (folder / "views" / "__init__.py").touch()
    (folder / "views" / "remat.py").write_text(VIEW)
    config = json.loads((ROOT / "asv.conf.json").read_text())
    config |= {"repo": str(ROOT), "benchmark_dir": "views", "results_dir": "results", "env_dir": "env"}
    (folder / "asv.conf.json").write_text(json.dumps(config))
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    call(folder, "python", "-m", "asv", "machine", "--yes", "--config", str(folder / "asv.conf.json"))
    how = ["--python=same", "--record-samples", "--set-commit-hash", head.strip()]
    call(folder, "python", "-m", "asv", "run", "--config", str(folder / "asv.conf.json"), *how)
    return load_asv(folder / "results")


@pytest.mark.skipif("THREE_WAYS" not in os.environ, reason="takes minutes: set THREE_WAYS=1")
def test_the_same_cases_measured_in_three_ways_agree(tmp_path):
    tables = [way(tmp_path).set_index("case") for way in (run, desk, ci)]
    for one, other in itertools.combinations(tables, 2):
        assert set(one.index) == set(other.index) and len(one) == 2
        other = other.loc[one.index]
        for column in ("compiled_peak_bytes", "residual_bytes", "rounds"):
            assert list(one[column]) == list(other[column]), column
        assert (one.step_seconds_low <= other.step_seconds_high).all()
        assert (other.step_seconds_low <= one.step_seconds_high).all()
        assert (abs(one.measured_peak_bytes / other.measured_peak_bytes - 1) < 0.05).all()
    print(*(table[["step_seconds_low", "step_seconds", "step_seconds_high"]] for table in tables), sep="\n")
