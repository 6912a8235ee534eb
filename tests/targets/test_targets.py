"""Descriptions of devices that are not there, and what is said where their compilers are missing."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from artifex_bench import targets
from artifex_bench.case import DTYPES, CaseError


@pytest.mark.parametrize("name", targets.descriptions())
def test_a_description_is_whole_and_says_where_it_is_from(name):
    found = targets.describe(name)
    assert found.platform in targets.COMPILERS
    assert 2**33 < found.capacity_bytes < 2**38
    assert 5e11 < found.bandwidth < 1e13
    assert set(found.peak_flops) == set(DTYPES)
    assert 1e14 < found.peak_flops["float32"] <= found.peak_flops["bfloat16"] < 1e16
    assert found.chip and found.capacity_source and found.roofline_source
    assert bool(found.topology) == (found.platform == "tpu")
    assert bool(found.device) == (found.platform == "gpu")


def test_the_attached_device_needs_neither_a_description_nor_a_compiler():
    targets.check_installed("attached")
    assert targets.compiler_versions("attached") == {}
    with pytest.raises(CaseError, match="it has no description: valid are tpu:v4"):
        targets.describe("attached")


@pytest.mark.parametrize("name", ["tpu", "tpu:v5e:2x4", "gpu:", "TPU:V5E"])
def test_an_unknown_target_is_refused_with_the_valid_ones(name):
    with pytest.raises(CaseError, match=f"unknown target {name!r}: valid are attached, tpu:v4, tpu:v5e"):
        targets.check_installed(name)


def test_a_missing_compiler_is_said_with_what_to_install(monkeypatch):
    monkeypatch.setattr(targets, "COMPILERS", {"tpu": ("tpu-aot", ("no-such-package",))})
    with pytest.raises(CaseError, match=r"pip install 'artifex-bench\[tpu-aot\]'.*\(no-such-package missing\)"):
        targets.check_installed("tpu:v5e")


def test_the_pinned_compilers_are_those_of_the_pinned_jax():
    def pins(name):
        lines = (Path(__file__).parents[2] / name).read_text().splitlines()
        return dict(line.split("==") for line in lines if "==" in line)

    compilers, jax = pins("requirements-aot.txt"), pins("requirements.txt")["jax"]
    assert compilers["jax-cuda12-plugin"] == compilers["jax-cuda12-pjrt"] == jax
    assert set(compilers) == {package for _, packages in targets.COMPILERS.values() for package in packages}
    wanted = next(r for r in importlib.metadata.requires("jax") if r.startswith("libtpu"))
    assert compilers["libtpu"].startswith(wanted.partition("==")[2].partition("*")[0])
