"""Comparison of two runs as data, case by case: what changed, by how much, and how certain that is. No JAX.

`comparison_words.py` writes it as text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace

import numpy as np
import pandas as pd

from artifex_bench.core.case import Case, CaseError, check_choice
from artifex_bench.core.case_names import case_id, case_label
from artifex_bench.core.columns import Column
from artifex_bench.core.environments import differing_settings, recorded_settings
from artifex_bench.core.kind import Kind
from artifex_bench.core.record import Record
from artifex_bench.core.registry import load_kind
from artifex_bench.core.results import ENOUGH_QUIET_ROUNDS, group_by_case, quiet_rounds, values_by_round
from artifex_bench.core.stats import bootstrap_ratios, least_ratio, pooled_median
from artifex_bench.kinds.frames import describe_origin, make_encodable, without_infinities
from artifex_bench.report.comparison_data import Change, ComparedFigure, Reason

LEVEL = 0.02  # of false alarms over all rows (Holm 1979): a false alarm in at most 1 of 20 comparisons, with 94 %


def list_quantities(kind: Kind) -> dict[str, Column]:
    """Return the columns by which runs of a kind are compared: {name: column}."""
    return {column.name: column for column in kind.columns if column.compared is not None}


def compare_runs(
    base: Sequence[Record], new: Sequence[Record], across: bool = False, thresholds: Mapping[str, float] | None = None
) -> pd.DataFrame:
    """Compare every case and quantity that both runs have.

    A change is a regression or an improvement if the ratio of the least values is beyond the threshold and significant
    (Welch's t test, Fisher's exact test for counts of trials; 2 % over all rows by Holm 1979). It is `same` if neither
    ratio is beyond the threshold, and otherwise `unsure`. Contended rounds are left out of times if three others are
    left in both runs; if not, a change of time is `unsure`. A case that is ok in one run and failed in the other is one
    row with the quantity `status`.

    Args:
        base: Records of the base run.
        new: Records of the new run.
        across: Whether to compare runs of different environments.
        thresholds: Quantity -> relative change that matters, in place of that of its column.

    Returns:
        One row per case and quantity, with the fields of `ComparedFigure` as columns.

    Raises:
        CaseError: The runs share no case or figure, a quantity is unknown, or the environments differ.
    """
    rounds = [group_by_case(records) for records in (base, new)]
    shared = [case for case in rounds[0] if case in rounds[1]]
    if not shared:
        raise CaseError("the runs share no case: compare runs of the same suite and preset")
    quantities = list_quantities(load_kind(shared[0].kind))
    for name in thresholds or {}:
        check_choice("quantity", name, quantities)
    differences = find_environment_differences(base, new)
    if differences and not across:
        name, (one, other) = next(iter(differences.items()))
        more = f" and {len(differences) - 1} more settings" if len(differences) > 1 else ""
        raise CaseError(f"the runs differ in {name} ({one} and {other}){more}: pass --across to compare them")
    rows = [
        row
        for case in shared
        for row in _compare_case(case, quantities, rounds[0][case], rounds[1][case], thresholds or {})
    ]
    if not rows:
        raise CaseError("the runs share cases, but no figure that both have measured")
    rows = [row if row.quantity == "status" else _judge(row, quantities[row.quantity]) for row in _correct_p(rows)]
    table = pd.DataFrame([{name: make_encodable(value) for name, value in asdict(row).items()} for row in rows])
    table = without_infinities(table)
    table.attrs["origins"] = {"base": describe_origin(base), "new": describe_origin(new)}
    return table


def find_environment_differences(base: Sequence[Record], new: Sequence[Record]) -> dict[str, tuple[str, str]]:
    """Return the settings of the environment that differ between two runs, as far as both have a case.

    Returns:
        Name -> (value in the base run, value in the new run).
    """
    shared = {record.case for record in base} & {record.case for record in new}
    return differing_settings(*(recorded_settings([r for r in records if r.case in shared]) for records in (base, new)))


def find_unshared_cases(base: Sequence[Record], new: Sequence[Record]) -> dict[str, list[str]]:
    """Return the labels of the cases that only one run has, under ``base`` and ``new``."""
    one, other = ({record.case for record in records} for records in (base, new))
    return {"base": sorted(map(case_label, one - other)), "new": sorted(map(case_label, other - one))}


def count_changes(table: pd.DataFrame) -> pd.DataFrame:
    """Count the rows of a comparison by change: one row per quantity, with its threshold."""
    counts = pd.crosstab(table.quantity, table.change)
    counts.insert(0, "threshold", table.groupby("quantity").threshold.first().reindex(counts.index))
    return counts


def _compare_case(
    case: Case,
    quantities: Mapping[str, Column],
    base: list[Record],
    new: list[Record],
    thresholds: Mapping[str, float],
) -> Iterator[ComparedFigure]:
    row = ComparedFigure(case_id(case), case_label(case), "status")
    failed = [next((record for record in rounds if record.status != "ok"), None) for rounds in (base, new)]
    if any(failed):
        yield _compare_status(row, *failed)
        return
    quiet = [quiet_rounds(rounds) for rounds in (base, new)]
    uncontended = min(map(len, quiet)) >= ENOUGH_QUIET_ROUNDS or quiet == [base, new]
    for name, column in quantities.items():
        assert column.compared is not None
        timed = column.unit == "seconds"
        one, other = (values_by_round(rounds, name) for rounds in (quiet if timed and uncontended else (base, new)))
        if one and other:
            threshold = thresholds.get(name, column.compared.threshold)
            started = replace(
                row, quantity=name, unit=column.unit, threshold=threshold, contended=timed and not uncontended
            )
            if column.compared.among:
                yield _compare_trials(started, base, new, column.compared.among)
            else:
                yield _compare_values(started, one, other, column.compared.exact)


def _compare_status(row: ComparedFigure, base: Record | None, new: Record | None) -> ComparedFigure:
    """The row of a case, of which each run has a failed record or None."""
    if base is None or new is None:
        row = replace(row, change=Change.REGRESSION if base is None else Change.IMPROVEMENT)
    if base is not None:
        row = replace(row, base_status=base.status, base_message=base.reason)
    if new is not None:
        row = replace(row, new_status=new.status, new_message=new.reason)
    return replace(row, reason=Reason.STATUS)


def _compare_values(
    row: ComparedFigure, one: list[tuple[float, ...]], other: list[tuple[float, ...]], exact: bool
) -> ComparedFigure:
    base, new = pooled_median(one), pooled_median(other)
    row = replace(row, base=base, new=new, ratio=new / base if base else None)
    ratios = None if exact or not base else bootstrap_ratios(other, one)
    if ratios is not None:
        low, high = map(float, np.quantile(ratios, (0.025, 0.975)))
        row = replace(row, ratio_low=low, ratio_high=high)
    least = None if exact else least_ratio(other, one)
    return row if least is None else replace(row, least_ratio=least[0], p=least[1])


def _compare_trials(row: ComparedFigure, base: list[Record], new: list[Record], among: Sequence[str]) -> ComparedFigure:
    """Compare the trials of all rounds that ended in one way: mean per round, and p by Fisher's exact test (1922)."""
    from scipy import stats  # slow to import

    counts = [[sum(job.value(outcome) or 0 for job in rounds) for outcome in among] for rounds in (base, new)]
    ended = [row_counts[among.index(row.quantity)] for row_counts in counts]
    table = [[count, sum(row_counts) - count] for count, row_counts in zip(ended, counts, strict=True)]
    one, other = ended[0] / len(base), ended[1] / len(new)
    return replace(
        row, base=one, new=other, ratio=other / one if one else None, p=float(stats.fisher_exact(table).pvalue)
    )


