"""Descriptions of AOT targets, and the errors of missing compilers."""

from __future__ import annotations

import importlib.metadata
import re
import sys
from pathlib import Path

import pytest

from artifex_bench import targets
from artifex_bench.core.case import DTYPES, CaseError, RematCase


@pytest.mark.parametrize("name", targets.load_descriptions())
def test_a_description_is_complete_and_has_its_sources(name):
    found = targets.load_description(name)
    assert found.platform in targets.COMPILERS
    assert 2**33 < found.capacity_bytes < 2**38
    assert 5e11 < found.bandwidth < 1e13
    assert set(found.peak_flops) == set(DTYPES) | ({"float16", "float64"} if found.platform == "gpu" else set())
    assert 1e14 < found.peak_flops["float32"] <= found.peak_flops["bfloat16"] < 1e16
    assert found.peak_flops.get("float64", 1e13) < 0.2 * found.peak_flops["float32"]
    assert found.chip and found.capacity_source and found.roofline_source
    assert bool(found.topology) == (found.platform == "tpu")
    assert bool(found.device) == (found.platform == "gpu")


NEW, OLD = "XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION"
POOL = (NEW, OLD, "XLA_PYTHON_CLIENT_ALLOCATOR")


@pytest.fixture
def setting(monkeypatch):
    """Sets some variables of JAX's memory pool and unsets the others."""

    def choose(**variables):
        for name in POOL:
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return choose


@pytest.mark.parametrize(
    ("variables", "share"),
    [
        ({}, 0.75),
        ({NEW: "0.95"}, 0.95),
        ({OLD: "0.95"}, 0.95),
        ({OLD: "", NEW: ""}, 0.75),
        ({NEW: "4"}, 1.0),  # unified memory
        ({NEW: ".5", POOL[2]: "Platform"}, 1.0),
    ],
)
def test_a_program_gets_the_share_of_a_gpu_that_jaxs_pool_takes(variables, share, setting):
    setting(**variables)
    gpu, tpu = targets.load_description("gpu:h100"), targets.load_description("tpu:v5e")
    assert gpu.capacity_bytes == int(share * gpu.memory_bytes)
    assert tpu.capacity_bytes == tpu.memory_bytes


@pytest.mark.parametrize(
    ("variables", "named"), [({}, NEW), ({NEW: "0.9"}, NEW), ({OLD: "0.9"}, OLD), ({POOL[2]: "platform"}, POOL[2])]
)
def test_the_source_of_a_gpus_capacity_names_the_variable_that_decides(variables, named, setting):
    setting(**variables)
    source = targets.load_description("gpu:h100").capacity_source
    assert re.findall(r"XLA_\w+", source) == [named]
    assert source.endswith(targets.load_description("gpu:h100").memory_source)


@pytest.mark.parametrize(
    "variables", [{NEW: v} for v in ("0", "-1", "much", "nan", "95%")] + [{NEW: "0.5", OLD: "0.5"}]
)
def test_an_invalid_share_is_refused_before_anything_runs(variables, setting):
    setting(**variables)
    with pytest.raises(CaseError, match=NEW):
        targets.check_installed("gpu:h100")


def test_the_local_target_needs_neither_a_description_nor_a_compiler():
    targets.check_installed("local")
    assert targets.compiler_versions("local") == {}
    with pytest.raises(CaseError, match="tpu:v4"):
        targets.load_description("local")


@pytest.mark.parametrize(
    ("name", "devices", "topology"),
    [
        ("tpu:v5e", 1, "v5e:2x2"),
        ("tpu:v5e:2x4", 8, "v5e:2x4"),
        ("tpu:v5p:2x2x2", 8, "v5p:2x2x2"),
        ("tpu:v7x:2x2x1", 8, "tpu7x:2x2x1"),  # two devices per chip
        ("gpu:h100:8", 8, None),
    ],
)
def test_a_target_may_carry_a_topology(name, devices, topology):
    found = targets.load_description(name)
    assert (found.name, found.devices, found.topology.get("topology_name")) == (name, devices, topology)
    one = targets.load_description(":".join(name.split(":")[:2]))
    assert (found.capacity_bytes, found.platform) == (one.capacity_bytes, one.platform)
    assert targets.compiler_versions(name) == targets.compiler_versions(one.name)


