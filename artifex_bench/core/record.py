"""Records: what came of a job. Raw values with their sources; statistics are derived elsewhere. No JAX."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, TypedDict

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import force_setattr

from artifex_bench.core.case import Case, case_id, check_choice
from artifex_bench.core.convert import choices, convert, shown, to_plain

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
Amount = Annotated[float, Meta(ge=0, le=LARGEST)]


class Environment(TypedDict, total=False):
    """What is read of a record's environment; it may hold more."""

    versions: dict[str, str | None]
    flags: dict[str, str]
    device: str
    memory_bytes: Amount


class Leaf(Struct):
    """One parameter in a gradient's sketch: its norm and its projections on random vectors."""

    norm: Amount
    projections: Annotated[tuple[float, ...], Meta(min_length=1)]


class BudgetDetail(TypedDict, total=False):
    """Detail of `budget_bytes`."""

    plan: str | None


class ParameterDetail(TypedDict, total=False):
    """Detail of `parameter_bytes`."""

    dtypes: tuple[str, ...]


class FlopsDetail(TypedDict, total=False):
    """Detail of `gradient_flops`."""

    counting_loops_once: Amount
    product_dtypes: tuple[str, ...]


class PeakDetail(TypedDict, total=False):
    """Detail of `compiled_peak_bytes`: its parts, and the formula's name."""

    computed_in: str
    argument_bytes: Amount | None
    output_bytes: Amount | None
    temp_bytes: Amount | None
    host_temp_bytes: Amount | None


class SketchDetail(TypedDict):
    """Detail of `gradient_sketch`."""

    loss: float
    leaves: dict[str, Leaf]


class Place(Struct):
    """Where in a program something happens."""

    phase: str
    scope: str
    operation: str
    source: str


class LiveDetail(TypedDict):
    """Detail of `live_bytes`, the bytes alive at each instruction."""

    moment: int
    throughout_bytes: Amount
    peak_bytes: Amount
    at: Place
    phases: tuple[str, ...]


class Buffer(Struct, forbid_unknown_fields=True):
    """A buffer at the compiled peak. Differences of profiles may be negative."""

    bytes: float
    scope: str
    operation: str
    phase: str
    shape: str
    source: str


class Residual(Struct, forbid_unknown_fields=True):
    """A value that autodiff saves for the backward pass."""

    bytes: Amount
    scope: str
    operation: str
    name: str | None
    shape: str
    dtype: str
    source: str


class BuffersDetail(TypedDict, total=False):
    """Detail of `peak_buffers`."""

    rows: tuple[Buffer, ...]


class ResidualsDetail(TypedDict, total=False):
    """Detail of `saved_residuals`."""

    rows: tuple[Residual, ...]


DETAILS: dict[str, Any] = {
    "budget_bytes": BudgetDetail,
    "parameter_bytes": ParameterDetail,
    "gradient_flops": FlopsDetail,
    "compiled_peak_bytes": PeakDetail,
    "gradient_sketch": SketchDetail,
    "live_bytes": LiveDetail,
    "peak_buffers": BuffersDetail,
    "saved_residuals": ResidualsDetail,
}
NEEDED = ("gradient_sketch", "live_bytes")  # their details are checked only beside values: a note has none


class RecordError(ValueError):
    """A stored record that this version cannot read."""


class SchemaError(RecordError):
    """A stored record of a version with other records."""


class Measurement(Struct, frozen=True, forbid_unknown_fields=True):
    """One number as it was taken: raw `values` in `unit` from `source`, or none and a `note` that says why."""

    probe: str
    unit: str
    values: tuple[int | float, ...] = ()
    source: str = ""
    note: str = ""
    detail: dict[str, Any] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        force_setattr(self, "values", tuple(self.values))
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


class Verdict(Struct, frozen=True, forbid_unknown_fields=True):
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
    recomputed_flops: Annotated[float, Meta(ge=-LARGEST, le=LARGEST)] | None = None
    saved_bytes: Annotated[float, Meta(ge=-LARGEST, le=LARGEST)] | None = None
    saved_share: Annotated[float, Meta(ge=-LARGEST, le=LARGEST)] | None = None
    kept_share: Amount | None = None

    def __post_init__(self) -> None:
        try:
            force_setattr(self, "name", VerdictName(self.name))
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


class Agreement(Struct, frozen=True, forbid_unknown_fields=True):
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


class Record(Struct, frozen=True, forbid_unknown_fields=True):
    """What came of one job."""

    case: Case
    round: Annotated[int, Meta(ge=0, le=2**31)]
    status: str
    reason: str = ""
    measurements: tuple[Measurement, ...] = ()
    verdict: Verdict | None = None
    agreement: Agreement | None = None
    environment: dict[str, Any] = msgspec.field(default_factory=dict)
    started_at: str = ""
    wall_seconds: Amount | None = None
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        check_choice("status", self.status, STATUSES)

    def get(self, probe: str) -> Measurement | None:
        """Return the measurement of that probe, or None."""
        return next((m for m in self.measurements if m.probe == probe), None)

    def value(self, probe: str) -> float | None:
        """Return the first raw value of that probe, or None if it was not taken."""
        measurement = self.get(probe)
        return measurement.values[0] if measurement is not None and measurement.values else None

    @property
    def needed_peak(self) -> float | None:
        """Bytes that must fit: the larger peak, whichever kernels a GPU chooses. None if nothing was compiled."""
        peaks = map(self.value, ("compiled_peak_bytes", "cublas_peak_bytes"))
        return max((peak for peak in peaks if peak is not None), default=None)

    @property
    def key(self) -> tuple[str, int]:
        """What tells records of a run apart: the case's id and the round."""
        return case_id(self.case), self.round


def record_to_json(record: Record) -> dict[str, Any]:
    """Return the record as plain JSON values."""
    data: dict[str, Any] = to_plain(record)
    return data


def record_from_json(data: Any) -> Record:
    """Return the record that `record_to_json` wrote.

    Raises:
        SchemaError: The record is of a version with other records.
        RecordError: The record is damaged: one line with the field, its value and the rule.
    """
    if not isinstance(data, Mapping):
        raise RecordError(f"damaged record: {shown(data)}: must be an object")
    schema = data.get("schema")
    if schema != SCHEMA or isinstance(schema, bool):
        raise SchemaError(f"record has schema {shown(schema)}: this version reads schema {SCHEMA}")
    try:
        record: Record = convert(data, Record)
        convert(record.environment, Environment, "environment")
        for number, measurement in enumerate(record.measurements):
            _check_detail(measurement, f"measurements[{number}].detail")
    except ValueError as error:
        raise RecordError(f"damaged record: {error}") from error
    return record


def _check_detail(measurement: Measurement, place: str) -> None:
    kind = DETAILS.get(measurement.probe)
    if kind is None or (measurement.probe in NEEDED and not measurement.values):
        return
    detail = convert(measurement.detail, kind, place)
    if kind is LiveDetail:
        count, moment, phases = len(measurement.values), detail["moment"], detail["phases"]
        if not 0 <= moment < count:
            raise RecordError(f"{place}.moment {moment}: must be from 0 to {count - 1}")
        if len(phases) != count:
            raise RecordError(f"{place}.phases: has {len(phases)} entries: must have {count}, one for each value")
