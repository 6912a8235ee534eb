"""Verdicts and agreement, from fabricated records."""

from __future__ import annotations

import json

import msgspec
import pytest

from artifex_bench.core import record as records
from artifex_bench.core.record import Measurement, RecordError
from artifex_bench.core.verdicts import Verdict, VerdictName
from artifex_bench.remat.verdict import TOLERANCES, compare_gradients, decide_verdict, judge_record
from tests.build import case, measured, record, replaced, sketch

PLAIN = record("none", measurements=(*measured(), sketch()))


def other(*more, status="ok", **figures):
    return record("all", status=status, measurements=(*measured(**figures), *more))


@pytest.mark.parametrize(
    ("figures", "name", "saved_bytes", "kept_share"),
    [
        # the reference: 1000 bytes of residuals, 4000 of activations, 900 FLOPs compiled
        ({}, VerdictName.NO_OP, 0, None),
        ({"residual": 991}, VerdictName.NO_OP, 0, None),
        ({"recomputed": 300, "flops": 1200, "residual": 500, "peak": 3000}, VerdictName.EFFECTIVE, 2000, 1),
        ({"residual": 500, "peak": 3000}, VerdictName.EFFECTIVE, 2000, None),
        ({"recomputed": 300, "flops": 900, "residual": 500}, VerdictName.ELIMINATED, 0, 0),
        ({"recomputed": 300, "flops": 1000, "residual": 500, "peak": 7000}, VerdictName.ELIMINATED, -2000, 1 / 3),
        ({"recomputed": 300, "flops": 1200, "residual": 500}, VerdictName.NO_SAVING, 0, 1),
        ({"recomputed": 300, "flops": 1200, "residual": 500, "peak": 9000}, VerdictName.NO_SAVING, -4000, 1),
        # 0.75 % saved is no saving
        ({"recomputed": 300, "flops": 1200, "residual": 500, "peak": 4970}, VerdictName.NO_SAVING, 30, 1),
    ],
)
def test_verdicts(figures, name, saved_bytes, kept_share):
    verdict = decide_verdict(other(**figures), PLAIN)
    assert verdict == Verdict(
        name, "", figures.get("recomputed", 0), saved_bytes, saved_bytes / 4000, pytest.approx(kept_share)
    )
    assert f"{abs(verdict.saved_share):.0%}" in verdict.describe() or abs(saved_bytes) < 40


@pytest.mark.parametrize(("old", "name"), [("undone", "eliminated"), ("paid for nothing", "no-saving")])
def test_verdicts_of_older_records_keep_their_reason(old, name):
    stored = records.record_to_json(other())
    stored["verdict"] = {"name": old, "reason": "older words"}
    verdict = records.record_from_json(stored).verdict
    assert (verdict.name, verdict.describe()) == (VerdictName(name), "older words")


def test_agreements_of_older_records_keep_their_reason():
    stored = records.record_to_json(other())
    stored["agreement"] = {"ok": True, "reason": "older words", "loss_error": 1e-7, "gradient_error": 0, "tolerance": 1}
    agreement = records.record_from_json(stored).agreement
    assert (agreement.describe(), agreement.loss_error, agreement.worst_parameter) == ("older words", 1e-7, "")


def test_an_unknown_verdict_is_refused():
    stored = records.record_to_json(other())
    stored["verdict"] = {"name": "efective", "reason": ""}
    with pytest.raises(RecordError, match=r"efective.*effective"):
        records.record_from_json(stored)


@pytest.mark.parametrize("figures", [{}, {"recomputed": 300, "flops": 900, "peak": 7000}])
def test_a_verdict_can_be_read_again(figures):
    judged = judge_record(other(sketch(), **figures), PLAIN)
    again = records.record_from_json(json.loads(json.dumps(records.record_to_json(judged))))
    assert (again.verdict, again.agreement) == (judged.verdict, judged.agreement)


