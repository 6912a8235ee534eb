"""Results: the records of one case, and what is derived from their raw values. No JAX, no pandas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from artifex_bench.core.case import Case, replace_fields
from artifex_bench.core.record import Measurement, Record
from artifex_bench.core.stats import Summary, bootstrap_ratios, pooled_median, summarize

CONTENDED_SHARE = 0.1  # share of the machine's processor time that other processes took while steps were timed
CONTENDED_PROBES = ("step_seconds", "other_cpu_share")  # what contention spoils, and what shows it
ENOUGH_QUIET_ROUNDS = 3  # with so many uncontended rounds, contended ones are left out
Interval = tuple[float | None, float | None, float | None]  # value, and the ends of its 95 % interval
NO_INTERVAL: Interval = (None, None, None)


@dataclass(frozen=True)
class CaseResult:
    """The records of one case, one per round, and those of its baseline (empty if that was not measured)."""

    case: Any  # a `Case`; any of its kinds, so that columns can read their axes
    rounds: tuple[Record, ...]
    baseline: tuple[Record, ...] = ()

    def first(self, probe: str) -> float | None:
        """Return the first value of a probe that is the same in every process."""
        return first_value(self.rounds, probe)

    def detail(self, probe: str, name: str) -> Any:
        """Return an entry of the detail of a probe's first measurement that has values."""
        taken = (record.get(probe) for record in self.rounds)
        measurement = next((one for one in taken if one is not None and one.values), None)
        return measurement.detail.get(name) if measurement else None

    def measurement(self, probe: str) -> Measurement | None:
        """Return the first measurement of a probe, with or without values."""
        return next((one for record in self.rounds if (one := record.get(probe)) is not None), None)

    def summary(self, probe: str) -> Summary | None:
        """Return median and interval of a probe over all rounds."""
        return summarize(values_by_round(self.rounds, probe))

    def median(self, probe: str) -> Interval:
        """Return the median of a probe over all rounds, with its interval."""
        summary = self.summary(probe)
        return (summary.median, summary.low, summary.high) if summary else NO_INTERVAL

    def ratio_to_baseline(self, probe: str) -> float | None:
        """Return the ratio of a probe's median to the baseline's."""
        mine, other = self.summary(probe), summarize(values_by_round(self.baseline, probe))
        return mine.median / other.median if mine and other and other.median else None


def group_by_case(records: Sequence[Record]) -> dict[Case, list[Record]]:
    """Return the records of each case, in the order in which cases came: that of the rows of `load_run`."""
    groups: dict[Case, list[Record]] = {}
    for record in records:
        groups.setdefault(record.case, []).append(record)
    return groups


def case_results(records: Sequence[Record]) -> list[CaseResult]:
    """Return the result of each case, in the order in which cases came."""
    groups = group_by_case(records)
    return [CaseResult(case, tuple(rounds), tuple(groups.get(case.baseline, ()))) for case, rounds in groups.items()]


def first_value(records: Sequence[Record], probe: str) -> float | None:
    """Return the first value of a probe in any of the records."""
    return next((value for record in records if (value := record.value(probe)) is not None), None)


def values_by_round(records: Sequence[Record], probe: str) -> list[tuple[float, ...]]:
    """Return the raw values of a probe, one group per process."""
    return [one.values for record in records if (one := record.get(probe)) and one.values]


def quiet_rounds(records: Sequence[Record]) -> list[Record]:
    """Return the records during which other processes left the processors alone."""
    return [record for record in records if (record.value("other_cpu_share") or 0) <= CONTENDED_SHARE]


def drop_contended_times(records: Sequence[Record]) -> list[Record]:
    """Return the records without the times of contended rounds, for each case that has enough other rounds."""
    quiet = {case: quiet_rounds(rounds) for case, rounds in group_by_case(records).items()}

    def without_times(record: Record) -> Record:
        others = quiet[record.case]
        if record in others or len(others) < ENOUGH_QUIET_ROUNDS:
            return record
        kept = tuple(one for one in record.measurements if one.probe not in CONTENDED_PROBES)
        changed: Record = replace_fields(record, measurements=kept)
        return changed

    return [without_times(record) for record in records]


def ratio_of_medians(
    values: list[tuple[float, ...]], limit: list[tuple[float, ...]], with_interval: bool = True
) -> Interval:
    """Return the ratio of two medians, each over all its groups, with its bootstrap 95 % interval."""
    if not (values and limit and (median := pooled_median(limit))):
        return NO_INTERVAL
    ratio = pooled_median(values) / median
    ratios = bootstrap_ratios(values, limit) if with_interval else None
    if ratios is None:
        return ratio, None, None
    low, high = map(float, np.quantile(ratios, (0.025, 0.975)))
    return ratio, low, high
