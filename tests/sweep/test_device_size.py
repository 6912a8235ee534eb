"""Presets that are sized to a device: what fits it, by descriptions, by the committed runs and by a worker's word."""

from __future__ import annotations

from pathlib import Path

import pytest

from artifex_bench.core import store
from artifex_bench.core.case import CaseError
from artifex_bench.execution.executors import EXECUTORS, Executor
from artifex_bench.sweep.device_size import _bytes_per_layer, size_grids
from artifex_bench.sweep.spec import expand_preset
from artifex_bench.targets import load_description, load_descriptions
from tests.build import backend

RESULTS = Path(__file__).parents[2] / "results"
GIB = 2**30
GRID = {"model": "transformer", "depth": 24, "width": 2048, "heads": 16, "sequence": 1024, "dtype": "bfloat16"}


def estimate(axes):
    state, sample = _bytes_per_layer(axes)
    return axes["depth"] * (state + axes["batch"] * sample)


def peaks_of_none(run):
    for record in store.load_records(RESULTS / run):
        if record.case.strategy == "none" and record.case.mesh is None and record.needed_peak is not None:
            yield {axis: getattr(record.case, axis) for axis in (*GRID, "batch")}, record.needed_peak


@pytest.mark.parametrize("run", ["reference-max-batch", "reference-remat-absent", "reference-remat-mesh"])
def test_the_estimate_is_at_most_a_tenth_above_compiled_peaks_and_not_below(run):
    found = list(peaks_of_none(run))
    assert found
    for axes, peak in found:
        assert peak <= estimate(axes) <= 1.1 * peak


@pytest.mark.parametrize("target", load_descriptions())
def test_on_every_target_the_model_has_a_billion_parameters_and_its_batch_is_the_largest_that_fits(target):
    capacity = load_description(target).capacity_bytes
    cases = expand_preset("remat", load_description(target).platform, {"target": [target]})
    (shape,) = {(case.depth, case.width, case.batch, case.dtype, case.target) for case in cases}
    depth, width, batch, dtype, of = shape
    assert (12 * depth * width**2 > 1e9, dtype, of) == (True, "bfloat16", target)
    assert estimate({**GRID, "batch": batch}) <= capacity < estimate({**GRID, "batch": batch + 1})
    assert {case.strategy for case in cases} >= {"none", "all"}


def test_every_target_gets_a_model_of_its_own_size():
    cases = expand_preset("remat", "tpu", {"target": ["tpu:v5e", "tpu:v5p"]})
    assert len({(case.target, case.batch) for case in cases}) == 2
    assert len({case.batch for case in cases}) == 2


def test_a_small_device_gets_fewer_layers_and_a_tiny_one_is_refused():
    (small,) = size_grids((GRID,), 8 * GIB, {})
    assert small["depth"] < 24 and small["batch"] >= 1
    assert estimate({**GRID, **small}) <= 8 * GIB
    with pytest.raises(CaseError, match=r"1\.00 GiB"):
        size_grids((GRID,), GIB, {})


def test_the_users_axes_replace_those_of_the_preset_and_size_the_batch():
    h100 = {"target": ["gpu:h100"]}
    (longer,) = {(case.sequence, case.batch) for case in expand_preset("remat", "gpu", {**h100, "sequence": [2048]})}
    (usual,) = {(case.sequence, case.batch) for case in expand_preset("remat", "gpu", h100)}
    assert longer[0] == 2048 and 1 <= longer[1] < usual[1]
    assert {case.batch for case in expand_preset("remat", "gpu", {**h100, "batch": [2]})} == {2}


def with_device(monkeypatch, **environment):
    monkeypatch.setitem(EXECUTORS, "local", Executor("fake", backend([]), probe=lambda: environment))


def test_the_local_device_says_what_memory_it_has(monkeypatch):
    with_device(monkeypatch, platform="gpu", device_memory_bytes=59 * GIB)
    (batch,) = {case.batch for case in expand_preset("remat", "gpu", {})}
    assert estimate({**GRID, "batch": batch}) <= 59 * GIB < estimate({**GRID, "batch": batch + 1})


@pytest.mark.parametrize(
    ("preset", "environment", "options", "words"),
    [
        ("gpu", {"platform": "cpu"}, {}, ("a cpu", "artifex-bench[cuda13]", "--target gpu:h100")),
        ("tpu", {"platform": "gpu"}, {}, ("a gpu", "artifex-bench[tpu]", "--target tpu:v5e")),
        ("gpu", {}, {}, ("no device", "artifex-bench[cuda13]")),
        ("gpu", {"platform": "gpu"}, {}, ("memory",)),
        ("gpu", {}, {"target": ["tpu:v5e"]}, ("'tpu:v5e'", "gpu:h100")),
    ],
)
def test_a_device_that_does_not_fit_the_preset_is_one_line(monkeypatch, preset, environment, options, words):
    with_device(monkeypatch, **environment)
    with pytest.raises(CaseError) as error:
        expand_preset("remat", preset, options)
    assert all(word in str(error.value) for word in words) and "\n" not in str(error.value)
