"""Records: what came of a case. Raw values and their sources; statistics are derived elsewhere. No JAX."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any

from artifex_bench.core import case as cases
from artifex_bench.core.case import Case
from artifex_bench.core.convert import Within, choices, convert, shown

SCHEMA = 1
STATUSES = ("ok", "oom", "timeout", "failed", "skipped")
# Published training steps, as a multiple of what the roofline estimates of them: Llama 3 8B on an H100 2.46 to 1.88 s,
# MaxText 16B on v5e 10.3 to 9.50 s and 32B on v5p 8.5 to 6.63 s; all published tables that were compared lie within.
STEP_OVER_ESTIMATE = (1.1, 1.5)
REAL_STEPS = "x{}-{}".format(*STEP_OVER_ESTIMATE)
PUBLISHED_STEPS = "published steps took {} to {} times their estimate".format(*STEP_OVER_ESTIMATE)
OWN = ("plan", "mixture")  # what meets a budget is called so where it is the program of no strategy by hand
LARGEST = 1e30  # of any number: no step, state or device comes near, and sums of such numbers stay finite
MOST_TRIALS = 10**9  # in whole numbers: Fisher's test counts in 64 bits
# Differences may be less than zero, and so was XLA's count of FLOPs where it knew none. All others are 0 or more.
SIGNED = ("lost_seconds", "peak_buffers", "compiled_flops")
Amount = Annotated[float, Within(0, LARGEST)]


@dataclass(frozen=True)
class Leaf:
    """What a gradient's sketch says of one parameter."""

    norm: Amount
    projections: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.projections:
            raise RecordError("projections (): must be one number or more")


# What is read of an environment, and of the details of a measurement, where JSON could say anything: a type, the
# keys of an object that needs them all, or a list with the keys of each of its objects.
ENVIRONMENT: dict[str, Any] = {
    "versions": Mapping[str, str | None],
    "flags": Mapping[str, str],
    "device": str,
    "memory_bytes": Amount,
}
DETAILS: dict[str, dict[str, Any]] = {
    "budget_bytes": {"plan": str | None},
    "parameter_bytes": {"dtypes": tuple[str, ...]},
    "gradient_flops": {"counting_loops_once": Amount},
    "compiled_peak_bytes": {
        "computed_in": str,
        **dict.fromkeys(("argument_bytes", "output_bytes", "temp_bytes", "host_temp_bytes"), Amount | None),
    },
    "gradient_sketch": {"loss": float, "leaves": Mapping[str, Leaf]},
    "live_bytes": {
        "moment": int,
        "throughout_bytes": Amount,
        "peak_bytes": Amount,
        "at": dict.fromkeys(("phase", "scope", "operation", "source"), str),
        "phases": tuple[str, ...],
    },
    "peak_buffers": {
        "rows": [{"bytes": float, **dict.fromkeys(("scope", "operation", "phase", "shape", "source"), str)}]
    },
    "saved_residuals": {
        "rows": [
            {"bytes": Amount, "name": str | None}
            | dict.fromkeys(("scope", "operation", "shape", "dtype", "source"), str)
        ]
    },
}
NEEDED = ("gradient_sketch", "live_bytes")  # whose details are no less than their values


class RecordError(ValueError):
    """A stored record that this version cannot read."""


class SchemaError(RecordError):
    """A stored record of a version with other records."""


@dataclass(frozen=True)
class Measurement:
    """One number as it was taken: raw `values` in `unit` from `source`, or none and a `note` that says why."""

    probe: str
    unit: str
    values: tuple[float, ...] = ()
    source: str = ""
    note: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(self.values))
        if not self.values and not self.note:
            raise RecordError(f"measurement {self.probe!r} has neither values nor a note saying why")
        counted = self.probe.endswith("_trials")
        least, most = -LARGEST if self.probe in SIGNED else 0, MOST_TRIALS if counted else LARGEST
        for value in self.values:
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number or not least <= value <= most or (counted and value % 1):
                rule = f"a {'whole ' if counted else ''}number from {least:g} to {most:g}"
                raise RecordError(f"measurement {shown(self.probe)} has the value {shown(value)}: must be {rule}")