def test_over_a_mesh_the_compiler_counts_the_flops_of_one_device():
    """4 devices together recompute 300 FLOPs: 75 each."""
    fields = {"recomputed": 300, "flops": 900 + 75, "residual": 500}
    one, plain = (replaced(r, case=case(r.case.strategy, mesh="fsdp=4")) for r in (other(**fields), PLAIN))
    assert decide_verdict(one, plain).name == VerdictName.NO_SAVING
    assert decide_verdict(other(**fields), PLAIN).name == VerdictName.ELIMINATED


def without(found, *probes):
    return replaced(found, measurements=tuple(m for m in found.measurements if m.probe not in probes))


@pytest.mark.parametrize("probe", ["gradient_flops", "residual_bytes", "compiled_peak_bytes"])
def test_no_verdict_without_its_figures(probe):
    recomputing = other(recomputed=300, residual=500, peak=3000)
    assert decide_verdict(without(recomputing, probe), PLAIN) is None
    assert decide_verdict(recomputing, without(PLAIN, probe)) is None


def test_no_verdict_without_the_reference():
    assert decide_verdict(other(recomputed=300, residual=500, peak=3000), None) is None
    assert decide_verdict(other(), None) is None


def test_without_a_cost_analysis_nothing_is_called_eliminated():
    silent = without(other(recomputed=300, residual=500, flops=900), "compiled_flops")
    assert decide_verdict(silent, PLAIN).name == VerdictName.NO_SAVING


def test_equal_gradients_agree():
    found = compare_gradients(other(sketch()), PLAIN)
    assert (found.ok, found.loss_error, found.gradient_error, found.tolerance) == (True, 0.0, 0.0, 1e-4)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize(("share", "ok"), [(0.5, True), (-0.5, True), (2, False), (-2, False)])
def test_errors_are_compared_with_the_tolerance_of_the_dtype(dtype, share, ok):
    off = 1 + share * TOLERANCES[dtype]
    plain = record(case(dtype=dtype), measurements=(sketch(),))
    loss = record(case("all", dtype=dtype), measurements=(sketch(loss=1.5 * off),))
    gradient = record(case("all", dtype=dtype), measurements=(sketch(leaves={"up.kernel": (3 * off, -4 * off)}),))
    assert compare_gradients(loss, plain).ok is ok
    assert compare_gradients(gradient, plain).ok is ok
    assert compare_gradients(gradient, plain).gradient_error == pytest.approx(abs(share) * TOLERANCES[dtype])


def test_a_gradient_that_is_zero_except_for_rounding_is_compared_with_the_norm_of_all():
    plain = record("none", measurements=(sketch(leaves={"a": (1.0, 1.0), "b": (1e-9, 1e-9)}),))
    noisy = record("all", measurements=(sketch(leaves={"a": (1.0, 1.0), "b": (-1e-9, 3e-9)}),))
    wrong = record("all", measurements=(sketch(leaves={"a": (1.0, 1.0), "b": (0.1, 0.1)}),))
    assert compare_gradients(noisy, plain).ok is True
    assert compare_gradients(wrong, plain).ok is False
    assert compare_gradients(wrong, plain).worst_parameter == "b"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_never_agree(value):
    found = compare_gradients(other(sketch(loss=value)), PLAIN)
    assert (found.ok, found.loss_error) == (False, None)  # absent: JSON has no nan
    with pytest.raises(RecordError):  # as the norm of all gradients
        sketch(leaves={"up.kernel": (value, -4.0)})


def test_gradients_of_other_parameters_never_agree():
    found = compare_gradients(other(sketch(leaves={"down.kernel": (3.0, -4.0)})), PLAIN)
    assert (found.ok, found.loss_error, found.gradient_error) == (False, None, None)


def test_a_zero_reference_agrees_with_zero_alone():
    plain = record("none", measurements=(sketch(0.0, {"a": (0.0, 0.0)}),))
    assert compare_gradients(record("all", measurements=(sketch(0.0, {"a": (0.0, 0.0)}),)), plain).ok is True
    assert compare_gradients(record("all", measurements=(sketch(1e-9, {"a": (0.0, 0.0)}),)), plain).ok is False


