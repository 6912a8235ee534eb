"""Verdicts and agreement, from fabricated records."""

from __future__ import annotations

import dataclasses
import json

import pytest

from artifex_bench.core.record import Measurement, RecordError, Verdict
from artifex_bench.remat.verdict import TOLERANCES, agreement, judge, verdict
from tests.build import case, measured, record, sketch

PLAIN = record("none", measurements=(*measured(), sketch()))
PAID = "the program recomputes and needs no fewer activation bytes"


def other(*more, status="ok", **figures):
    return record("all", status=status, measurements=(*measured(**figures), *more))


@pytest.mark.parametrize(
    ("figures", "name", "reason"),
    [
        # the reference: 1000 bytes of residuals, 4000 of activations, 900 FLOPs compiled
        ({}, "no-op", "nothing is recomputed and the residuals are those of strategy none"),
        ({"residual": 991}, "no-op", "nothing is recomputed and the residuals are those of strategy none"),
        (
            {"recomputed": 300, "flops": 1200, "residual": 500, "peak": 3000},
            "effective",
            "the compiled program needs 50% fewer activation bytes",
        ),
        ({"residual": 500, "peak": 3000}, "effective", "the compiled program needs 50% fewer activation bytes"),
        (
            {"recomputed": 300, "flops": 900, "residual": 500},
            "undone",
            "the compiler removed the recomputation (0% left) and needs no fewer activation bytes",
        ),
        (
            {"recomputed": 300, "flops": 1000, "residual": 500, "peak": 7000},
            "undone",
            "the compiler removed the recomputation (33% left) and needs 50% more activation bytes",
        ),
        (
            {"recomputed": 300, "flops": 1200, "residual": 500},
            "paid for nothing",
            PAID,
        ),
        (
            {"recomputed": 300, "flops": 1200, "residual": 500, "peak": 9000},
            "paid for nothing",
            "the program recomputes and needs 100% more activation bytes",
        ),
        (
            {"recomputed": 300, "flops": 1200, "residual": 500, "peak": 4970},  # 0.75 % saved is no saving
            "paid for nothing",
            PAID,
        ),
    ],
)
def test_verdicts(figures, name, reason):
    assert verdict(other(**figures), PLAIN) == Verdict(name, reason)


def test_over_a_mesh_the_compiler_counts_what_one_device_does():
    """300 FLOPs are computed again by 4 devices together: 75 each."""
    fields = {"recomputed": 300, "flops": 900 + 75, "residual": 500}
    one, plain = (dataclasses.replace(r, case=case(r.case.strategy, mesh="fsdp=4")) for r in (other(**fields), PLAIN))
    assert verdict(one, plain).name == "paid for nothing"
    assert verdict(other(**fields), PLAIN).name == "undone"


def without(found, *probes):
    return dataclasses.replace(found, measurements=tuple(m for m in found.measurements if m.probe not in probes))


@pytest.mark.parametrize("probe", ["gradient_flops", "residual_bytes", "compiled_peak_bytes"])
def test_no_verdict_without_its_figures(probe):
    recomputing = other(recomputed=300, residual=500, peak=3000)
    assert verdict(without(recomputing, probe), PLAIN) is None
    assert verdict(recomputing, without(PLAIN, probe)) is None


def test_no_verdict_without_the_reference():
    assert verdict(other(recomputed=300, residual=500, peak=3000), None) is None
    assert verdict(other(), None) is None


def test_without_a_cost_analysis_nothing_is_called_undone():
    silent = without(other(recomputed=300, residual=500, flops=900), "compiled_flops")
    assert verdict(silent, PLAIN).name == "paid for nothing"


def test_equal_gradients_agree():
    found = agreement(other(sketch()), PLAIN)
    assert (found.ok, found.loss_error, found.gradient_error, found.tolerance) == (True, 0.0, 0.0, 1e-4)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize(("share", "ok"), [(0.5, True), (-0.5, True), (2, False), (-2, False)])
def test_errors_are_held_against_the_tolerance_of_the_dtype(dtype, share, ok):
    off = 1 + share * TOLERANCES[dtype]
    plain = record(case(dtype=dtype), measurements=(sketch(),))
    loss = record(case("all", dtype=dtype), measurements=(sketch(loss=1.5 * off),))
    gradient = record(case("all", dtype=dtype), measurements=(sketch(leaves={"up.kernel": (3 * off, -4 * off)}),))
    assert agreement(loss, plain).ok is ok
    assert agreement(gradient, plain).ok is ok
    assert agreement(gradient, plain).gradient_error == pytest.approx(abs(share) * TOLERANCES[dtype])


