"""Which steps stay on disk: a Retention says it, `expired` applies it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from artifex_bench.checkpointing.step_info import StepInfo


@dataclass(frozen=True)
class Retention:
    """A step stays if any of these keeps it; the newest step and pinned steps (`keep=True`) always stay.

    `last`: that many newest steps. `every`: the steps divisible by it. `best`: that many best by `metric`, where
    `mode` "min" or "max" says what is best; a NaN is worst. `all`: every step.
    """

    last: int | None = 5
    every: int | None = None
    best: int | None = None
    metric: str | None = None
    mode: str = "min"
    all: bool = False

    def __post_init__(self) -> None:
        for name in ("last", "every", "best"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ValueError(f"{name} {value!r}: must be a whole number of 1 or more, or None")
        if self.best is not None and not self.metric:
            raise ValueError(f"best={self.best} needs metric='…': the name of the metric that says which is best")
        if self.mode not in ("min", "max"):
            raise ValueError(f"mode {self.mode!r}: must be 'min' or 'max'")

    def score(self, metrics: Mapping[str, Any] | None) -> float:
        """The step's worth: higher is better; minus infinity where the metric is absent or NaN."""
        value = float((metrics or {}).get(self.metric or "", math.nan))
        if math.isnan(value):
            return -math.inf
        return -value if self.mode == "min" else value

    def best_of(self, metrics: Mapping[int, Mapping[str, Any] | None]) -> int | None:
        """The step that is best by its metrics, the later one of equals, or None where no step has the metric."""
        scored = [(self.score(found), step) for step, found in metrics.items()]
        return max((s for s in scored if s[0] > -math.inf), default=(0.0, None))[1]

    def checked(self, metrics: Mapping[str, Any] | None) -> dict[str, float] | None:
        """The metrics as numbers. Raises ValueError where one is no number, or the one that decides is missing."""
        if metrics is not None and not isinstance(metrics, Mapping):
            raise ValueError(f"metrics of type {type(metrics).__name__}: must be a dict from names to numbers")
        if self.best is not None and self.metric not in (metrics or {}):
            raise ValueError(f"Retention keeps the best by {self.metric!r}: pass metrics={{{self.metric!r}: …}}")
        try:
            return None if metrics is None else {str(name): float(value) for name, value in metrics.items()}
        except (TypeError, ValueError) as error:
            raise ValueError(f"metrics {dict(metrics or {})!r}: each must be one number") from error


KEEP_ALL = Retention(all=True)


def expired(retention: Retention, steps: Sequence[int], info: Callable[[int], StepInfo | None]) -> list[int]:
    """Those of the committed steps (oldest first) that nothing keeps; `info` is asked where it matters.

    A step whose info is None, because it is damaged, stays: it may have been pinned, or the best.
    """
    if retention.all:
        return []
    kept = set(steps[-(retention.last or 1) :])
    if retention.every is not None:
        kept.update(step for step in steps if step % retention.every == 0)
    candidates = steps if retention.best is not None else [step for step in steps if step not in kept]
    known = {step: info(step) for step in candidates}
    kept.update(step for step, found in known.items() if found is None or found.pinned)
    if retention.best is not None:
        scored = [
            (retention.score(found.metrics), step)
            for step, found in known.items()
            if found is not None and found.metrics is not None
        ]
        kept.update(step for _, step in sorted(scored)[-retention.best :])
    return [step for step in steps if step not in kept]
