"""StepCompiler: where a memory plan is compiled. plan_program: the plan of a case whose strategy is a budget."""

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
from artifex_bench.remat.measure.rates import Roofline, find_roofline
from artifex_bench.remat.measure.results import Planned
from artifex_bench.remat.planner.plan_file import read_choices, write_choices
from artifex_bench.remat.planner.planning import plan_for_budget
from artifex_bench.remat.planner.rewrite import rewrite_function
from artifex_bench.remat.planner.trial import CompiledStep
from artifex_bench.targets import local

# Bytes that a process on a CPU may take besides its program. Measured: 3.0 to 3.6 MiB for 12 cases, and 3 to 7 MiB at
# longer sequences (docs/figures.md, "Compiled against measured peak"; jax 0.12.0.1).
CPU_RESERVE = 8 * 2**20


@dataclass(frozen=True)
class StepCompiler:
    """Where a memory plan is compiled.

    Attributes:
        name: Its name.
        roofline: Its rates.
        build: ``build(function, args, donated)`` compiles a step at those arguments, or shapes, with XLA's `options`.
            `donated` are the positions of the arguments to donate.
        options: XLA options.
        capacity: Memory of one program in bytes, if it is known.
        reserve: Bytes that a process may take besides the program.
    """

    name: str
    roofline: Roofline
    build: Callable[[Callable[..., Any], Sequence[Any], tuple[int, ...]], CompiledStep]
    options: Mapping[str, Any] = field(default_factory=dict)
    capacity: float = math.inf
    reserve: float = 0.0


def make_step_compiler(name: str) -> StepCompiler:
    """Return the local target, or an AOT target by its name. Steps are compiled so that XLA keeps the recomputation.

    Args:
        name: ``local``, or the name of a description, such as ``tpu:v5e``.

    Raises:
        CaseError: The name is unknown or has several devices, its compiler is not installed, or JAX may start other
            devices than the CPU.
    """
    if name != LOCAL:
        targets.check_installed(name)
        if targets.load_description(name).devices > 1:
            raise CaseError(
                f"target {name!r}: a budget is planned for one device: valid are "
                + ", ".join(targets.load_descriptions())
            )
        # the compiler of an AOT target looks for the device, and would take it from other processes
        if getattr(jax.config, "jax_platforms", None) != "cpu":
            raise CaseError(f"target {name!r}: AOT targets need a process with JAX_PLATFORMS=cpu")
    device = targets.load_target(name)
    options = device.options("faithful")

    def compile_function(function: Callable[..., Any], args: Sequence[Any], donated: tuple[int, ...]) -> CompiledStep:
        given = args if device.description is None else device.place(jax.eval_shape(lambda *a: a, *args))
        lowered = jax.jit(function, donate_argnums=donated).lower(*given)
        step, peak, _ = local.compile_program(device, lowered, options)
        if step is None:
            return CompiledStep(peak, refused=True)
        shapes = any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(args))
        runs = not shapes and device.description is None
        return CompiledStep(peak, _make_runner(step, lambda: args, donated) if runs else None)

    shown = device.platform if device.description is None else name
    rates, reserve = find_roofline(device.platform, device.description), _find_reserve(device)
    return StepCompiler(shown, rates, compile_function, options, _find_capacity(device), reserve)


def _find_capacity(device: targets.Target) -> float:
    return math.inf if device.description is None else device.description.capacity_bytes


def _find_reserve(device: targets.Target) -> float:
    return CPU_RESERVE if device.platform == "cpu" and device.description is None else 0.0


def _make_runner(
    step: Callable[..., Any], make_args: Callable[[], Sequence[Any]], donated: tuple[int, ...]
) -> Callable[[], float]:
    """Return a function that runs a compiled step once and returns its seconds. Donated arguments are copied first."""

    def time_step() -> float:
        args = [jax.tree.map(jnp.copy, arg) if i in donated else arg for i, arg in enumerate(make_args())]
        jax.block_until_ready(args)
        start = time.perf_counter()
        jax.block_until_ready(step(*args))
        return time.perf_counter() - start

    return time_step


def plan_program(program: Program, device: targets.Target, timed: bool, path: Path | None) -> Planned:
    """Plan a case whose strategy is a budget.

    Args:
        program: The case's program.
        device: The device that it is compiled for.
        timed: Whether to run the plans that fit, if the device is local, and choose the fastest by that.
        path: File to write the choices to, or None.

    Returns:
        The program under the chosen plan, and the plan.

    Raises:
        BudgetError: No compiled plan fits.
    """
    assert program.plan.budget is not None
    state, batch = program.eval_shapes()
    make_arrays = functools.cache(program.make_arrays)

    def compile_loss(loss: Callable[..., Any]) -> CompiledStep:
        compiled = compile_step(replace(program, loss=loss), device)
        if compiled.step is None or not timed or device.description is not None:
            return CompiledStep(compiled.peak, refused=compiled.refused)
        return CompiledStep(compiled.peak, _make_runner(compiled.step, make_arrays, program.donated))

    groups, plan = plan_for_budget(
        program.loss,
        (state["params"], state["rest"], batch),
        program.plan.budget,
        find_roofline(device.platform, device.description).make_rates(),
        jax.grad,
        compile_loss,
        device.platform if device.description is None else program.case.target,
        capacity=_find_capacity(device),
        reserve=_find_reserve(device),
    )
    plan = replace(plan, compiler_options=device.options(program.case.compiler))
    if path is not None:
        write_choices(path, groups)
    return Planned(replace(program, loss=rewrite_function(program.loss, groups)), plan)


def load_planned_program(program: Program, path: Path) -> Program | None:
    """Return the program under the choices in a file, so that all rounds of a run share them; None without a file."""
    groups = read_choices(path)
    return None if groups is None else replace(program, loss=rewrite_function(program.loss, groups))