def test_a_parameter_whose_gradient_is_zero_but_for_rounding_is_held_against_the_whole():
    plain = record("none", measurements=(sketch(leaves={"a": (1.0, 1.0), "b": (1e-9, 1e-9)}),))
    noisy = record("all", measurements=(sketch(leaves={"a": (1.0, 1.0), "b": (-1e-9, 3e-9)}),))
    wrong = record("all", measurements=(sketch(leaves={"a": (1.0, 1.0), "b": (0.1, 0.1)}),))
    assert agreement(noisy, plain).ok is True
    assert agreement(wrong, plain).ok is False
    assert "the most at b" in agreement(wrong, plain).reason


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_no_numbers_never_agree(value):
    found = agreement(other(sketch(loss=value)), PLAIN)
    assert (found.ok, found.loss_error) == (False, None)  # absent: JSON has no nan
    with pytest.raises(RecordError):  # as the norm of all gradients
        sketch(leaves={"up.kernel": (value, -4.0)})


def test_other_parameters_never_agree():
    found = agreement(other(sketch(leaves={"down.kernel": (3.0, -4.0)})), PLAIN)
    assert (found.ok, found.reason) == (False, "the parameters are not the same")


def test_a_zero_reference_agrees_with_zero_alone():
    plain = record("none", measurements=(sketch(0.0, {"a": (0.0, 0.0)}),))
    assert agreement(record("all", measurements=(sketch(0.0, {"a": (0.0, 0.0)}),)), plain).ok is True
    assert agreement(record("all", measurements=(sketch(1e-9, {"a": (0.0, 0.0)}),)), plain).ok is False


def test_sketches_of_differing_projections_are_not_compared():
    found = judge(other(sketch(leaves={"up.kernel": (3.0, -4.0, 5.0)})), PLAIN)
    assert (found.status, found.agreement.ok) == ("ok", None)
    assert found.agreement.reason.endswith("differ in their number of projections")


@pytest.mark.parametrize("value", [1e-40, 1e300])
def test_a_record_of_any_mismatch_can_be_read_again(value):
    """Errors are relative, and more than a record may hold where the reference is next to nothing."""
    plain = record("none", measurements=(sketch(1e-40, {"up.kernel": (1e-40, 1e-40)}),))
    gradient = Measurement(
        **{
            **vars(sketch()),
            "detail": {"loss": 1.5, "leaves": {"up.kernel": {"norm": 5.0, "projections": (value, 3.0)}}},
        }
    )
    found = judge(record("all", measurements=(gradient,)), plain)
    assert (found.status, found.agreement.loss_error, found.agreement.gradient_error) == ("failed", None, None)
    assert record_from_json(json.loads(json.dumps(record_to_json(found)))).agreement == found.agreement


@pytest.mark.parametrize("probe", ["compiled_peak_bytes", "gradient_flops"])
@pytest.mark.parametrize("detail", [{}, {"argument_bytes": None}])
def test_no_verdict_without_the_details_of_its_figures(probe, detail):
    damaged = tuple(
        dataclasses.replace(one, detail=detail) if one.probe == probe else one for one in PLAIN.measurements
    )
    found = verdict(other(recomputed=300, residual=500), dataclasses.replace(PLAIN, measurements=damaged))
    assert found == (None if probe == "compiled_peak_bytes" else Verdict("paid for nothing", PAID))


def test_what_was_not_compared_says_why():
    assert agreement(other(), PLAIN) is None
    for reference, why in (
        (None, "it was not measured"),
        (record("none", "oom"), "it was oom"),
        (record("none", "timeout", reason=""), "timeout"),
    ):
        found = agreement(other(sketch()), reference)
        assert (found.ok, found.reason) == (None, f"not compared: no gradients of strategy none ({why})")


def test_a_mismatch_is_a_failed_case_that_keeps_its_numbers():
    mine = other(sketch(loss=2.0), recomputed=300, residual=500, peak=3000)
    found = judge(mine, PLAIN)
    assert found.status == "failed"
    assert found.reason.startswith("differs from strategy none: loss 2 against 1.5 (relative error 3.3e-01)")
    assert found.measurements == mine.measurements
    assert found.verdict.name == "effective"


def test_agreement_leaves_an_ok_record_ok():
    found = judge(other(sketch(), recomputed=300, residual=500, peak=3000), PLAIN)
    assert (found.status, found.reason, found.agreement.ok, found.verdict.name) == ("ok", "", True, "effective")


@pytest.mark.parametrize("status", ["skipped", "failed"])
def test_what_did_not_run_is_not_judged(status):
    assert judge(other(sketch(), status=status), PLAIN) == other(sketch(), status=status)


def test_the_reference_is_not_judged():
    assert judge(PLAIN, None) == PLAIN


@pytest.mark.parametrize("status", ["oom", "timeout"])
def test_what_was_measured_before_the_end_is_judged(status):
    found = judge(other(status=status, recomputed=300, residual=500, peak=3000), PLAIN)
    assert (found.status, found.verdict.name) == (status, "effective")


def test_absent_gradients_are_not_compared():
    note = Measurement("gradient_sketch", "norm", note="compile only")
    assert agreement(other(note), PLAIN) is None
