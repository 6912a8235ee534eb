"""scripts/pythons, with which `make` and CI choose a Python: fake Pythons on the PATH and in pyenv."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "pythons"


@pytest.fixture
def machine(tmp_path):
    """Return a function that installs fake Pythons and runs the script. A Python is name -> whether it starts."""
    on_path, pyenv = tmp_path / "bin", tmp_path / "py env"

    def fake(path, works):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\nexit {0 if works else 127}\n")
        path.chmod(0o755)

    def run(path=None, versions=None, asked=()):
        for name, works in (path or {}).items():
            fake(on_path / name, works)
        for version, works in (versions or {}).items():
            fake(pyenv / "versions" / version / "bin" / "python", works)
        environment = {"PATH": f"{on_path}:/usr/bin:/bin", "PYENV_ROOT": str(pyenv), "HOME": str(tmp_path)}
        done = subprocess.run([SCRIPT, *asked], capture_output=True, text=True, env=environment)
        return [line.replace(str(tmp_path), "") for line in done.stdout.splitlines() if str(tmp_path) in line]

    return run


def test_one_python_per_version_newest_first(machine):
    found = machine({"python3.12": True, "python3.14": True}, {"3.12.1": True, "3.13.0": True})
    assert found == ["3.14 /bin/python3.14", "3.13 /py env/versions/3.13.0/bin/python", "3.12 /bin/python3.12"]


def test_a_shim_that_does_not_start_is_ignored(machine):
    assert machine({"python3.13": False}, {"3.13.0": True}) == ["3.13 /py env/versions/3.13.0/bin/python"]
    assert machine({"python3.14": False}, {"3.14.0": False}) == ["3.13 /py env/versions/3.13.0/bin/python"]


def test_the_newest_patch_is_taken_and_no_free_threaded_build(machine):
    versions = {"3.13.9": True, "3.13.10": True, "3.13.11t": True}
    assert machine(versions=versions) == ["3.13 /py env/versions/3.13.10/bin/python"]


@pytest.mark.parametrize("asked", ["python3.13", "3.13"])
def test_a_name_that_does_not_start_is_looked_up_by_its_version(machine, asked):
    found = machine({"python3.13": False}, {"3.13.0": True}, asked=[asked])
    assert found == ["/py env/versions/3.13.0/bin/python"]


def test_an_unknown_name_prints_nothing(machine):
    assert machine(asked=["python9.9"]) == machine(asked=["nonsense"]) == []
