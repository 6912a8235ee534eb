"""The phases of measuring a case: traced, compiled, run, checked. Each is a frozen result that probes read."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from artifex_bench import targets
from artifex_bench.compat import set_remat3
from artifex_bench.core.case import RematCase
from artifex_bench.core.case_names import case_id
from artifex_bench.core.job import REST, SEARCH, Job, SkipJob
from artifex_bench.core.record import Measurement
from artifex_bench.remat.measure import budget, jaxprs
from artifex_bench.remat.measure.compile import compile_step
from artifex_bench.remat.measure.gradient_sketch import sketch
from artifex_bench.remat.measure.probes import absent, take, tree_bytes
from artifex_bench.remat.measure.program import Program, build, check_tags
from artifex_bench.remat.measure.results import Compiled, Planned, Ran, Settled, Split, Traced
from artifex_bench.remat.measure.roofline import estimate
from artifex_bench.remat.measure.timing import CpuShare, time_steps, warm_up
from artifex_bench.targets import Description, Target, local


def measure(job: Job) -> Iterator[Measurement]:
    """Every probe's measurement, phase by phase, each as soon as it is taken.

    Without timed steps nothing is run. Later rounds only repeat the timing: what a program is does not change.
    """
    assert isinstance(job.case, RematCase)
    target = targets.load_target(job.case.target)
    program, settled = prepare(job, target)
    first = job.round == 0
    if first and settled is not None:
        yield from take("settled", settled)
    if job.part == SEARCH:
        return
    traced = trace(program) if first else None
    if traced is not None:
        yield from take("traced", traced)
    compiled = compile_step(program, target)
    yield from take("compiled", compiled)
    if target.description is not None:
        if traced is not None:
            yield from take("planned", plan(program, traced, target.description))
        if target.cublas_options is not None:
            yield from compile_without_triton(program, target)
        yield from absent("ran", f"{job.case.target} is not attached: the step was compiled for it and not run")
        return
    if not job.steps:
        yield from absent("ran", "compile only: no steps were asked for")
        return
    ran = run(program, compiled, job.steps, with_gradients=first)
    yield from take("ran", ran)
    if first and job.case.strategy == "none":
        yield from take("split", time_forward(program, compiled.options, job.steps))


def compile_without_triton(program: Program, target: Target) -> Iterator[Measurement]:
    """The peak of a GPU's program if cuBLAS computes every matrix product, or why it cannot be compiled so."""
    assert target.cublas_options is not None
    try:
        yield from take("cublas", compile_step(program, target, dict(target.cublas_options)))
    except jax.errors.JaxRuntimeError as error:
        yield from absent("cublas", " ".join(str(error).split())[:300])


def prepare(job: Job, target: Target) -> tuple[Program, Settled | None]:
    """The program that is measured. Where the strategy is a budget, with the plan that meets it; a later round, and
    what follows a search of its own, take what that chose.
    """
    assert isinstance(job.case, RematCase)
    set_remat3(job.case.remat3 == "on")
    program = build(job.case, target.devices)
    refuse_offload(program, target.platform)
    if program.plan.budget is None:
        return program, None
    place = Path(job.cache) / f"{case_id(job.case)}.json" if job.cache is not None else None
    again = job.round > 0 or job.part == REST
    before = budget.load_planned_program(program, place) if again and place is not None else None
    if before is not None:
        return before, None
    timed = job.steps > 0 and job.profile is None
    settled = budget.plan_program(program, target, timed, place)
    return settled.program, settled


def refuse_offload(program: Program, platform: str) -> None:
    """Raise Skip when the strategy offloads residuals and such a device has nowhere to put them."""
    why = local.why_no_offload(platform)
    if program.plan.policy is not None and program.plan.policy.offloads() and why:
        raise SkipJob(why)


def trace(program: Program) -> Traced:
    """Trace the gradient. Raises CaseError when the strategy's policy mentions a name that is never attached."""
    state, batch = program.abstract()
    gradient = jax.make_jaxpr(program.gradient)(state, batch)
    check_tags(program)
    saved = jaxprs.residual_bytes(program.loss, state["params"], state["rest"], batch)
    return Traced(state, gradient, saved, program.case.devices)


def plan(program: Program, traced: Traced, description: Description) -> Planned:
    """Hold the traced program against the roofline of a device that is not there.

    The roofline knows nothing of the ways to host memory and to other devices: a program that takes them has no
    estimate.
    """
    if program.layout is not None:
        return Planned(description, "the roofline knows no links between devices, over which a program waits")
    if program.plan.policy is not None and program.plan.policy.offloads():
        return Planned(description, "the roofline holds no transfers to host memory and back")
    state = {name: traced.state[name] for name in ("params", "optimizer")}
    updated = 2 * tree_bytes(state) if program.case.step == "train" else 0
    return Planned(description, estimate(traced.gradient, updated, description.peak_flops, description.bandwidth))


def run(program: Program, compiled: Compiled, steps: int, with_gradients: bool) -> Ran:
    """Make the arrays and run a first step; make them anew, so that the peak is that of a settled process, and run one
    more for its peak; warm up, then time `steps` more. Every step is blocked until ready.

    The peak is that of one step: XLA:CPU frees temporaries on threads of its own, after the result is ready, and on
    a busy machine those of one step may still be there when the next makes its own.
    """

    def step(carry: Any) -> Any:
        state, batch, _ = carry
        assert compiled.step is not None  # only of a device that is not there
        result = jax.block_until_ready(compiled.step(state, batch))
        return (result[0], batch, result) if program.donated else (state, batch, result)

    def arrays() -> Any:
        return (*jax.block_until_ready(program.initialize()), None)

    meter = local.make_meter(jax.local_devices()[0], program.case.devices)
    with local.return_freed_memory():
        carry, first = time_steps(step, arrays(), 1)
        first_result = _first_result(program, carry[-1]) if with_gradients else None
        del carry
        meter.start()
        carry = arrays()
        meter.reset()
        carry = step(carry)
        peak = meter.peak()
    with CpuShare() as cpu:  # over the warm-up too: processor time is accounted in ticks of 10 ms
        _, seconds = time_steps(step, warm_up(step, carry), steps)
    return Ran(first[0], seconds, peak, meter.source, cpu.others, first_result)


def _first_result(program: Program, result: Any) -> tuple[float, dict[str, Any]]:
    loss, gradients = program.loss_and_gradients(result)
    if not math.isfinite(loss):
        raise ValueError(f"the loss of the first step is {float(loss)}: there is nothing to compare")
    return float(loss), sketch(gradients)


def time_forward(program: Program, options: dict[str, str | bool], steps: int) -> Split:
    """Compile the forward pass alone and time it."""
    state, batch = jax.block_until_ready(program.initialize())
    forward = jax.jit(program.forward).lower(state, batch).compile(compiler_options=options)

    def once(_: Any) -> Any:
        return jax.block_until_ready(forward(state, batch))

    return Split(time_steps(once, warm_up(once, None), steps)[1])
