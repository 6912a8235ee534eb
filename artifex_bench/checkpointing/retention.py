"""Retention: which steps stay on disk."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from artifex_bench.checkpointing.step_info import StepInfo


@dataclass(frozen=True)
class Retention:
    """Rules that keep steps. A step stays if any rule keeps it.

    The newest step and pinned steps (`keep=True`) always stay.

    Attributes:
        last: Keep this many newest steps, or None.
        every: Keep the steps divisible by this number, or None.
        best: Keep this many steps that are best by `metric`, or None.
        metric: Name of the metric that ranks the steps.
        mode: "min" or "max", the better direction of the metric. A NaN is the worst value.
        all: Keep every step.
    """

    last: int | None = 5
    every: int | None = None
    best: int | None = None
    metric: str | None = None
    mode: str = "min"
    all: bool = False

    def __post_init__(self) -> None:
        """Check the rules.

        Raises:
            ValueError: If a number is below 1, `best` lacks a metric, or the mode is unknown.
        """
        for name in ("last", "every", "best"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ValueError(f"{name} {value!r}: must be a whole number of 1 or more, or None")
        if self.best is not None and not self.metric:
            raise ValueError(f"best {self.best}: needs a metric to rank the steps by; pass metric='…'")
        if self.mode not in ("min", "max"):
            raise ValueError(f"mode {self.mode!r}: must be 'min' or 'max'")

    def score(self, metrics: Mapping[str, Any] | None) -> float:
        """Compute the rank of a step.

        Args:
            metrics: The metrics of the step, or None.

        Returns:
            A number that is higher for better steps, or minus infinity if the metric is missing or NaN.
        """
        value = float((metrics or {}).get(self.metric or "", math.nan))
        if math.isnan(value):
            return -math.inf
        return -value if self.mode == "min" else value

    def find_best(self, metrics: Mapping[int, Mapping[str, Any] | None]) -> int | None:
        """Find the best step.

        Args:
            metrics: The metrics of each step, or None for a step without metrics.

        Returns:
            The step with the highest score, the later of equals, or None if no step has the metric.
        """
        scored = [(self.score(step_metrics), step) for step, step_metrics in metrics.items()]
        return max((s for s in scored if s[0] > -math.inf), default=(0.0, None))[1]

    def check_metrics(self, metrics: Mapping[str, Any] | None) -> dict[str, float] | None:
        """Check the metrics of a step that is to be saved.

        Args:
            metrics: The metrics by name, or None.

        Returns:
            The metrics as floats, or None.

        Raises:
            ValueError: If a metric is not a number, or the one that ranks the steps is missing.
        """
        if metrics is not None and not isinstance(metrics, Mapping):
            raise ValueError(f"metrics of type {type(metrics).__name__}: must be a dict from names to numbers")
        if self.best is not None and self.metric not in (metrics or {}):
            raise ValueError(
                f"metrics without {self.metric!r}: the Retention keeps the best steps by it; "
                f"pass metrics={{{self.metric!r}: …}}"
            )
        if metrics is None:
            return None
        numbers = {}
        for name, value in metrics.items():
            try:
                numbers[str(name)] = float(value)
            except (TypeError, ValueError) as error:
                raise ValueError(f"metrics: {name!r} is a {type(value).__name__}, must be one number") from error
        return numbers


KEEP_ALL = Retention(all=True)


def find_expired_steps(retention: Retention, steps: Sequence[int], info: Callable[[int], StepInfo | None]) -> list[int]:
    """Find the committed steps that nothing keeps.

    Args:
        retention: The rules.
        steps: The committed steps, oldest first.
        info: Returns the StepInfo of a step. It is called only for steps whose fate depends on it.

    Returns:
        The steps to delete. A step whose StepInfo is None (damaged) stays: it may have been pinned, or the best.
    """
    if retention.all:
        return []
    kept = set(steps[-(retention.last or 1) :])
    if retention.every is not None:
        kept.update(step for step in steps if step % retention.every == 0)
    candidates = steps if retention.best is not None else [step for step in steps if step not in kept]
    infos = {step: info(step) for step in candidates}
    kept.update(step for step, known in infos.items() if known is None or known.pinned)
    if retention.best is not None:
        scored = [
            (retention.score(known.metrics), step)
            for step, known in infos.items()
            if known is not None and known.metrics is not None
        ]
        kept.update(step for _, step in sorted(scored)[-retention.best :])
    return [step for step in steps if step not in kept]
