"""The stages of a job: which numbers are taken when, and why others are not."""

from __future__ import annotations

import math

import pytest

from artifex_bench.compat import faithful_options
from artifex_bench.core.job import Job
from artifex_bench.core.versions import has_remat3
from artifex_bench.remat.measure import stages
from artifex_bench.remat.measure.probes import PROBES
from artifex_bench.targets import Target, load_descriptions, local
from tests.programs import case

TRACED, COMPILED, ESTIMATED, RAN, FORWARD = (
    [name for name, probe in PROBES.items() if probe.stage == stage]
    for stage in ("traced", "compiled", "estimated", "ran", "forward")
)


def measured(strategy="none", **job):
    found = list(stages.measure(Job(case("mlp", strategy), **job)))
    return [m.probe for m in found], {m.probe: m for m in found}


def test_the_first_round_of_a_reference_takes_every_number():
    order, found = measured(steps=3)
    assert order == [*TRACED, *COMPILED, *RAN, *FORWARD]
    assert all(m.values for m in found.values()), [m.probe for m in found.values() if not m.values]
    assert len(found["step_seconds"].values) == len(found["forward_seconds"].values) == 3
    assert len(found["first_step_seconds"].values) == 1
    assert found["measured_peak_bytes"].source == "rise of VmHWM of the process"
    assert set(found["gradient_sketch"].detail) == {"loss", "leaves"}


def test_a_strategy_shares_the_forward_pass_of_its_reference():
    assert measured("all", steps=1)[0] == [*TRACED, *COMPILED, *RAN]


def test_a_loss_that_is_not_finite_is_an_error():
    class Diverged:
        def read_gradients(self, result):
            return result, {}

    with pytest.raises(ValueError, match=r"loss .* inf"):
        stages._sketch_result(Diverged(), math.inf)


def test_later_rounds_repeat_the_timing_alone():
    order, found = measured(steps=2, round=1)
    assert order == [*COMPILED, *RAN]
    assert len(found["step_seconds"].values) == 2
    assert not found["gradient_sketch"].values and found["gradient_sketch"].note


def test_without_steps_nothing_is_run():
    order, found = measured(steps=0)
    assert order == [*TRACED, *COMPILED, *RAN]
    assert all(not found[name].values and found[name].note for name in RAN)


@pytest.fixture
def aot_target(monkeypatch, tmp_path):
    """Replace the local target by an AOT target whose compiler takes these options."""

    def replace_target(options, needed=None):
        h100 = load_descriptions()["gpu:h100"]
        found = Target("cpu", lambda compiler: options, description=h100)
        monkeypatch.setattr(stages.targets, "load_target", lambda name: found)
        monkeypatch.setattr(local, "parse_needed_bytes", lambda error: needed)
        monkeypatch.setenv("ARTIFEX_BENCH_CACHE", str(tmp_path))

    return replace_target


def test_on_an_aot_target_the_step_is_compiled_and_not_run(aot_target):
    aot_target(local.compiler_options("cpu", "faithful"))
    order, found = measured(steps=3)
    assert order == [*TRACED, *COMPILED, *ESTIMATED, *RAN]
    assert found["capacity_bytes"].values == (load_descriptions()["gpu:h100"].capacity_bytes,)
    assert found["estimated_step_seconds"].values[0] > 0
    assert all(not found[name].values and "AOT target" in found[name].note for name in RAN)


def test_a_program_that_its_compiler_refuses_for_memory_has_the_peak_that_it_asked_for(aot_target):
    capacity = load_descriptions()["gpu:h100"].capacity_bytes
    aot_target({"xla_no_such_option": True}, needed=2 * capacity)
    _, found = measured()
    peak = found["compiled_peak_bytes"]
    assert (peak.values, peak.detail["formula"]) == ((2 * capacity,), "the compiler's out-of-memory error")
    assert peak.detail["argument_bytes"] > found["parameter_bytes"].values[0] + found["optimizer_bytes"].values[0]
    assert not found["compiled_flops"].values


def test_a_refused_program_never_fits_however_its_need_is_rounded(aot_target):
    capacity = load_descriptions()["gpu:h100"].capacity_bytes
    aot_target({"xla_no_such_option": True}, needed=capacity)
    _, found = measured()
    assert found["compiled_peak_bytes"].values == (capacity + 1,)


def test_the_same_program_is_compiled_once(aot_target):
    aot_target(local.compiler_options("cpu", "faithful"))
    _, first = measured()
    _, again = measured()
    assert first["compile_seconds"].values and not again["compile_seconds"].values
    for name in ("compiled_peak_bytes", "compiled_flops"):
        assert again[name] == first[name]


def test_other_errors_of_a_compiler_are_raised(aot_target):
    aot_target({"xla_no_such_option": True})
    with pytest.raises(stages.jax.errors.JaxRuntimeError, match="xla_no_such_option"):
        measured()


def test_bytes_and_operations_are_those_of_the_program():
    _, found = measured(steps=0)
    one = case("mlp")
    parameters = 4 * one.depth * (one.width * one.width + one.width)
    assert found["parameter_bytes"].values == (parameters,)
    assert found["optimizer_bytes"].values == (2 * parameters + 4,)  # two moments and a count
    products = one.depth * 3 - 1  # forward, and two backward; the first layer's input needs no gradient
    assert found["gradient_flops"].values[0] == pytest.approx(products * 2 * one.batch * one.width**2, rel=0.5)
    assert found["compiled_peak_bytes"].detail["formula"] == "argument + output - alias + temp"
    assert found["compiled_peak_bytes"].detail["options"] == faithful_options("cpu")


@pytest.mark.skipif(not has_remat3(), reason="needs jax 0.12 or later")
@pytest.mark.parametrize(("remat3", "recomputes"), [("off", False), ("on", True)])
def test_a_case_is_measured_under_its_own_remat_implementation(remat3, recomputes, choose_remat3):
    """With the new implementation this policy saves products and named values, with the older one every value."""
    policy = "save_anything_except_these_names:scores"
    small = {"depth": 2, "sequence": 8, "heads": 2, "remat3": remat3}
    kept, none = (
        {m.probe: m for m in stages.measure(Job(case("transformer", strategy, **small), steps=0))}
        for strategy in (policy, "none")
    )
    saved, plain = kept["residual_bytes"].values[0], none["residual_bytes"].values[0]
    assert (saved < plain) == recomputes
    assert (kept["gradient_flops"].values[0] > none["gradient_flops"].values[0]) == recomputes
