"""The examples start, and the changes that `examples/planted.py` plants into a copy of the package still apply."""

from __future__ import annotations

import runpy
import sys

import pytest

from examples.planted import copy_package, load_peaks, plant_memory, plant_slowdown, run_artifex_bench
from tests.test_views import ROOT

SCRIPTS = sorted(path for path in (ROOT / "examples").glob("*.py") if "ArgumentParser" in path.read_text())
SMOKE = ("run", "remat", "--preset", "smoke", "--rounds", "1", "--out", ".")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_every_example_shows_its_help(script, monkeypatch, capsys):
    monkeypatch.syspath_prepend(script.parent)
    monkeypatch.setattr(sys, "argv", [script.name, "--help"])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(script), run_name="__main__")
    assert end.value.code == 0
    assert f"python examples/{script.name}" in capsys.readouterr().out


def test_planted_changes_leave_a_program_that_runs(tmp_path):
    tree = copy_package(tmp_path)
    run_artifex_bench(tree, *SMOKE, "--name", "before", "--steps", "0")
    before = load_peaks(tree / "before")
    plant_slowdown(tree, 0.2)
    plant_memory(tree, 0.05, before)
    run_artifex_bench(tree, *SMOKE, "--name", "after", "--steps", "1")
    after = load_peaks(tree / "after")
    assert {case: pytest.approx(1.05 * peak, rel=0.01) for case, peak in before.items()} == after
