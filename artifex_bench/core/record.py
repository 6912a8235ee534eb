"""Records: the result of a job, as raw values with their sources. Statistics are derived elsewhere. No JAX."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import force_setattr

from artifex_bench.core.case import Case, check_choice
from artifex_bench.core.case_names import case_id
from artifex_bench.core.convert import convert, describe_range, show_value, to_plain
from artifex_bench.core.details import DETAILS, NEEDED, Environment, LiveDetail
from artifex_bench.core.fields import LARGEST, Amount
from artifex_bench.core.verdicts import Agreement, Verdict

SCHEMA = 1
STATUSES = ("ok", "oom", "timeout", "failed", "skipped")
# Published training steps as a multiple of the roofline's estimate: Llama 3 8B on an H100 took 2.46 s (estimated
# 1.88 s), MaxText 16B on v5e 10.3 s (9.50 s), and 32B on v5p 8.5 s (6.63 s). All compared tables lie within the range.
STEP_OVER_ESTIMATE = (1.1, 1.5)
REAL_STEPS = "x{}-{}".format(*STEP_OVER_ESTIMATE)
PUBLISHED_STEPS = "published steps took {} to {} times their estimate".format(*STEP_OVER_ESTIMATE)
OWN = ("plan", "mixture")  # names of programs that meet a budget and are the program of no other strategy
MOST_TRIALS = 10**9  # Fisher's test counts in 64 bits
# Probes with negative values: differences, and XLA's count of FLOPs, which is -1 if not known. Others are 0 or more.
SIGNED = ("lost_seconds", "peak_buffers", "compiled_flops")


class RecordError(ValueError):
    """A stored record that this version cannot read."""


class SchemaError(RecordError):
    """A stored record of a version with other records."""


class Measurement(Struct, frozen=True, forbid_unknown_fields=True):
    """One number as it was taken.

    Attributes:
        probe: Name of the probe that took it.
        unit: Its unit.
        values: The raw values; empty if it could not be taken.
        source: Where the values come from, such as the compiler or a clock.
        note: Without values, the reason why.
        detail: What else the probe found, as JSON values.
    """

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
                rule = describe_range("a whole number" if counted else "a number", least, most)
                raise RecordError(f"measurement {show_value(self.probe)}: value {show_value(value)}: must be {rule}")


class Record(Struct, frozen=True, forbid_unknown_fields=True):
    """The result of one job.

    Attributes:
        case: The case that was measured.
        round: Number of the round, from 0.
        status: ``ok``, ``oom``, ``timeout``, ``failed`` or ``skipped``.
        reason: Why the status is not ``ok``.
        measurements: The numbers that were taken, and those that could not be.
        verdict: What the strategy did to the compiled program.
        agreement: Whether loss and gradients equal those of the baseline.
        environment: Machine, device, versions and flags.
        started_at: When the job started, in UTC.
        wall_seconds: How long the job took.
        schema: Version of the form of records.
    """

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
        """The case's id and the round, which no other record of a run shares."""
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
        raise RecordError(f"damaged record: {show_value(data)}: must be an object")
    schema = data.get("schema")
    if schema != SCHEMA or isinstance(schema, bool):
        raise SchemaError(f"record has schema {show_value(schema)}: this version reads schema {SCHEMA}")
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
        for number, buffer in enumerate(detail.get("buffers", ())):
            for first, last, _ in buffer.lives:
                if not 0 <= first <= last < count:
                    rule = f"must begin before they end, from 0 to {count - 1}"
                    raise RecordError(f"{place}.buffers[{number}].lives {first}, {last}: {rule}")