@pytest.mark.parametrize(
    ("name", "topology", "valid"),
    [
        ("tpu:v5e:3x3", "3x3", "2x2, 2x4, 4x4, 4x8, 8x8, 8x16, 16x16, or tpu:v5e"),
        ("tpu:v5e:2x2:1", "2x2:1", "2x2, 2x4, "),
        ("tpu:v4:", "", "2x2x1, 2x2x2, "),
        ("gpu:h100:16", "16", "2, 4, 8, or gpu:h100"),
    ],
)
def test_other_topologies_are_refused_with_the_valid_ones(name, topology, valid):
    with pytest.raises(CaseError, match=f"'{name}'.*'{topology}'.* {valid}"):
        targets.load_description(name)


@pytest.mark.parametrize(
    ("case", "problem"),
    [
        ({"target": "tpu:v5e:2x4"}, "'tpu:v5e:2x4'.* 8 devices.*--mesh"),
        ({"target": "tpu:v5e", "mesh": "fsdp=4"}, " 4 devices.* 1 device.*tpu:v5e:2x2"),
        ({"target": "gpu:h100:8", "mesh": "data=2,fsdp=8"}, " 16 devices.* 8 devices"),
        ({"target": "tpu:v7x:2x2x1", "mesh": "fsdp=2"}, " 2 devices.* 8 devices"),
    ],
)
def test_a_mesh_must_take_all_devices_of_its_target(case, problem):
    with pytest.raises(CaseError, match=problem):
        targets.check_devices(RematCase(**case))


def test_a_fitting_mesh_is_accepted():
    for case in ({}, {"mesh": "fsdp=8"}, {"target": "tpu:v5e"}, {"target": "tpu:v5e:2x4", "mesh": "data=4,fsdp=2"}):
        targets.check_devices(RematCase(**case))


@pytest.mark.parametrize("name", ["tpu", "tpu:v9:2x4", "gpu:", "TPU:V5E", "cpu:8"])
def test_an_unknown_target_is_refused_with_the_valid_ones(name):
    with pytest.raises(CaseError, match=f"'{name.removesuffix(':2x4')}'.* local, tpu:v4, "):
        targets.check_installed(name)


def test_a_missing_compiler_is_named_with_the_extra_to_install(monkeypatch):
    monkeypatch.setattr(targets, "COMPILERS", {"tpu": ("tpu-aot", (("no-such-package",),))})
    with pytest.raises(CaseError, match=r"no-such-package.*pip install 'artifex-bench\[tpu-aot\]'"):
        targets.check_installed("tpu:v5e")


CUDA12 = ("jax-cuda12-plugin", "jax-cuda12-pjrt", "nvidia-cuda-nvcc-cu12")
CUDA13 = ("jax-cuda13-plugin", "jax-cuda13-pjrt", "nvidia-cuda-nvcc")


@pytest.mark.parametrize(
    ("installed", "taken", "missing"),
    [
        (CUDA13, CUDA13, ()),
        (CUDA12, CUDA12, ()),
        ((*CUDA12, *CUDA13), (*CUDA13, *CUDA12), ()),
        ((*CUDA12, *CUDA13[:2]), CUDA12, ()),
        (CUDA12[:2], CUDA12, CUDA12[2:]),
        ((), CUDA13, CUDA13),
    ],
)
def test_either_set_of_cuda_compilers_is_enough(monkeypatch, installed, taken, missing):
    monkeypatch.setattr(targets, "_version", lambda package: "1.0" if package in installed else None)
    found = targets.compiler_versions("gpu:h100")
    assert tuple(found) == taken
    assert tuple(name for name, version in found.items() if version is None) == missing


def pins(name):
    lines = (Path(__file__).parents[2] / "requirements" / name).read_text().splitlines()
    return dict(line.split("==") for line in lines if "==" in line)


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
def test_the_pinned_compilers_are_those_of_the_pinned_jax(python):
    compilers, jax = pins(f"python{python}-aot.txt"), pins(f"python{python}.txt")["jax"]
    _, sets = targets.COMPILERS["gpu"]
    assert set(compilers) - {"libtpu"} in map(set, sets)
    assert {version for name, version in compilers.items() if name.startswith("jax-")} == {jax}


def test_the_pinned_libtpu_is_the_one_that_jax_wants():
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    if importlib.metadata.version("jax") != pins(f"python{python}.txt")["jax"]:
        pytest.skip("another JAX is installed than the pinned one")
    wanted = next(r for r in importlib.metadata.requires("jax") if r.startswith("libtpu"))
    assert pins(f"python{python}-aot.txt")["libtpu"].startswith(wanted.partition("==")[2].partition("*")[0])
