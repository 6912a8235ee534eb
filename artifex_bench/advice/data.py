"""Advice as data: enums, numbers and names. `words.py` writes it as text; docs/advice.md documents it. No JAX."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from artifex_bench.core.units import is_present


class Question(StrEnum):
    """What the choice is best at, among the cases that meet the limits."""

    FASTEST = "fastest"
    LEAST_MEMORY = "least-memory"
    SHORTEST_ESTIMATE = "shortest-estimate"
    LEAST_RECOMPUTATION = "least-recomputation"
    LEAST_TIME_LOST = "least-time-lost"


class Reason(StrEnum):
    """Why a case was rejected. Statuses of records and verdicts keep their names."""

    OOM = "oom"
    TIMEOUT = "timeout"
    FAILED = "failed"
    SKIPPED = "skipped"
    NO_OP = "no-op"
    ELIMINATED = "eliminated"
    NO_SAVING = "no-saving"
    NOT_TIMED = "not-timed"
    NO_PEAK = "no-peak"
    NO_BASELINE = "no-baseline"
    NO_ESTIMATE = "no-estimate"
    HOST_TRANSFERS = "host-transfers"
    OVER_MEMORY_BUDGET = "over-memory-budget"
    OVER_MEMORY_BUDGET_MEASURED = "over-memory-budget-measured"
    NEEDS_LARGER_POOL = "needs-larger-pool"
    OVER_TIME_BUDGET = "over-time-budget"
    PERHAPS_OVER_TIME_BUDGET = "perhaps-over-time-budget"
    DOMINATED = "dominated"
    SLOWER = "slower"
    SLOWER_ESTIMATE = "slower-estimate"
    LARGER = "larger"
    RECOMPUTES_MORE = "recomputes-more"
    LOSES_MORE = "loses-more"
    SILENT_LOSS = "silent-loss"
    ONLY_CASE = "only-case"


class Level(StrEnum):
    """How certain the choice is."""

    HIGH = "high"
    LOW = "low"
    UNKNOWN = "unknown"


class Doubt(StrEnum):
    """What makes a choice uncertain."""

    OVERLAP = "overlap"
    CONTENDED = "contended"
    SINGLE_SAMPLE = "single-sample"
    TIME_BUDGET = "time-budget"
    NOT_TIMED = "not-timed"
    ESTIMATED_TIME = "estimated-time"
    UNKNOWN_TIME = "unknown-time"


@dataclass(frozen=True)
class Limits:
    """What the choice must meet. None: no such limit.

    Attributes:
        memory_bytes: Largest peak.
        device_memory_bytes: Memory of the device, if `memory_bytes` is the share of it that JAX's pool takes.
        time_ratio: Longest step, as a multiple of the step of strategy `none`.
        mtbf_seconds: Mean time between failures.
    """

    memory_bytes: float | None = None
    device_memory_bytes: float | None = None
    time_ratio: float | None = None
    mtbf_seconds: float | None = None


@dataclass(frozen=True)
class Candidate:
    """A case with the figures that speak for it.

    Attributes:
        name: The strategy, or ``format, mode`` of a save.
        figures: Name -> number, in the unit that the name ends in. Figures that are not known are left out.
        program_of: The strategy whose program a budget compiled to; None if it has a program of its own.
        detects_damage: Whether the format detects damaged files; None if that is not known, or it is not a save.
    """

    name: str
    figures: dict[str, float]
    program_of: str | None = None
    detects_damage: bool | None = None


@dataclass(frozen=True)
class Confidence:
    """How certain a choice is.

    Attributes:
        level: `HIGH` if the cases that were measured leave no doubt about the answer.
        doubts: What makes it uncertain, or leaves its cost unknown.
        interval: 95 % interval of the figure that decides; None if it does not vary, or has a single sample.
        overlaps: The cases whose interval overlaps it.
    """

    level: Level
    doubts: tuple[Doubt, ...] = ()
    interval: tuple[float, float] | None = None
    overlaps: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rejection:
    """Why a case was not chosen.

    Attributes:
        reason: The first reason that applies.
        figures: Name -> number, in the unit that the name ends in.
        dominated_by: The case that is no slower and needs no more memory.
        message: What the record says about its status or its verdict.
    """

    reason: Reason
    figures: dict[str, float] = field(default_factory=dict)
    dominated_by: str | None = None
    message: str = ""


@dataclass(frozen=True)
class Advice:
    """The advice for one group of cases.

    Attributes:
        question: What the choice is best at.
        limits: What it must meet.
        group: Title of the group of cases, as above its table.
        choice: The best case; None if no case meets the limits, or if there is only one case.
        runner_up: The second best; None if no other case meets the limits.
        confidence: How certain the choice is; None without a choice.
        nearest: Without a choice, the only case, or the one nearest to the limits; None if no case has the figures.
        rejected: Name -> why, for all other cases.
    """

    question: Question
    limits: Limits
    group: str
    choice: Candidate | None
    runner_up: Candidate | None
    confidence: Confidence | None
    nearest: Candidate | None
    rejected: dict[str, Rejection]

    @property
    def is_met(self) -> bool:
        """Whether a case meets the limits: the choice, or the only case, which was compared with nothing."""
        return self.choice is not None or any(one.reason is Reason.ONLY_CASE for one in self.rejected.values())

    def to_json(self) -> dict[str, Any]:
        """Return the advice as plain JSON values."""
        return asdict(self)


def select_figures(row: Any, *columns: str) -> dict[str, float]:
    """Return the numbers of a row of `load_run` that are known, by column."""
    return {name: float(value) for name in columns if is_present(value := getattr(row, name))}


def reject_unusable(row: Any) -> Rejection | None:
    """Return why a case has no result that can be chosen, or None: it was not measured, or has no effect."""
    if row.status != "ok":
        return Rejection(Reason(row.status), message=str(row.reason))
    if row.kind == "remat" and is_present(row.verdict) and row.verdict != "effective":
        return Rejection(Reason(row.verdict), message=str(row.verdict_reason))
    return None


def judge_confidence(
    low: float | None,
    high: float | None,
    contended: bool,
    rivals: Mapping[str, float | None],
    doubts: tuple[Doubt, ...] = (),
) -> Confidence:
    """Judge a choice by the 95 % interval of the figure that decides, where less is better.

    Args:
        low: Lower end of the choice's interval; None or NaN if there is none.
        high: Upper end of it.
        contended: Whether other processes used the CPU while the choice was timed.
        rivals: Name -> lower end of the interval, for the other cases that meet the limits.
        doubts: Further doubts.

    Returns:
        The confidence.
    """
    interval: tuple[float, float] | None = None
    overlaps: tuple[str, ...] = ()
    if low is not None and high is not None and is_present(low) and is_present(high):
        interval = (float(low), float(high))
        overlaps = tuple(
            name for name, end in rivals.items() if end is None or not is_present(end) or end <= interval[1]
        )
    found = {Doubt.CONTENDED: contended, Doubt.SINGLE_SAMPLE: interval is None, Doubt.OVERLAP: overlaps}
    doubts = (*(doubt for doubt, applies in found.items() if applies), *doubts)
    level = Level.UNKNOWN if Doubt.SINGLE_SAMPLE in doubts else Level.LOW if doubts else Level.HIGH
    return Confidence(level, doubts, interval, overlaps)