class VerdictName(StrEnum):
    """What a strategy did to a program, compared with strategy `none`."""

    EFFECTIVE = "effective"  # the compiled program needs fewer activation bytes
    NO_OP = "no-op"  # nothing is recomputed, and the residuals are those of `none`
    ELIMINATED = "eliminated"  # the compiler removed the recomputation
    NO_SAVING = "no-saving"  # the program recomputes and needs no fewer activation bytes

    @classmethod
    def _missing_(cls, value: object) -> VerdictName | None:
        """Return the present name of a verdict that older records call otherwise."""
        return {"undone": cls.ELIMINATED, "paid for nothing": cls.NO_SAVING}.get(str(value))


@dataclass(frozen=True)
class Verdict:
    """What a strategy did to a program, with the figures that show it.

    Activation bytes are the compiled peak less the arguments. A figure is None where one of its sources was not taken.

    Attributes:
        name: A `VerdictName`, or its value; the names of older records are converted.
        reason: The figures in words, in records older than the fields below. Empty in later ones.
        recomputed_flops: FLOPs of the traced gradient beyond those of strategy `none`.
        saved_bytes: Activation bytes of `none` less those of the strategy; negative where the strategy needs more.
        saved_share: `saved_bytes` as a share of the activation bytes of `none`.
        kept_share: Share of the recomputation that the compiled program still contains.
    """

    name: str
    reason: str = ""
    recomputed_flops: Annotated[float, Within(-LARGEST, LARGEST)] | None = None
    saved_bytes: Annotated[float, Within(-LARGEST, LARGEST)] | None = None
    saved_share: Annotated[float, Within(-LARGEST, LARGEST)] | None = None
    kept_share: Amount | None = None

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "name", VerdictName(self.name))
        except ValueError:
            raise RecordError(f"verdict {shown(self.name)}: {choices(self.name, list(VerdictName))}") from None

    def describe(self) -> str:
        """Return the figures in words, for tables and messages."""
        if self.reason:
            return self.reason
        share = self.saved_share or 0.0
        needs = "no fewer activation bytes" if share > -0.005 else f"{-share:.0%} more activation bytes"
        kept = "" if self.kept_share is None else f" ({self.kept_share:.0%} left)"
        return {
            VerdictName.EFFECTIVE: f"the compiled program needs {share:.0%} fewer activation bytes",
            VerdictName.NO_OP: "nothing is recomputed and the residuals are those of strategy none",
            VerdictName.ELIMINATED: f"the compiler removed the recomputation{kept} and the program needs {needs}",
            VerdictName.NO_SAVING: f"the program recomputes and needs {needs}",
        }[VerdictName(self.name)]


@dataclass(frozen=True)
class Agreement:
    """Loss and gradients of a strategy compared with those of strategy `none`.

    Attributes:
        ok: Whether both errors are within the tolerance; None where there was nothing to compare with.
        reason: Why there are no errors; in older records also the errors in words.
        loss_error: Relative error of the loss; None where it was not computed or is not finite.
        gradient_error: Largest error of a parameter's gradient, relative to its norm; None likewise.
        tolerance: Largest error allowed for the case's dtype.
        worst_parameter: Name of the parameter with the largest error.
    """

    ok: bool | None
    reason: str = ""
    loss_error: Amount | None = None
    gradient_error: Amount | None = None
    tolerance: Amount | None = None
    worst_parameter: str = ""

    def describe(self) -> str:
        """Return the errors in words, or why there are none, for tables and messages."""
        if self.reason or self.tolerance is None:
            return self.reason
        loss, gradient = (
            "not finite" if error is None else f"{error:.1e}" for error in (self.loss_error, self.gradient_error)
        )
        return (
            f"relative error of the loss {loss}, of the gradients {gradient} (largest in {self.worst_parameter}); "
            f"tolerance {self.tolerance:g}"
        )


