"""A budget met on a target: what the target compiles to, and what it is assumed to do in a second."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax

from artifex_bench.measure.program import Program
from artifex_bench.measure.rates import ROOFLINES, Roofline
from artifex_bench.remat.budget.loop import meet
from artifex_bench.remat.budget.plan import BudgetPlan
from artifex_bench.targets import attached


@dataclass(frozen=True)
class Target:
    """Where a plan is compiled. `peak(function, args, donated)` compiles it at those shapes: peak bytes."""

    name: str
    roofline: Roofline
    peak: Callable[[Callable[..., Any], Sequence[Any], tuple[int, ...]], int]


def roofline(platform: str) -> Roofline:
    """What a device of that platform is assumed to do in a second."""
    return ROOFLINES.get(platform, ROOFLINES["gpu"])


def attached_target() -> Target:
    """The attached device, compiled faithfully: options as in every case."""
    platform = jax.default_backend()
    options = attached.compiler_options(platform, "faithful")

    def peak(function: Callable[..., Any], args: Sequence[Any], donated: tuple[int, ...]) -> int:
        compiled = jax.jit(function, donate_argnums=donated).lower(*args).compile(compiler_options=options)
        return attached.compiled_peak(platform, compiled.memory_analysis())[0]

    return Target(platform, roofline(platform), peak)


@dataclass(frozen=True)
class Settled:
    """A program whose budget has become a plan."""

    program: Program
    plan: BudgetPlan


def settle(program: Program, peak: Callable[[Program], int], platform: str) -> Settled:
    """The case's budget met: `peak(program)` compiles what the case measures. Raises BudgetError when nothing fits."""
    assert program.plan.budget is not None
    state, batch = program.abstract()
    loss, plan = meet(
        program.loss,
        (state["params"], state["rest"], batch),
        program.plan.budget,
        roofline(platform).rates(),
        lambda loss: peak(replace(program, loss=loss)),
        platform,
    )
    return Settled(replace(program, loss=loss), plan)
