"""The worked examples of docs/contributing.md, on a copy of the package."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import pandas as pd
import pytest

from tests.test_views import ROOT

PAGE = (ROOT / "docs" / "contributing.md").read_text()
SMALL = ("--preset", "smoke", "--strategy", "none", "--steps", "1")


@pytest.fixture
def copy(tmp_path):
    shutil.copytree(ROOT / "artifex_bench", tmp_path / "artifex_bench", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def run(folder, *arguments):
    command = [sys.executable, "-m", "artifex_bench", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_probe_with_its_column_is_one_hunk(copy):
    hunk = re.search(r"```python\n(PROBES\[.*?)```", PAGE, re.DOTALL)[1]
    with (copy / "artifex_bench" / "remat" / "measure" / "probes.py").open("a") as file:
        file.write(hunk)
    run(copy, "run", "remat", *SMALL, "--out", "out", "--name", "run")
    table = pd.read_csv(copy / "out" / "run" / "table.csv")
    assert list(table.doubled_residual_bytes) == list(2 * table.residual_bytes)


def test_a_kind_is_one_module_and_one_entry(copy):
    module = re.search(r"```python\n# artifex_bench/kinds/sleep.py\n(.*?)```", PAGE, re.DOTALL)[1]
    entry = re.search(r"```python\n(    \"sleep\": .*?\n)```", PAGE)[1]
    (copy / "artifex_bench" / "kinds" / "sleep.py").write_text(module)
    registry = copy / "artifex_bench" / "core" / "registry.py"
    registry.write_text(registry.read_text().replace("KINDS = {\n", "KINDS = {\n" + entry))
    assert "--milliseconds" in run(copy, "run", "sleep", "--help")
    run(copy, "run", "sleep", "--milliseconds", "1,5", "--rounds", "1", "--steps", "3", "--out", "out", "--name", "run")
    table = pd.read_csv(copy / "out" / "run" / "table.csv")
    assert list(table.milliseconds) == [1, 5]
    assert (table.sleep_seconds >= table.milliseconds / 1000).all()
    assert "slept" in (copy / "out" / "run" / "table.md").read_text()
    run(copy, "report", "out/run", "--html")
    assert "slept" in (copy / "out" / "run" / "page.html").read_text()
    assert "sleep_seconds" in run(copy, "compare", "out/run", "out/run", "--all")