@dataclass(frozen=True)
class Record:
    """One job to one case, in one fresh process."""

    case: Case
    round: Annotated[int, Within(0, 2**31)]
    status: str
    reason: str = ""
    measurements: tuple[Measurement, ...] = ()
    verdict: Verdict | None = None
    agreement: Agreement | None = None
    environment: Mapping[str, Any] = field(default_factory=dict)
    started_at: str = ""
    wall_seconds: Amount | None = None
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        cases.check_choice("status", self.status, STATUSES)

    def get(self, probe: str) -> Measurement | None:
        """The measurement of that probe, or None."""
        return next((m for m in self.measurements if m.probe == probe), None)

    def value(self, probe: str) -> float | None:
        """The first raw value of that probe, or None where it was not taken."""
        found = self.get(probe)
        return found.values[0] if found is not None and found.values else None

    @property
    def needed_peak(self) -> float | None:
        """Bytes that must fit: the larger peak, whichever kernels a GPU will choose. None where none was compiled."""
        peaks = map(self.value, ("compiled_peak_bytes", "cublas_peak_bytes"))
        return max((peak for peak in peaks if peak is not None), default=None)

    @property
    def key(self) -> tuple[str, int]:
        """What makes a record one of its kind: the case's id and the round."""
        return cases.case_id(self.case), self.round


def to_json(record: Record) -> dict[str, Any]:
    """The record as plain JSON values."""
    data = dataclasses.asdict(record)
    data["case"] = cases.to_json(record.case)
    return data


def from_json(data: Any) -> Record:
    """The record that `to_json` wrote. Raises SchemaError, or RecordError for a damaged record: one line with the
    field, its value and the rule.
    """
    if not isinstance(data, Mapping):
        raise RecordError(f"damaged record: {shown(data)}: must be an object")
    found = data.get("schema")
    if found != SCHEMA or isinstance(found, bool):
        raise SchemaError(f"record has schema {shown(found)}: this version reads schema {SCHEMA}")
    try:
        record: Record = convert(data, Record)
        _check(record.environment, ENVIRONMENT, "environment")
        for number, one in enumerate(record.measurements):
            needed = one.probe in NEEDED and bool(one.values)
            place = f"measurements[{number}].detail"
            _check(one.detail, DETAILS.get(one.probe, {}), place, needed)
            if one.probe == "live_bytes" and needed:
                _check_curve(one, place)
    except ValueError as error:
        raise RecordError(f"damaged record: {error}") from error
    return record


def _check(values: Mapping[str, Any], kinds: Mapping[str, Any], place: str, needed: bool = False) -> None:
    """Hold values that are not a dataclass's fields against their types; where they are `needed`, none is left out."""
    for name, kind in kinds.items():
        here = f"{place}.{name}"
        if name not in values:
            if needed:
                raise RecordError(f"{here}: is missing")
        elif isinstance(kind, list):
            for number, row in enumerate(convert(values[name], tuple[Mapping[str, Any], ...], here)):
                _check(row, kind[0], f"{here}[{number}]", needed=True)
                if unknown := row.keys() - kind[0].keys():
                    raise RecordError(
                        f"{here}[{number}]: unknown field {shown(min(unknown))}: valid are {', '.join(kind[0])}"
                    )
        elif isinstance(kind, dict):
            _check(convert(values[name], Mapping[str, Any], here), kind, here, needed=True)
        else:
            convert(values[name], kind, here)


def _check_curve(live: Measurement, place: str) -> None:
    """Raise RecordError unless the peak is at one of the curve's moments, and each of them has its phase."""
    moment, phases = live.detail["moment"], live.detail["phases"]
    if not 0 <= moment < len(live.values):
        raise RecordError(f"{place}.moment {moment}: must be from 0 to {len(live.values) - 1}")
    if len(phases) != len(live.values):
        raise RecordError(
            f"{place}.phases: has {len(phases)} entries: must have {len(live.values)}, one for each value"
        )
