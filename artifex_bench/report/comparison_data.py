"""The data of a comparison of two runs: enums, and the row of each case and quantity. No JAX."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Change(StrEnum):
    """What became of a figure."""

    REGRESSION = "regression"
    IMPROVEMENT = "improvement"
    UNSURE = "unsure"
    SAME = "same"


class Reason(StrEnum):
    """What a change rests on."""

    STATUS = "status"  # the case fails in a run
    WITHIN_THRESHOLD = "within-threshold"
    EXACT = "exact"  # the figure does not vary
    SIGNIFICANT = "significant"
    NOT_SIGNIFICANT = "not-significant"
    MEDIANS_ONLY = "medians-only"  # the medians differ, the least values do not
    CONTENDED = "contended"  # other processes used the CPU
    TOO_FEW_ROUNDS = "too-few-rounds"


@dataclass(frozen=True)
class Quantity:
    """A probe that is compared. Less is better.

    Attributes:
        threshold: The relative change that matters.
        exact: Whether it is equal in every process, so that any difference is real.
        among: If it is a count of trials, the counts that add up to all trials.
    """

    threshold: float
    exact: bool = False
    among: tuple[str, ...] = ()


@dataclass(frozen=True)
class ComparedFigure:
    """One quantity of one case in two runs: a row of the comparison.

    Attributes:
        case: Id of the case.
        label: Its label.
        quantity: A name of `QUANTITIES`, or ``status`` if the case failed in a run.
        base: Median in the base run; for trials, the mean per round.
        new: The same in the new run.
        ratio: `new` / `base`, with the ends of its bootstrap 95 % interval.
        least_ratio: Ratio of the least values of the rounds; None if the quantity is exact or has too few rounds.
        p: Its p value, corrected for all rows (Holm 1979).
        tests: Number of rows that `p` is corrected for.
        threshold: The relative change that matters.
        contended: Whether too few uncontended rounds were left to compare times.
        change: What became of the figure.
        reason: What that rests on.
        base_status: Status of the case in the base run; of the first round that failed, if any did.
        new_status: The same in the new run.
        base_message: What the record says about it.
        new_message: The same in the new run.
    """

    case: str
    label: str
    quantity: str
    base: float | None = None
    new: float | None = None
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    least_ratio: float | None = None
    p: float | None = None
    tests: int | None = None
    threshold: float | None = None
    contended: bool = False
    change: Change = Change.SAME
    reason: Reason = Reason.WITHIN_THRESHOLD
    base_status: str = "ok"
    new_status: str = "ok"
    base_message: str = ""
    new_message: str = ""
