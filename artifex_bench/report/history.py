"""Histories: each figure of a case over several runs, and where it changed. No JAX.

Change points are those of asv's step detection (piecewise constant fit with an automatic penalty, `asv.step_detect`),
as far as they exceed the threshold of the quantity. Without asv, histories have no change points.
"""

from __future__ import annotations

import importlib
import importlib.util
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from artifex_bench.core.case import CaseError
from artifex_bench.core.case_names import case_label
from artifex_bench.core.record import Record
from artifex_bench.core.registry import load_kind
from artifex_bench.core.results import group_by_case
from artifex_bench.core.units import is_present
from artifex_bench.kinds.frames import make_frame
from artifex_bench.report.comparison import find_environment_differences, list_quantities

DETECTOR = "asv"  # the package whose step detection finds change points
FEWEST_RUNS = 2


@dataclass(frozen=True)
class ChangePoint:
    """A lasting change of a figure: `ratio` is the level from run `run` on, relative to the level before it."""

    run: int
    ratio: float


@dataclass(frozen=True)
class Series:
    """One figure of one case over the runs.

    Attributes:
        label: Label of the case.
        quantity: Name of a column that is compared.
        unit: Its unit.
        values: Its value in each run; None where the case was not measured or failed.
        changes: Its change points.
    """

    label: str
    quantity: str
    unit: str
    values: tuple[float | None, ...]
    changes: tuple[ChangePoint, ...] = ()

    @property
    def known(self) -> list[float]:
        """The values that are known, in order."""
        return [value for value in self.values if value is not None]

    @property
    def ratio(self) -> float | None:
        """The last known value relative to the first; None if there is no other, or the first is 0."""
        known = self.known
        return known[-1] / known[0] if len(known) > 1 and known[0] else None


def can_detect_changes() -> bool:
    """Return whether the package that detects change points is installed."""
    return importlib.util.find_spec(DETECTOR) is not None


def sort_runs(runs: Sequence[tuple[str, Sequence[Record]]]) -> list[tuple[str, Sequence[Record]]]:
    """Return (name, records) of runs by the time at which their first record began; without times, in their order."""
    return sorted(runs, key=lambda run: min((one.started_at for one in run[1] if one.started_at), default=""))


def trace_series(runs: Sequence[tuple[str, Sequence[Record]]]) -> list[Series]:
    """Return a series for each case and compared quantity.

    Args:
        runs: (name, records) of each run, the oldest first.

    Raises:
        CaseError: There are fewer than two runs, runs of several kinds, or no case that two runs share.
    """
    if len(runs) < FEWEST_RUNS:
        raise CaseError(f"a history needs {FEWEST_RUNS} runs or more: {len(runs)} given")
    kinds = list(dict.fromkeys(record.case.kind for _, records in runs for record in records))
    if len(kinds) != 1:
        raise CaseError(f"runs of {len(kinds)} kinds ({', '.join(kinds)}): a history needs runs of one kind")
    quantities = list_quantities(load_kind(kinds[0]))
    frames = []
    for _, records in runs:
        frame = make_frame(records)
        frames.append(frame.assign(key=list(group_by_case(records))).set_index("key"))
    series = []
    for case in dict.fromkeys(case for frame in frames for case in frame.index):
        for name, column in quantities.items():
            read = (frame.loc[[case]].iloc[0] if case in frame.index else None for frame in frames)
            values = tuple(
                float(row[name]) if row is not None and row.status == "ok" and is_present(row[name]) else None
                for row in read
            )
            if sum(value is not None for value in values) >= FEWEST_RUNS:
                threshold = column.compared.threshold if column.compared else 0.0
                changes = tuple(find_change_points(values, threshold))
                series.append(Series(case_label(case), name, column.unit, values, changes))
    if not series:
        raise CaseError("no figure of any case is in two runs: a history needs runs of the same cases")
    return series


def find_change_points(values: Sequence[float | None], threshold: float) -> Iterator[ChangePoint]:
    """Yield where the level of a figure changes by more than `threshold`; nothing if the detector is not installed."""
    if not can_detect_changes():
        return
    detector = importlib.import_module(f"{DETECTOR}.step_detect")
    for before, after in itertools.pairwise(detector.detect_steps(list(values))):
        old, new = before[2], after[2]
        if old and not 1 / (1 + threshold) <= new / old <= 1 + threshold:
            yield ChangePoint(int(after[0]), float(new / old))


def describe_changed_settings(runs: Sequence[tuple[str, Sequence[Record]]]) -> list[str]:
    """Return how the environment of each run differs from that of the run before it, one line per setting."""
    return [
        f"{name} differs from {earlier} in {setting}: {one} and {other}"
        for (earlier, before), (name, records) in itertools.pairwise(runs)
        for setting, (one, other) in find_environment_differences(before, records).items()
    ]
