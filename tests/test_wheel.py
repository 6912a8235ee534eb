"""The wheel: one top-level package that works by itself, from an empty folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, and the folder that it is installed into."""
    home = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT / "artifex_bench", home / "source" / "artifex_bench")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, home / "source")
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    build = ("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(home), str(home / "source"))
    subprocess.run([*pip, *build], check=True)
    (made,) = home.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", str(home / "installed"), str(made)], check=True)
    return made, home / "installed"


def test_it_holds_one_package_that_is_typed(wheel):
    with zipfile.ZipFile(wheel[0]) as made:
        names = made.namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"artifex_bench"}
    assert "artifex_bench/py.typed" in names
    assert {f"artifex_bench/report/html/assets/page.{ending}" for ending in ("css", "html", "js")} <= set(names)


def test_it_runs_from_an_empty_folder_beside_other_suites(wheel, tmp_path):
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites" / "__init__.py").write_text("raise ImportError('a folder of the user')")
    env = {**os.environ, "PYTHONPATH": str(wheel[1]), "JAX_PLATFORMS": "cpu"}
    command = (sys.executable, "-m", "artifex_bench")
    small = ("run", "remat", "--preset", "smoke", "--steps", "0", "--out", ".", "--name", "run")
    done = subprocess.run([*command, *small], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "table.csv").exists()
    where = "import artifex_bench; print(artifex_bench.__file__)"
    told = subprocess.run([sys.executable, "-c", where], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert told.stdout.startswith(str(wheel[1]))
