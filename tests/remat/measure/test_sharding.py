"""Programs over a mesh: on eight CPU devices of a fresh process, and through the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from artifex_bench import load_run
from artifex_bench.core import store

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
pytestmark = pytest.mark.timeout(900)  # real compilations, and the machine may be busy


def finished(*command, **environment):
    done = subprocess.run(
        [sys.executable, *command],
        env={**os.environ, "JAX_PLATFORMS": "cpu", **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-1000:]
    return done.stdout


def test_on_eight_devices():
    flags = "--xla_force_host_platform_device_count=8"
    finished("-m", "pytest", "-q", "-p", "no:cacheprovider", str(HERE / "on_eight_devices.py"), XLA_FLAGS=flags)


def test_a_sweep_over_meshes_of_this_machine(tmp_path):
    """The command line gives the processes as many CPU devices as the mesh takes."""
    code = "from artifex_bench.cli import main; main()"
    meshes = ("--mesh", "none", "--mesh", "data=2,fsdp=2", "--strategy", "none,all", "--remat3", "off")
    where = ("--out", str(tmp_path), "--name", "run")
    printed = finished("-c", code, "run", "remat", "--preset", "smoke", "--model", "transformer", *meshes, *where)
    table = load_run(tmp_path / "run")
    assert list(table.status) == ["ok"] * 4 and table.mesh.isna().sum() == 2
    one, four = (rows.set_index("strategy") for rows in (table[table.mesh.isna()], table[table.mesh.notna()]))
    assert (four.compiled_peak_bytes < one.compiled_peak_bytes).all()
    assert (four.residual_bytes == one.residual_bytes).all()  # of all devices together
    assert four.agrees["all"] and four.verdict["all"] == "effective"
    assert (four.step_seconds > 0).all() and four.compiled_peak_ratio["all"] < 1
    assert one.measured_peak_bytes.notna().all() and four.measured_peak_bytes.isna().all()
    assert all("4 devices" in source for source in four.measured_peak_source)
    assert "mesh data=2,fsdp=2" in printed and "4 devices" in printed
    found = {record.case.devices: record for record in store.load_records(tmp_path / "run")}
    assert found[4].environment["devices"] == 4 and found[1].environment["devices"] == 1
    assert "4 devices" in found[4].get("residual_bytes").source
    assert "each device" in found[4].get("compiled_peak_bytes").source