def _correct_p(rows: list[ComparedFigure]) -> list[ComparedFigure]:
    """Correct each p value for all of them (Holm 1979)."""
    tested = sorted((i for i, row in enumerate(rows) if row.p is not None), key=lambda i: rows[i].p or 0.0)
    corrected, largest = list(rows), 0.0
    for rank, i in enumerate(tested):
        largest = min(1.0, max((rows[i].p or 0.0) * (len(tested) - rank), largest))
        corrected[i] = replace(rows[i], p=largest, tests=len(tested))
    return corrected


def _judge(row: ComparedFigure, column: Column) -> ComparedFigure:
    """Set `change` and `reason` of a row whose p value is corrected."""
    threshold = row.threshold or 0.0
    medians = _beyond(row.new or 0.0, row.base or 0.0, threshold)
    leasts = medians if row.least_ratio is None else _beyond(row.least_ratio, 1.0, threshold)
    if medians is leasts is Change.SAME:
        return row
    if column.compared is not None and column.compared.exact:
        return replace(row, change=medians, reason=Reason.EXACT)
    if row.contended:
        return replace(row, change=Change.UNSURE, reason=Reason.CONTENDED)
    if row.p is None:
        return replace(row, change=Change.UNSURE, reason=Reason.TOO_FEW_ROUNDS)
    if leasts is Change.SAME:
        return replace(row, change=Change.UNSURE, reason=Reason.MEDIANS_ONLY)
    if row.p > LEVEL:
        return replace(row, change=Change.UNSURE, reason=Reason.NOT_SIGNIFICANT)
    return replace(row, change=leasts, reason=Reason.SIGNIFICANT)


def _beyond(new: float, base: float, threshold: float) -> Change:
    """A regression or an improvement if the change is beyond the threshold."""
    if new > base * (1 + threshold):
        return Change.REGRESSION
    return Change.IMPROVEMENT if new * (1 + threshold) < base else Change.SAME
