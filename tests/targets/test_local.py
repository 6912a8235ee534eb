"""The local target: fake devices that behave as documented, and the memory of this process."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from packaging.version import Version

from artifex_bench.core.versions import CPU_KEEPS_RECOMPUTATION
from artifex_bench.remat.measure import stages
from artifex_bench.remat.measure.program import build_program
from artifex_bench.remat.strategies import POLICIES
from artifex_bench.targets import local
from tests.programs import case

MIB = 2**20


class Device:
    """Like `jax.Device`: `memory_stats()` returns a dict, or None if the backend has none."""

    def __init__(self, platform, *stats):
        self.platform, self.device_kind, self._stats = platform, f"a {platform}", list(stats)

    def memory_stats(self):
        return self._stats.pop(0) if len(self._stats) > 1 else self._stats[0]


@pytest.mark.parametrize("platform", ["gpu", "tpu"])
def test_accelerators_report_their_allocators_peak_when_it_is_read(platform):
    device = Device(platform, {"peak_bytes_in_use": 5, "bytes_in_use": 1}, {"peak_bytes_in_use": 7 * MIB})
    meter = local.make_meter(device)
    meter.start()
    meter.reset()
    assert meter.peak() == 7 * MIB
    assert meter.source == "device.memory_stats()['peak_bytes_in_use']"


@pytest.mark.parametrize("stats", [None, {}, {"bytes_in_use": 3}])
@pytest.mark.parametrize("platform", ["gpu", "tpu"])
def test_an_accelerator_without_that_figure_gives_none_and_says_why(platform, stats):
    meter = local.make_meter(Device(platform, stats))
    meter.start()
    meter.reset()
    assert meter.peak() is None
    assert f"a {platform}" in meter.source and "peak_bytes_in_use" in meter.source


def test_a_cpu_whose_resident_peak_cannot_be_reset_gives_none_and_says_why(monkeypatch, tmp_path):
    monkeypatch.setattr(local, "Path", lambda _: tmp_path / "none")
    meter = local.make_meter(Device("cpu", None))
    assert meter.peak() is None
    assert meter.source


def test_devices_that_share_a_process_have_no_peak_of_their_own():
    meter = local.make_meter(Device("cpu", None), 8)
    assert meter.peak() is None
    assert "8 devices" in meter.source
    meter = local.make_meter(Device("gpu", {"peak_bytes_in_use": 5}), 8)
    assert meter.peak() == 5


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_cpu_meter_counts_memory_touched_after_start_only():
    """Within 8 MiB, because other threads of this process allocate too."""
    np.ones(100 * MIB, np.uint8)  # a peak before `start`
    meter = local.make_meter(jax.local_devices()[0])
    meter.start()
    kept = np.ones(48 * MIB, np.uint8)
    np.ones(100 * MIB, np.uint8)  # before `reset`: not counted
    meter.reset()
    assert meter.peak() == pytest.approx(48 * MIB, abs=8 * MIB)
    np.ones(32 * MIB, np.uint8)
    assert meter.peak() == pytest.approx(80 * MIB, abs=8 * MIB)
    assert meter.source == "rise of VmHWM of the process"
    assert kept.all()


ANALYSIS = {
    "argument_size_in_bytes": 100,
    "output_size_in_bytes": 40,
    "alias_size_in_bytes": 30,
    "temp_size_in_bytes": 500,
    "peak_memory_in_bytes": 123,
}


def test_the_peak_of_a_cpu_is_a_sum_with_the_temporaries():
    peak, parts = local.compute_compiled_peak("cpu", SimpleNamespace(**ANALYSIS))
    assert peak == 100 + 40 - 30 + 500
    assert parts == {
        "argument_bytes": 100,
        "output_bytes": 40,
        "alias_bytes": 30,
        "temp_bytes": 500,
        "host_temp_bytes": 0,
        "formula": "argument + output - alias + temp",
    }


@pytest.mark.parametrize("platform", ["gpu", "tpu"])
def test_peaks_of_accelerators_are_all_allocations_in_main_memory(platform):
    analysis = SimpleNamespace(**ANALYSIS, host_temp_size_in_bytes=9, total_allocation_bytes=456)
    peak, parts = local.compute_compiled_peak(platform, analysis)
    assert peak == 456
    assert parts["formula"] == "total_allocation_bytes"
    assert parts["host_temp_bytes"] == 9


@pytest.mark.parametrize(
    ("platform", "live", "peak", "formula"),
    [
        ("gpu", 123, 610, "argument + output - alias + temp"),
        ("tpu", 123, 123, "peak_memory_in_bytes"),
        ("tpu", 1234, 610, "argument + output - alias + temp"),  # with buffers in on-chip memory
    ],
)
def test_peaks_of_accelerators_before_jax_reports_the_total(platform, live, peak, formula):
    analysis = SimpleNamespace(**{**ANALYSIS, "peak_memory_in_bytes": live})
    found, parts = local.compute_compiled_peak(platform, analysis)
    assert (found, parts["formula"]) == (peak, formula)


def test_a_real_compiled_peak_counts_arguments_results_and_temporaries():
    """x (1 MiB) and sin x @ sin x need one temporary of 1 MiB and one result of 1 MiB."""
    x = jax.ShapeDtypeStruct((512, 512), "float32")
    compiled = jax.jit(lambda x: jax.numpy.sin(x) @ jax.numpy.sin(x)).lower(x).compile()
    peak, parts = local.compute_compiled_peak("cpu", compiled.memory_analysis())
    assert (parts["argument_bytes"], parts["output_bytes"], parts["alias_bytes"]) == (MIB, MIB, 0)
    assert parts["temp_bytes"] == pytest.approx(MIB, rel=0.01)
    assert peak == parts["temp_bytes"] + 2 * MIB


@pytest.mark.parametrize("dtype", ["float16", "float32", "bfloat16"])
def test_a_cpu_computes_in_float32_if_temporaries_are_as_large(dtype):
    """In two consecutive products, widened operands and results are temporaries that float32 has too."""

    def temporaries(dtype):
        x = jax.ShapeDtypeStruct((512, 512), dtype)
        step = jax.jit(lambda x: jax.numpy.tanh(x @ x) @ x).lower(x).compile()
        return step.memory_analysis().temp_size_in_bytes

    assert local.computes_in_float32(dtype) == (temporaries(dtype) >= temporaries("float32"))


def test_a_donated_argument_counts_once():
    x = jax.ShapeDtypeStruct((512, 512), "float32")
    compiled = jax.jit(lambda x: x + 1, donate_argnums=0).lower(x).compile()
    peak, parts = local.compute_compiled_peak("cpu", compiled.memory_analysis())
    assert parts["alias_bytes"] == MIB
    assert peak == pytest.approx(MIB, rel=0.01)


def test_the_local_target_is_the_one_that_jax_finds(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    found = local.load_local_target()
    assert (found.platform, found.description, found.options("faithful")) == ("tpu", None, {})
    assert found.place("shapes") == "shapes"


def test_only_the_cpu_of_older_versions_needs_options_to_compile_faithfully():
    undoes = Version(jax.__version__) < CPU_KEEPS_RECOMPUTATION
    expected = {"xla_disable_hlo_passes": "cse_barrier_expander"} if undoes else {}
    assert local.compiler_options("cpu", "faithful") == expected
    assert local.compiler_options("cpu", "default") == {}
    for platform in ("gpu", "tpu"):
        assert local.compiler_options(platform, "faithful") == local.compiler_options(platform, "default") == {}


OFFLOADS = ["offload_dot_with_no_batch_dims", "save_and_offload_only_these_names:query++key"]


def test_every_offload_policy_is_tried_here():
    assert {name.partition(":")[0] for name in OFFLOADS} == {name for name, p in POLICIES.items() if p.offloads}


@pytest.mark.parametrize("strategy", [*OFFLOADS, f"segments-2/{OFFLOADS[0]}"])
def test_offload_policies_are_skipped_on_a_cpu(strategy):
    with pytest.raises(stages.SkipJob) as skip:
        stages.refuse_offload(build_program(case("transformer", strategy)), "cpu")
    assert str(skip.value) == local.why_no_offload("cpu")


def test_offload_policies_are_accepted_on_accelerators():
    assert local.why_no_offload("tpu") is local.why_no_offload("gpu") is None
    stages.refuse_offload(build_program(case("mlp", OFFLOADS[0])), "gpu")
    trace = stages.trace_program(build_program(case("mlp", "save_and_offload_only_these_names:++linear", depth=2)))
    assert "pinned_host" in str(trace.gradient) or "<host>" in str(trace.gradient)
