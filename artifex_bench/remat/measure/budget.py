"""A budget met on a target: what the target compiles to, what it does in a second, and what was chosen, kept."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from artifex_bench import targets
from artifex_bench.core.case import LOCAL, CaseError
from artifex_bench.remat.measure.compile import compile_step
from artifex_bench.remat.measure.program import Program
from artifex_bench.remat.measure.rates import Roofline, roofline
from artifex_bench.remat.measure.results import Settled
from artifex_bench.remat.planner import kept
from artifex_bench.remat.planner.loop import meet
from artifex_bench.remat.planner.plan import Built
from artifex_bench.remat.planner.stacks import planned
from artifex_bench.targets import local


@dataclass(frozen=True)
class Target:
    """Where a plan is compiled. `build(function, args, donated)` compiles it at those arguments, or shapes, with XLA's
    `options`. `capacity` is what one program may have, in bytes, where that is known. A process takes up to `reserve`
    bytes beside the program.
    """

    name: str
    roofline: Roofline
    build: Callable[[Callable[..., Any], Sequence[Any], tuple[int, ...]], Built]
    options: Mapping[str, Any] = field(default_factory=dict)
    capacity: float = math.inf
    reserve: float = 0.0


def target(name: str) -> Target:
    """The attached device, or one that is not there, by its name; compiled faithfully, as every case is.

    Raises CaseError where there is no such target, its compiler is not installed, or JAX is free to start devices.
    """
    if name != LOCAL:
        targets.check_installed(name)
        if targets.load_description(name).devices > 1:
            raise CaseError(
                f"target {name!r}: a budget is planned for one device: valid are "
                + ", ".join(targets.load_descriptions())
            )
        # it would look for the device itself, and lose one that is there
        if getattr(jax.config, "jax_platforms", None) != "cpu":
            raise CaseError(f"target {name!r}: is not attached: plan for it in a process with JAX_PLATFORMS=cpu")
    device = targets.load_target(name)
    options = device.options("faithful")

    def build(function: Callable[..., Any], args: Sequence[Any], donated: tuple[int, ...]) -> Built:
        given = args if device.description is None else device.place(jax.eval_shape(lambda *a: a, *args))
        lowered = jax.jit(function, donate_argnums=donated).lower(*given)
        step, peak, _ = local.compile_program(device, lowered, options)
        if step is None:
            return Built(peak, refused=True)
        shapes = any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(args))
        return Built(peak, None if shapes or device.description else _runs(step, lambda: args, donated))

    shown = device.platform if device.description is None else name
    rates, reserve = roofline(device.platform, device.description), _reserve(device)
    return Target(shown, rates, build, options, _capacity(device), reserve)


def _capacity(device: targets.Target) -> float:
    return math.inf if device.description is None else device.description.capacity_bytes


def _reserve(device: targets.Target) -> float:
    """What is left free of a budget so that it holds as measured: a CPU took 1 to 7 MiB beside the program."""
    return 8 * 2**20 if device.platform == "cpu" and device.description is None else 0.0


def _runs(step: Callable[..., Any], args: Callable[[], Sequence[Any]], donated: tuple[int, ...]) -> Callable[[], float]:
    """One run of a compiled step: its seconds. What it takes by donation is copied before."""

    def run() -> float:
        given = [jax.tree.map(jnp.copy, arg) if i in donated else arg for i, arg in enumerate(args())]
        jax.block_until_ready(given)
        start = time.perf_counter()
        jax.block_until_ready(step(*given))
        return time.perf_counter() - start

    return run


def settle(program: Program, device: targets.Target, timed: bool, place: Path | None) -> Settled:
    """The case's budget met on the device; what is chosen is kept at `place`.

    With `timed`, those that fit are run where the device is attached, and the fastest is chosen by that. Raises
    BudgetError when nothing fits.
    """
    assert program.plan.budget is not None
    state, batch = program.abstract()
    arrays = functools.cache(program.initialize)

    def build(loss: Callable[..., Any]) -> Built:
        found = compile_step(replace(program, loss=loss), device)
        if found.step is None or not timed or device.description is not None:
            return Built(found.peak, refused=found.refused)
        return Built(found.peak, _runs(found.step, arrays, program.donated))

    groups, plan = meet(
        program.loss,
        (state["params"], state["rest"], batch),
        program.plan.budget,
        roofline(device.platform, device.description).rates(),
        jax.grad,
        build,
        device.platform if device.description is None else program.case.target,
        capacity=_capacity(device),
        reserve=_reserve(device),
    )
    plan = replace(plan, compiler_options=device.options(program.case.compiler))
    if place is not None:
        kept.write(place, groups)
    return Settled(replace(program, loss=planned(program.loss, groups)), plan)


def settled_before(program: Program, place: Path) -> Program | None:
    """The program with the choices kept there, so that every round of a run has the same; None where there are none."""
    groups = kept.read(place)
    return None if groups is None else replace(program, loss=planned(program.loss, groups))
