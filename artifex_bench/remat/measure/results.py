"""Results of the stages of measuring a case, which probes read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from artifex_bench.compat import TracedProgram
from artifex_bench.remat.measure.program import Program
from artifex_bench.remat.measure.roofline import Estimate
from artifex_bench.remat.planner.plan import BudgetPlan
from artifex_bench.targets import Description, local


@dataclass(frozen=True)
class Planned:
    """A program under the memory plan that meets its budget."""

    program: Program
    plan: BudgetPlan


@dataclass(frozen=True)
class Traced:
    """A program after autodiff, before any compiler and before it is partitioned over its devices.

    Attributes:
        state: Shapes of its state, as `Program` has them.
        gradient: The traced forward and backward pass.
        residual_bytes: Bytes that autodiff saves, on all devices together.
        devices: Number of devices.
    """

    state: Any
    gradient: TracedProgram
    residual_bytes: int
    devices: int


@dataclass(frozen=True)
class Compiled:
    """A step, or the gradient if the case asks for that alone, compiled for its target.

    Attributes:
        step: The compiled function. None if the compiler refused the program for its memory, or if its figures come
            from the cache of an AOT target.
        trace_seconds: Seconds of tracing and lowering.
        compile_seconds: Seconds of compilation.
        from_cache: Whether a cache held the program or its figures.
        options: XLA options.
        peak: Compiled peak in bytes, of one device; what the compiler asked for if it refused the program.
        parts: Parts of the peak in bytes, and the name of its formula.
        flops: FLOPs of one device, or None if the compiler reports none.
        devices: Number of devices.
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
        """Whether the compiler refused the program for its memory, now or when its figures were cached."""
        return self.parts.get("formula") == local.REFUSED


@dataclass(frozen=True)
class Estimated:
    """An AOT target's description, and an estimate of the step on it or why there is none."""

    description: Description
    estimate: Estimate | str


@dataclass(frozen=True)
class Ran:
    """A compiled step that ran on arrays.

    Attributes:
        first_seconds: Seconds of the first step.
        seconds: Seconds of each step after the warm-up.
        peak: Measured peak in bytes, or None if it cannot be read.
        peak_source: How the peak was read, or why it was not.
        others_share: Share of processor time that other processes took meanwhile, or None if it cannot be read.
        first_result: Loss of the first step and sketch of its gradients, or None if they were not asked for.
    """

    first_seconds: float
    seconds: list[float]
    peak: int | None
    peak_source: str
    others_share: float | None
    first_result: tuple[float, dict[str, Any]] | None


@dataclass(frozen=True)
class ForwardTimed:
    """Seconds of each run of the forward pass alone."""

    forward_seconds: list[float]
