"""The verdict on a strategy and the agreement of its gradients, from its record and that of `none`. Imports no JAX."""

from __future__ import annotations

import math

from artifex_bench.core.case import RematCase, replace_fields
from artifex_bench.core.fields import LARGEST
from artifex_bench.core.record import Record
from artifex_bench.core.verdicts import Agreement, Verdict, VerdictName

# Largest relative error by dtype. Recomputation repeats the same operations, but a compiler may fuse and round them
# differently: errors were up to 4e-6 in float32 and up to 1e-2 in bfloat16 (8 bits of mantissa).
TOLERANCES = {"float32": 1e-4, "bfloat16": 5e-2}
# Some parameters have gradients that are zero except for rounding. Errors are therefore relative to the parameter's
# norm or to this share of the norm of all gradients, whichever is larger.
SMALLEST_NORM_SHARE = 0.01
SAVED_SHARE = 0.01  # of the activation bytes of `none`: a smaller saving does not count
KEPT_SHARE = 0.5  # of the recomputation: if less than this is compiled, the compiler eliminated it


def judge_record(record: Record, reference: Record | None) -> Record:
    """Add the verdict and the agreement to a strategy's record.

    Args:
        record: Record of one case and round.
        reference: Record of the same case and round with strategy `none`, if there is one.

    Returns:
        The record with both. It has status `failed` if loss or gradients differ from the reference. Records of
        strategy `none`, of other kinds of cases, and of failed or skipped cases are returned as they are.
    """
    if (
        not isinstance(record.case, RematCase)
        or record.case.strategy == "none"
        or record.status in ("skipped", "failed")
    ):
        return record
    agreement = compare_gradients(record, reference)
    record = replace_fields(record, verdict=decide_verdict(record, reference), agreement=agreement)
    if agreement is not None and agreement.ok is False and record.status == "ok":
        return replace_fields(record, status="failed", reason=f"differs from strategy none: {agreement.describe()}")
    return record


def compare_gradients(record: Record, reference: Record | None) -> Agreement | None:
    """Compare loss and gradients with the reference's, from the sketches that both processes took.

    Args:
        record: Record of one remat case.
        reference: Record of the same case with strategy `none`, if there is one.

    Returns:
        The errors and whether they are within the tolerance of the dtype. None if the record has no sketch.
    """
    mine, theirs = record.get("gradient_sketch"), reference.get("gradient_sketch") if reference else None
    if mine is None or not mine.values:
        return None
    if reference is None or theirs is None or not theirs.values:
        why = reference.reason or reference.status if reference else "it was not measured"
        return Agreement(None, f"not compared: no gradients of strategy none ({why})")
    assert isinstance(record.case, RematCase)
    tolerance = TOLERANCES[record.case.dtype]
    loss, expected = mine.detail["loss"], theirs.detail["loss"]
    if set(mine.detail["leaves"]) != set(theirs.detail["leaves"]):
        return Agreement(False, "the parameters have other names than those of strategy none")
    counts = ({len(leaf["projections"]) for leaf in taken.detail["leaves"].values()} for taken in (mine, theirs))
    if len(set.union(*counts)) > 1:
        return Agreement(None, "not compared: the gradient sketches have different numbers of projections")
    loss_error = _relative_error(abs(loss - expected), abs(expected))
    smallest_norm = SMALLEST_NORM_SHARE * theirs.values[0]
    errors = {
        path: _relative_error(_distance(mine.detail["leaves"][path], leaf), max(leaf["norm"], smallest_norm))
        for path, leaf in theirs.detail["leaves"].items()
    }
    worst = max(errors, key=lambda path: errors[path] if errors[path] == errors[path] else math.inf)
    ok = loss_error <= tolerance and errors[worst] <= tolerance  # false for nan as well
    return Agreement(ok, "", _storable(loss_error), _storable(errors[worst]), tolerance, worst)


def _storable(value: float | None) -> float | None:
    """Return the value, or None where it is nan or larger than a record may hold."""
    return value if value is not None and abs(value) <= LARGEST else None


def _relative_error(distance: float, norm: float) -> float:
    if distance == 0:
        return 0.0
    return distance / norm if norm else math.inf


def _distance(mine: dict, theirs: dict) -> float:
    """Estimate the norm of the difference from random sign projections r: E (r·d)^2 = |d|^2 (Achlioptas 2003)."""
    return math.dist(mine["projections"], theirs["projections"]) / math.sqrt(len(mine["projections"]))


def decide_verdict(record: Record, reference: Record | None) -> Verdict | None:
    """Decide what the strategy did, from the traced and the compiled program.

    The trace gives the FLOPs and the residuals that autodiff plans. The compiled program gives the activation bytes
    and the FLOPs that are left in it.

    Args:
        record: Record of one remat case.
        reference: Record of the same case with strategy `none`, if there is one.

    Returns:
        The verdict, or None where a figure that it needs was not taken.
    """
    recomputed = _difference(record, reference, "gradient_flops")
    residuals = _difference(record, reference, "residual_bytes")
    if reference is None or recomputed is None or residuals is None:
        return None
    activations, plain_activations = _activation_bytes(record), _activation_bytes(reference)
    saved = share = None
    if activations is not None and plain_activations is not None:
        saved = plain_activations - activations
        share = saved / plain_activations if plain_activations > 0 else 0.0
    kept = _kept_share(record, reference)
    if recomputed <= 0 and residuals >= -SAVED_SHARE * (reference.value("residual_bytes") or 0):
        name = VerdictName.NO_OP
    elif share is None:
        return None
    elif share > SAVED_SHARE:
        name = VerdictName.EFFECTIVE
    elif kept is not None and kept < KEPT_SHARE:
        name = VerdictName.ELIMINATED
    else:
        name = VerdictName.NO_SAVING
    return Verdict(name, "", *map(_storable, (recomputed, saved, share, kept)))


def _activation_bytes(record: Record) -> float | None:
    """Return the compiled peak less the arguments (parameters, optimizer, batch), which no strategy changes."""
    peak = record.get("compiled_peak_bytes")
    arguments = peak.detail.get("argument_bytes") if peak else None
    return peak.values[0] - arguments if peak and peak.values and arguments is not None else None


def _difference(record: Record, reference: Record | None, probe: str) -> float | None:
    """Return the probe's value in the record less that in the reference."""
    mine, plain = record.value(probe), reference.value(probe) if reference else None
    return None if mine is None or plain is None else mine - plain


def _kept_share(record: Record, reference: Record) -> float | None:
    """Return the share of the planned recomputation that is left in the compiled program.

    The compiler counts a loop's body once, so the planned FLOPs are counted that way too. It also counts the FLOPs of
    one device, so the planned FLOPs are taken as divided evenly among the devices.
    """
    kept = _difference(record, reference, "compiled_flops")
    mine, plain = record.get("gradient_flops"), reference.get("gradient_flops")
    if kept is None or mine is None or plain is None:
        return None
    once, plain_once = (taken.detail.get("counting_loops_once") for taken in (mine, plain))
    if once is None or plain_once is None:
        return None
    devices = record.case.devices if isinstance(record.case, RematCase) else 1
    planned = once - plain_once
    return max(0.0, kept * devices / planned) if planned > 0 else None
