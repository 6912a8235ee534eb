"""Which steps stay on disk: a Retention says it, `policy` puts it in Orbax's preservation policies."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orbax.checkpoint import checkpoint_managers as policies


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

    def checked(self, metrics: Mapping[str, Any] | None) -> dict[str, float] | None:
        """The metrics as numbers. Raises ValueError where one is no number, or the one that decides is missing."""
        if self.best is not None and self.metric not in (metrics or {}):
            raise ValueError(f"Retention keeps the best by {self.metric!r}: pass metrics={{{self.metric!r}: …}}")
        try:
            return None if metrics is None else {str(name): float(value) for name, value in metrics.items()}
        except (TypeError, ValueError) as error:
            raise ValueError(f"metrics {dict(metrics or {})!r}: each must be one number") from error


KEEP_ALL = Retention(all=True)


@dataclass
class _Pinned(policies.PreservationPolicy):
    is_pinned: Callable[[int], bool]

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> Sequence[bool]:
        return [self.is_pinned(checkpoint.step) for checkpoint in checkpoints]


def policy(retention: Retention, is_pinned: Callable[[int], bool]) -> policies.PreservationPolicy:
    """Orbax's preservation policy for a Retention; `is_pinned` tells whether a step was saved with `keep=True`."""
    if retention.all:
        return policies.LatestN(None)  # None: all of them
    parts: list[policies.PreservationPolicy] = [policies.LatestN(retention.last or 1), _Pinned(is_pinned)]
    if retention.every is not None:
        parts.append(policies.EveryNSteps(retention.every))
    if retention.best is not None:
        best = policies.BestN(get_metric_fn=retention.score, n=retention.best, keep_checkpoints_without_metrics=False)
        parts.append(best)
    return policies.AnyPreservationPolicy(parts)
