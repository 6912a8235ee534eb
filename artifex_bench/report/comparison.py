"""Two runs held against each other, case by case: what changed, by how much, and how sure that is. Pure; no JAX."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from artifex_bench.core import case as cases
from artifex_bench.core import units
from artifex_bench.core.case import Case, CaseError
from artifex_bench.core.case_names import case_id, case_label
from artifex_bench.core.environments import differing_settings, recorded_settings
from artifex_bench.core.record import Record
from artifex_bench.core.results import ENOUGH_QUIET_ROUNDS, group_by_case, quiet_rounds, values_by_round
from artifex_bench.core.stats import bootstrap_ratios, least_ratio, pooled_median
from artifex_bench.core.units import is_present
from artifex_bench.kinds.fault import OUTCOMES
from artifex_bench.kinds.frames import make_encodable, without_infinities
from artifex_bench.report import tables

LEVEL = 0.02  # of false alarms over all that is compared, by Holm's correction: at most one in 20 comparisons (94 %)


@dataclass(frozen=True)
class Quantity:
    """What is compared: `threshold` is the relative change that matters. Less is better, of all of them.

    `exact` ones are the same in every process: any difference is real. `among`: it is a count of trials, of which these
    counts are all.
    """

    threshold: float
    exact: bool = False
    among: tuple[str, ...] = ()


QUANTITIES = {
    "step_seconds": Quantity(0.10),
    "residual_bytes": Quantity(0.0, exact=True),
    "compiled_peak_bytes": Quantity(0.01, exact=True),
    "measured_peak_bytes": Quantity(0.05),
    "blocking_seconds": Quantity(0.25),
    "committed_seconds": Quantity(0.25),
    "restore_seconds": Quantity(0.25),
    "disk_bytes": Quantity(0.01, exact=True),
    "silent_trials": Quantity(0.0, among=OUTCOMES),
}


def differences(base: Sequence[Record], new: Sequence[Record]) -> dict[str, tuple[str, str]]:
    """What differs between the environments of two runs, as far as both have a case: {name: (base's, new's)}."""
    shared = {record.case for record in base} & {record.case for record in new}
    return differing_settings(*(recorded_settings([r for r in records if r.case in shared]) for records in (base, new)))


def notes(base: Sequence[Record], new: Sequence[Record]) -> list[str]:
    """What sets two runs apart, a sentence each: their environments, and the cases that one has alone."""
    found = [f"the runs differ in {name}: {one} and {other}" for name, (one, other) in differences(base, new).items()]
    one, other = ({record.case for record in records} for records in (base, new))
    for name, alone in (("base", one - other), ("new", other - one)):
        if alone:
            found.append(f"not compared, only in {name}: {'; '.join(sorted(map(case_label, alone)))}")
    return found


def compare(
    base: Sequence[Record], new: Sequence[Record], across: bool = False, thresholds: dict[str, float] | None = None
) -> pd.DataFrame:
    """One row for each case and quantity that both runs have: `case`, `label`, `quantity`, medians `base` and `new`,
    `ratio` with its bootstrap 95 % interval (`ratio_low`, `ratio_high`), `least_ratio` of the rounds' least values and
    its `p`, corrected for all rows (None where it is exact or rounds are too few), `threshold`, `change` and `reason`.

    `change` is `regression` or `improvement` where the ratio of the least values is beyond the quantity's threshold and
    significant (Welch's t test, Fisher's exact test on counts of trials; 2 % over all rows by Holm 1979). It is `same`
    where neither ratio is beyond the threshold, `unsure` else. Contended rounds (others used the processors while
    steps were timed) are left out of times where three are left in both runs; where they are not, a change of time is
    `unsure`. A case that is ok in one run and fell in the other is a row of its own, with the quantity `status`.

    Raises CaseError when the runs share no case or figure, or their environments differ and `across` is not set.
    """
    for name in thresholds or {}:
        cases.check_choice("quantity", name, QUANTITIES)
    rounds = [group_by_case(records) for records in (base, new)]
    shared = [case for case in rounds[0] if case in rounds[1]]
    if not shared:
        raise CaseError("the runs share no case: compare runs of the same suite and preset")
    found = differences(base, new)
    if found and not across:
        name, (one, other) = next(iter(found.items()))
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        raise CaseError(f"the runs differ in {name}: {one} and {other}{more}; --across compares them all the same")
    rows = [row for case in shared for row in _rows(case, rounds[0][case], rounds[1][case], thresholds or {})]
    if not rows:
        raise CaseError("the runs share cases, but no figure of them was taken in both")
    _judge(rows)
    table = pd.DataFrame([{name: make_encodable(value) for name, value in row.items()} for row in rows])
    return without_infinities(table.drop(columns="contended"))


def _rows(case: Case, base: list[Record], new: list[Record], thresholds: dict[str, float]) -> Iterator[dict[str, Any]]:
    row = {"case": case_id(case), "label": case_label(case)}
    fell = [next((record for record in rounds if record.status != "ok"), None) for rounds in (base, new)]
    if any(fell):
        words = [f"{record.status}: {record.reason}" if record else "ok" for record in fell]
        worse, better = fell[1] is not None and fell[0] is None, fell[0] is not None and fell[1] is None
        change = "regression" if worse else "improvement" if better else "same"
        yield row | _figures("status") | {"change": change, "reason": f"{words[0]} -> {words[1]}"}
        return
    quiet = [quiet_rounds(rounds) for rounds in (base, new)]
    told_apart = min(map(len, quiet)) >= ENOUGH_QUIET_ROUNDS or quiet == [base, new]
    for name, quantity in QUANTITIES.items():
        timed = name.endswith("seconds")
        one, other = (values_by_round(rounds, name) for rounds in (quiet if timed and told_apart else (base, new)))
        if one and other:
            threshold = thresholds.get(name, quantity.threshold)
            if quantity.among:
                figures = _counted(base, new, name, quantity.among)
            else:
                figures = _measured(one, other, quantity.exact)
            yield row | _figures(name) | figures | {"threshold": threshold, "contended": timed and not told_apart}


FIGURES = ("base", "new", "ratio", "ratio_low", "ratio_high", "least_ratio", "p", "threshold", "contended", "change")


def _figures(quantity: str) -> dict[str, Any]:
    """The columns of a row, empty."""
    empty = dict.fromkeys(FIGURES)
    return {"quantity": quantity, **empty, "reason": ""}


def _measured(one: list[tuple[float, ...]], other: list[tuple[float, ...]], exact: bool) -> dict[str, float | None]:
    base, new = pooled_median(one), pooled_median(other)
    row: dict[str, float | None] = {"base": base, "new": new, "ratio": new / base if base else None}
    ratios = None if exact or not base else bootstrap_ratios(other, one)
    if ratios is not None:
        row["ratio_low"], row["ratio_high"] = map(float, np.quantile(ratios, (0.025, 0.975)))
    least = None if exact else least_ratio(other, one)
    return row if least is None else row | {"least_ratio": least[0], "p": least[1]}


def _counted(base: list[Record], new: list[Record], name: str, among: Sequence[str]) -> dict[str, float | None]:
    """Of the trials of each run how many a round ended like that, and p: that of the trials of both so many would, were
    the chances equal (Fisher 1922).
    """
    from scipy import stats  # slow to import

    counts = [[sum(job.value(outcome) or 0 for job in rounds) for outcome in among] for rounds in (base, new)]
    ended = [row[among.index(name)] for row in counts]
    table = [[count, sum(row) - count] for count, row in zip(ended, counts, strict=True)]
    one, other = ended[0] / len(base), ended[1] / len(new)
    return {"base": one, "new": other, "ratio": other / one if one else None, "p": stats.fisher_exact(table).pvalue}


def _judge(rows: list[dict[str, Any]]) -> None:
    """Fill in `change` and `reason` of each row, and correct each `p` for all of them (Holm 1979)."""
    tested = sorted((row for row in rows if row["p"] is not None), key=lambda row: row["p"])
    largest = 0.0
    for rank, row in enumerate(tested):
        row["p"] = largest = min(1.0, max(row["p"] * (len(tested) - rank), largest))
    for row in rows:
        if row["quantity"] != "status":
            row["change"], row["reason"] = _change(row, len(tested))


def _change(row: dict[str, Any], tests: int) -> tuple[str, str]:
    """(change, reason), from `p` as corrected for so many tests."""
    medians = _beyond(row["new"], row["base"], row["threshold"])
    leasts = medians if row["least_ratio"] is None else _beyond(row["least_ratio"], 1.0, row["threshold"])
    if not medians and not leasts:
        return "same", f"within {_percent(row['threshold'])}"
    if QUANTITIES[row["quantity"]].exact:
        return str(medians), "exact"
    if row["contended"]:
        return "unsure", "contended: others used the processors meanwhile"
    if row["p"] is None:
        return "unsure", "too few rounds to tell"
    least = "" if row["least_ratio"] is None else f"least values {units.ratio(row['least_ratio'])}, "
    told = f"{least}p {row['p']:.2g} over all {tests}"
    if not leasts:
        return "unsure", f"{told}: the medians alone differ"
    return (leasts, told) if row["p"] <= LEVEL else ("unsure", f"{told}: not significant")


def _percent(share: float) -> str:
    return f"{100 * share:.3g}%"


def _beyond(new: float, base: float, threshold: float) -> str | None:
    """`regression` or `improvement` where the change is beyond the threshold."""
    if new > base * (1 + threshold):
        return "regression"
    return "improvement" if new * (1 + threshold) < base else None


HEADINGS = ("case", "quantity", "base", "new", "ratio", "95 %", "change", "reason")
LEFT = (0, 1, 6, 7)


def cells(row: Any) -> list[str]:
    """A row in words, in the order of the headings."""
    show = units.seconds if row.quantity.endswith("seconds") else units.size
    show = "{:.3g}".format if row.quantity.endswith("trials") else show
    ratio = units.ratio(row.ratio) if is_present(row.ratio) else units.ABSENT
    spread = units.interval(row.ratio_low, row.ratio_high)
    return [row.label, row.quantity, show(row.base), show(row.new), ratio, spread, row.change, row.reason]


def counts(found: pd.DataFrame) -> pd.DataFrame:
    """How many rows of `compare` there are of each change, a line a quantity, with its threshold."""
    table = pd.crosstab(found.quantity, found.change)
    thresholds = found.groupby("quantity").threshold.first().reindex(table.index)
    table.insert(0, "threshold", [_percent(share) if is_present(share) else units.ABSENT for share in thresholds])
    return table


def markdown(found: pd.DataFrame) -> str:
    """Rows of `compare` in words, as a Markdown table."""
    return tables.make_markdown_table([cells(row) for row in found.itertuples()], HEADINGS)
