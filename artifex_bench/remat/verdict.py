"""Verdicts and agreement: what a strategy really did, held against the same case without it. Pure; no JAX."""

from __future__ import annotations

import math
from typing import Any

from artifex_bench.core.case import RematCase, replace_fields
from artifex_bench.core.record import LARGEST, Agreement, Record, Verdict

# Relative to the reference, by dtype. Recomputation repeats the same operations, but a compiler may fuse and round
# them differently: float32 was seen within 4e-6, bfloat16 (8 bits of mantissa) within 1e-2.
TOLERANCES = {"float32": 1e-4, "bfloat16": 5e-2}
SMALLEST = (
    0.01  # of the norm of all gradients: a parameter's own norm counts for no less, for some are zero but for rounding
)
SAVED_SHARE = 0.01  # of the reference's activation bytes: less than this is no saving
KEPT_SHARE = 0.5  # of the recomputation: less than this left in the compiled program means the compiler undid it


def judge(record: Record, reference: Record | None) -> Record:
    """The record with its verdict and agreement; a mismatch with the reference makes it a failed record."""
    if (
        not isinstance(record.case, RematCase)
        or record.case.strategy == "none"
        or record.status in ("skipped", "failed")
    ):
        return record
    checked = agreement(record, reference)
    record = replace_fields(record, verdict=verdict(record, reference), agreement=checked)
    if checked is not None and checked.ok is False and record.status == "ok":
        return replace_fields(record, status="failed", reason=f"differs from strategy none: {checked.reason}")
    return record


def agreement(record: Record, reference: Record | None) -> Agreement | None:
    """Loss and gradients against the reference's, from the sketches that both processes took."""
    case: Any = record.case
    mine, theirs = record.get("gradient_sketch"), reference.get("gradient_sketch") if reference else None
    if mine is None or not mine.values:
        return None
    if reference is None or theirs is None or not theirs.values:
        why = reference.reason or reference.status if reference else "it was not measured"
        return Agreement(None, f"not compared: no gradients of strategy none ({why})")
    tolerance = TOLERANCES[case.dtype]
    loss, expected = mine.detail["loss"], theirs.detail["loss"]
    if set(mine.detail["leaves"]) != set(theirs.detail["leaves"]):
        return Agreement(False, "the parameters are not the same")
    counts = ({len(leaf["projections"]) for leaf in one.detail["leaves"].values()} for one in (mine, theirs))
    if len(set.union(*counts)) > 1:
        return Agreement(None, "not compared: the sketches of the gradients differ in their number of projections")
    loss_error = _relative(abs(loss - expected), abs(expected))
    least = SMALLEST * theirs.values[0]
    errors = {
        path: _relative(_distance(mine.detail["leaves"][path], leaf), max(leaf["norm"], least))
        for path, leaf in theirs.detail["leaves"].items()
    }
    worst = max(errors, key=lambda path: errors[path] if errors[path] == errors[path] else math.inf)
    error = errors[worst]
    ok = loss_error <= tolerance and error <= tolerance  # false for nan as well
    reason = (
        f"loss {loss:.6g} against {expected:.6g} (relative error {loss_error:.1e}); "
        f"gradients within {error:.1e} of their norm, the most at {worst}; tolerance {tolerance:g}"
    )
    return Agreement(ok, reason, _finite(loss_error), _finite(error), tolerance)


def _finite(value: float) -> float | None:
    """The value, or None where it is larger than a record may hold."""
    return value if value <= LARGEST else None


def _relative(distance: float, norm: float) -> float:
    if distance == 0:
        return 0.0
    return distance / norm if norm else math.inf


def _distance(mine: dict, theirs: dict) -> float:
    """The norm of the difference, estimated from random sign projections: E (r·d)^2 = |d|^2."""
    return math.dist(mine["projections"], theirs["projections"]) / math.sqrt(len(mine["projections"]))


def verdict(record: Record, reference: Record | None) -> Verdict | None:
    """`effective`, `no-op`, `undone` or `paid for nothing`, or None where the figures are not there.

    From three things: the recomputation and the residuals that autodiff planned (jaxpr), the bytes that the
    compiler planned, and the FLOPs that are left in what it compiled.
    """
    recomputed = _more(record, reference, "gradient_flops")
    saved = _more(record, reference, "residual_bytes")
    if reference is None or recomputed is None or saved is None:
        return None
    if recomputed <= 0 and saved >= -SAVED_SHARE * (reference.value("residual_bytes") or 0):
        return Verdict("no-op", "nothing is recomputed and the residuals are those of strategy none")
    peak, plain_peak = _activations(record), _activations(reference)
    if peak is None or plain_peak is None:
        return None
    share = (plain_peak - peak) / plain_peak if plain_peak > 0 else 0.0
    if share > SAVED_SHARE:
        return Verdict("effective", f"the compiled program needs {share:.0%} fewer activation bytes")
    kept = _kept_recomputation(record, reference)
    saving = "no fewer activation bytes" if share > -SAVED_SHARE else f"{-share:.0%} more activation bytes"
    if kept is not None and kept < KEPT_SHARE:
        return Verdict("undone", f"the compiler removed the recomputation ({kept:.0%} left) and needs {saving}")
    return Verdict("paid for nothing", f"the program recomputes and needs {saving}")


def _activations(record: Record | None) -> float | None:
    """Compiled peak less the arguments (parameters, optimizer, batch), which no strategy changes."""
    found = record.get("compiled_peak_bytes") if record else None
    arguments = found.detail.get("argument_bytes") if found else None
    return found.values[0] - arguments if found and found.values and arguments is not None else None


def _more(record: Record, reference: Record | None, probe: str) -> float | None:
    """What the record has more of than the reference."""
    mine, plain = record.value(probe), reference.value(probe) if reference else None
    return None if mine is None or plain is None else mine - plain


def _kept_recomputation(record: Record, reference: Record | None) -> float | None:
    """The share of the planned recomputation that is left in the compiled program.

    The compiler counts a loop's body once, so the plan is counted that way too; and what one device does, so the plan
    is taken as divided evenly among them.
    """
    kept = _more(record, reference, "compiled_flops")
    mine, plain = record.get("gradient_flops"), reference.get("gradient_flops") if reference else None
    if kept is None or mine is None or plain is None:
        return None
    once, plain_once = (one.detail.get("counting_loops_once") for one in (mine, plain))
    if once is None or plain_once is None:
        return None
    devices = record.case.devices if isinstance(record.case, RematCase) else 1
    planned = once - plain_once
    return max(0.0, kept * devices / planned) if planned > 0 else None
