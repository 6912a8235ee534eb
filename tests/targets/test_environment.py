"""The environment: settings that may change a result, without paths and names of machines."""

from __future__ import annotations

import json
import os
from pathlib import Path

import jax

from artifex_bench.targets import environment as module
from artifex_bench.targets.environment import program_flags, read_environment, read_settings


def test_it_is_json_with_versions_device_and_machine():
    found = read_environment()
    assert json.loads(json.dumps(found)) == found
    assert found["platform"] == "cpu"
    assert found["cores"] == os.cpu_count()
    assert found["memory_bytes"] > 2**28
    assert all(found["versions"].values())


def test_flags_that_change_programs_are_kept_and_others_are_not(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("SOMETHING_ELSE", "secret")
    found = read_environment()
    assert found["flags"]["OMP_NUM_THREADS"] == "3"
    assert "secret" not in json.dumps(found)


def test_every_setting_of_jax_and_xla_is_a_flag_except_paths_and_hosts():
    kept = {
        "JAX_ENABLE_X64": "True",
        "JAX_DEFAULT_MATMUL_PRECISION": "highest",
        "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.95",
        "LIBTPU_INIT_ARGS": "--xla_tpu_x=1",
        "NVIDIA_TF32_OVERRIDE": "0",
    }
    places = {"JAX_COMPILATION_CACHE_DIR": "/home/me", "JAX_COORDINATOR_ADDRESS": "10.0.0.1", "HOME": "/home/me"}
    places |= {"JAX_DUMP_IR_TO": "/home/me", "JAX_PLATFORMS": "", "XLA_IR_DEBUG": " ", "JAX_REMAT3": "1"}
    dumped = {"XLA_FLAGS": "--xla_cpu_y=2 --xla_dump_to=/home/me --xla_dump_hlo_as_text --xla_z=3 --xla_dir=/home/me"}
    found = program_flags(
        {**kept, "JAX_ENABLE_X64": "1", **places, **dumped, "JAX_BACKEND_TARGET": "grpc://me.example.org:8470"}
    )
    assert found.pop("XLA_FLAGS") == "--xla_cpu_y=2 --xla_z=3 --xla_dir=<place>"
    assert "example" not in found.pop("JAX_BACKEND_TARGET")
    assert found == kept


def test_settings_made_in_code_are_those_of_the_variables(monkeypatch):
    before = read_settings()
    jax.config.update("jax_enable_x64", not jax.config.jax_enable_x64)
    try:
        changed = {name: value for name, value in read_settings().items() if value != before[name]}
        assert changed == program_flags({"JAX_ENABLE_X64": str(jax.config.jax_enable_x64)})
    finally:
        jax.config.update("jax_enable_x64", not jax.config.jax_enable_x64)
    assert read_settings() == before


def test_it_has_no_path_and_no_name_of_a_host_or_user():
    text = json.dumps(read_environment())
    assert str(Path.home()) + "/" not in text
    assert str(Path.cwd()) not in text
    assert os.uname().nodename not in text


def test_a_machine_without_cpuinfo_has_a_cpu_name(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "Path", lambda _: tmp_path / "missing")
    assert module._read_cpu_model()
