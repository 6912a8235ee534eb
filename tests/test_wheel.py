"""The wheel has one top-level package, which works from an empty folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

import artifex_bench

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build the wheel from a copy of the sources."""
    home = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT / "artifex_bench", home / "source" / "artifex_bench")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, home / "source")
    build = ("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(home), str(home / "source"))
    pip(*build)
    (made,) = home.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """Make a virtual environment with the wheel, and with the other packages of the environment of the tests."""
    home = tmp_path_factory.mktemp("environment") / "venv"
    venv.create(home, symlinks=True)
    site = Path(sysconfig.get_path("purelib", "venv", {"base": str(home), "platbase": str(home)}))
    # a .pth file adds only the folder: .pth files inside it, such as an editable installation, are not read
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip("--python", str(home / "bin" / "python"), "install", "--no-deps", "--ignore-installed", str(wheel))
    return home


def pip(*arguments):
    subprocess.run([sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments], check=True)


def run_in(folder, *command):
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"JAX_PLATFORMS": "cpu"}
    return subprocess.run(list(map(str, command)), cwd=folder, env=env, capture_output=True, text=True)


def test_it_holds_one_package_that_is_typed(wheel):
    with zipfile.ZipFile(wheel) as made:
        names = made.namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"artifex_bench"}
    assert "artifex_bench/py.typed" in names
    assert {f"artifex_bench/report/html/assets/page.{ending}" for ending in ("css", "html", "js")} <= set(names)
    assert {f"artifex_bench/memory_profile/assets/timeline.{ending}" for ending in ("css", "html", "js")} <= set(names)


def test_its_version_is_the_packages(wheel, environment, tmp_path):
    assert wheel.name.split("-")[1] == artifex_bench.__version__
    script = "import artifex_bench, importlib.metadata; print(importlib.metadata.version('artifex-bench'))"
    assert run_in(tmp_path, environment / "bin" / "python", "-c", script).stdout.strip() == artifex_bench.__version__
    version = run_in(tmp_path, environment / "bin" / "artifex-bench", "--version").stdout
    assert version.split()[-1] == artifex_bench.__version__


def test_it_runs_from_an_empty_folder_beside_other_suites(environment, tmp_path):
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites" / "__init__.py").write_text("raise ImportError('a folder of the user')")
    python = environment / "bin" / "python"
    small = ("run", "remat", "--preset", "smoke", "--steps", "0", "--out", ".", "--name", "run")
    done = run_in(tmp_path, python, "-m", "artifex_bench", *small)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "table.csv").exists()
    where = run_in(tmp_path, python, "-c", "import artifex_bench; print(artifex_bench.__file__)")
    assert where.stdout.startswith(str(environment))


def test_the_demo_runs_from_an_empty_folder(environment, tmp_path):
    command = environment / "bin" / "artifex-bench"
    done = run_in(tmp_path, command, "demo")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "artifex-bench-demo"
    assert {path.name for path in folder.iterdir()} >= {"run.json", "records.jsonl", "table.md", "table.csv", "plots"}
    assert list((folder / "plots").glob("*.png"))
    assert run_in(tmp_path, command, "report", folder, "--html").returncode == 0
    assert (folder / "page.html").exists()
