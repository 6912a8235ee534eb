"""Records: what came of a case. Raw values and their sources; statistics are derived elsewhere. No JAX."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from artifex_bench import case as cases
from artifex_bench.case import Case

SCHEMA = 1
STATUSES = ("ok", "oom", "timeout", "failed", "skipped")
OWN = ("plan", "mixture")  # what meets a budget is called so where it is the program of no strategy by hand
OUT_OF_MEMORY = re.compile(  # what errors say of memory that ran out
    r"RESOURCE_EXHAUSTED|out of memory|MemoryError|bad_alloc|cannot allocate memory", re.IGNORECASE
)


class RecordError(ValueError):
    """A stored record that this version cannot read."""


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


@dataclass(frozen=True)
class Verdict:
    """What the strategy really did here, and the figures that show it."""

    name: str
    reason: str


@dataclass(frozen=True)
class Agreement:
    """Loss and gradients held against the reference: relative errors and the tolerance for the dtype."""

    ok: bool | None
    reason: str
    loss_error: float | None = None
    gradient_error: float | None = None
    tolerance: float | None = None


@dataclass(frozen=True)
class Record:
    """One visit to one case, in one fresh process."""

    case: Case
    round: int
    status: str
    reason: str = ""
    measurements: tuple[Measurement, ...] = ()
    verdict: Verdict | None = None
    agreement: Agreement | None = None
    environment: Mapping[str, Any] = field(default_factory=dict)
    started_at: str = ""
    wall_seconds: float | None = None
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


def from_json(data: Mapping[str, Any]) -> Record:
    """The record that `to_json` wrote. Raises RecordError for another schema or a damaged record."""
    if not isinstance(data, Mapping):
        raise RecordError(f"damaged record: {str(data)[:40]!r} is no record")
    found = data.get("schema")
    if found != SCHEMA:
        raise RecordError(f"record has schema {found!r}: this version reads schema {SCHEMA}")
    try:
        fields = dict(data)
        fields["case"] = cases.from_json(fields["case"])
        fields["measurements"] = tuple(Measurement(**m) for m in fields.get("measurements", ()))
        for name, kind in (("verdict", Verdict), ("agreement", Agreement)):
            if fields.get(name) is not None:
                fields[name] = kind(**fields[name])
        return Record(**fields)
    except (KeyError, TypeError, ValueError) as error:
        raise RecordError(f"damaged record: {error}") from error
