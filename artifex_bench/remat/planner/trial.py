"""Trial: a candidate that was compiled, with its predicted and its true peak, and its measured seconds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from artifex_bench.remat.planner.cost_model import Candidate


@dataclass(frozen=True)
class CompiledStep:
    """A step that a target compiled.

    Attributes:
        peak: Compiled peak in bytes; what the compiler asked for if it refused the program.
        run: Runs the step once and returns its seconds, or None if it cannot be run here.
        refused: Whether the compiler refused the program for its memory.
    """

    peak: int
    run: Callable[[], float] | None = None
    refused: bool = False


@dataclass(frozen=True)
class Trial:
    """A candidate that was compiled.

    Attributes:
        candidate: The candidate.
        predicted: The peak predicted just before it was compiled, in bytes; None for the first.
        step: The compiled step.
        seconds: Measured seconds of each run; empty if it was not run.
    """

    candidate: Candidate
    predicted: float | None
    step: CompiledStep
    seconds: tuple[float, ...] = ()

    @property
    def peak(self) -> int:
        """Compiled peak in bytes."""
        return self.step.peak

    def fits(self, limit: float) -> bool:
        """Return whether the compiler accepted the program and its peak is within the limit."""
        return not self.step.refused and self.peak <= limit

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            **estimates_to_json(self.candidate),
            "predicted": None if self.predicted is None else round(self.predicted),
            "peak": self.peak,
            "refused": self.step.refused,
            "measured_seconds": list(self.seconds),
        }


def estimates_to_json(candidate: Candidate) -> dict[str, Any]:
    """Return a candidate's label and what it adds to a step, as plain JSON values."""
    return {"plan": candidate.label, "extra_flops": candidate.flops, "extra_seconds": candidate.seconds}