def test_sketches_of_differing_projections_are_not_compared():
    found = judge_record(other(sketch(leaves={"up.kernel": (3.0, -4.0, 5.0)})), PLAIN)
    assert (found.status, found.agreement.ok) == ("ok", None)
    assert (found.agreement.gradient_error, found.agreement.describe() != "") == (None, True)


@pytest.mark.parametrize("value", [1e-40, 1e300])
def test_a_record_of_any_mismatch_can_be_read_again(value):
    """A relative error may be larger than a record may hold if the reference is almost zero."""
    plain = record("none", measurements=(sketch(1e-40, {"up.kernel": (1e-40, 1e-40)}),))
    gradient = Measurement(
        **{
            **msgspec.structs.asdict(sketch()),
            "detail": {"loss": 1.5, "leaves": {"up.kernel": {"norm": 5.0, "projections": (value, 3.0)}}},
        }
    )
    found = judge_record(record("all", measurements=(gradient,)), plain)
    assert (found.status, found.agreement.loss_error, found.agreement.gradient_error) == ("failed", None, None)
    assert records.record_from_json(json.loads(json.dumps(records.record_to_json(found)))).agreement == found.agreement


@pytest.mark.parametrize("probe", ["compiled_peak_bytes", "gradient_flops"])
@pytest.mark.parametrize("detail", [{}, {"argument_bytes": None}])
def test_no_verdict_without_the_details_of_its_figures(probe, detail):
    damaged = tuple(replaced(one, detail=detail) if one.probe == probe else one for one in PLAIN.measurements)
    found = decide_verdict(other(recomputed=300, residual=500), replaced(PLAIN, measurements=damaged))
    if probe == "compiled_peak_bytes":
        assert found is None
    else:
        assert (found.name, found.kept_share) == (VerdictName.NO_SAVING, None)


def test_an_agreement_without_a_reference_has_the_reason():
    assert compare_gradients(other(), PLAIN) is None
    for reference, why in (
        (None, "it was not measured"),
        (record("none", "oom"), "it was oom"),
        (record("none", "timeout", reason=""), "timeout"),
    ):
        found = compare_gradients(other(sketch()), reference)
        assert found.ok is None and why in found.describe()


def test_a_mismatch_is_a_failed_case_that_keeps_its_numbers():
    mine = other(sketch(loss=2.0), recomputed=300, residual=500, peak=3000)
    found = judge_record(mine, PLAIN)
    assert found.status == "failed"
    assert found.agreement.loss_error == pytest.approx(1 / 3)
    assert found.reason.endswith(found.agreement.describe())
    assert found.measurements == mine.measurements
    assert found.verdict.name == "effective"


def test_agreement_leaves_an_ok_record_ok():
    found = judge_record(other(sketch(), recomputed=300, residual=500, peak=3000), PLAIN)
    assert (found.status, found.reason, found.agreement.ok, found.verdict.name) == ("ok", "", True, "effective")


@pytest.mark.parametrize("status", ["skipped", "failed"])
def test_a_case_that_did_not_run_is_not_judged(status):
    assert judge_record(other(sketch(), status=status), PLAIN) == other(sketch(), status=status)


def test_the_reference_is_not_judged():
    assert judge_record(PLAIN, None) == PLAIN


@pytest.mark.parametrize("status", ["oom", "timeout"])
def test_a_case_that_ended_early_is_judged_by_its_measurements(status):
    found = judge_record(other(status=status, recomputed=300, residual=500, peak=3000), PLAIN)
    assert (found.status, found.verdict.name) == (status, "effective")


def test_absent_gradients_are_not_compared():
    note = Measurement("gradient_sketch", "norm", note="compile only")
    assert compare_gradients(other(note), PLAIN) is None
