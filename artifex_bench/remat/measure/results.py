"""What each phase of measuring a case gives: the results that probes read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from artifex_bench.compat import TracedProgram
from artifex_bench.remat.measure.program import Program
from artifex_bench.remat.measure.roofline import Estimate
from artifex_bench.remat.planner.plan import BudgetPlan
from artifex_bench.targets import Description, local


@dataclass(frozen=True)
class Settled:
    """A program whose budget has become a plan."""

    program: Program
    plan: BudgetPlan


@dataclass(frozen=True)
class Traced:
    """The program as autodiff left it, before any compiler, and before it is partitioned over its `devices`."""

    state: Any
    gradient: TracedProgram
    residual_bytes: int
    devices: int


@dataclass(frozen=True)
class Compiled:
    """The step (or the gradient, where the case asks for that alone) compiled for its target.

    `step` is None where the compiler refused the program for its memory (`peak` is what it asked for then), and where
    a device that is not there has been compiled for before (`from_cache`). Of a program over several `devices`,
    figures are those of one of them.
    """

    step: Any | None
    trace_seconds: float
    compile_seconds: float
    from_cache: bool
    options: dict[str, str | bool]
    peak: int
    parts: dict[str, Any]
    flops: float | None
    devices: int

    @property
    def refused(self) -> bool:
        """Whether the compiler gave no program, for want of memory, now or when it was compiled before."""
        return self.parts.get("formula") == local.REFUSED


@dataclass(frozen=True)
class Planned:
    """What is said of a device that is not there, and an estimate of the step by it, or why there is none."""

    description: Description
    estimate: Estimate | str


@dataclass(frozen=True)
class Ran:
    """The compiled step on real arrays: seconds of the first and of the following steps, the peak while these ran,
    and what the first gave: loss and a sketch of the gradients (None where they were not asked for).
    """

    first_seconds: float
    seconds: list[float]
    peak: int | None
    peak_source: str
    others_share: float | None
    first_result: tuple[float, dict[str, Any]] | None


@dataclass(frozen=True)
class Split:
    """Seconds of the forward pass alone, which every strategy shares."""

    forward_seconds: list[float]
