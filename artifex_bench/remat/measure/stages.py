"""The stages of measuring a case: planned, traced, compiled, estimated, ran. Each has a frozen result for probes."""

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
from artifex_bench.remat.measure.gradient_sketch import sketch_gradients
from artifex_bench.remat.measure.probes import count_tree_bytes, skip_probes, take_probes
from artifex_bench.remat.measure.program import Program, build_program, check_traced_tags
from artifex_bench.remat.measure.results import Compiled, Estimated, ForwardTimed, Planned, Ran, Traced
from artifex_bench.remat.measure.roofline import estimate_step
from artifex_bench.remat.measure.timing import CpuShare, time_steps, warm_up
from artifex_bench.targets import Description, Target, local


def measure(job: Job) -> Iterator[Measurement]:
    """Yield the measurements of a job, each as soon as it is taken.

    Without timed steps nothing is run. Later rounds only repeat the timing, because the program stays the same.

    Raises:
        CaseError: The case is impossible.
        SkipJob: The strategy offloads residuals, and the device has no host memory to offload to.
    """
    assert isinstance(job.case, RematCase)
    target = targets.load_target(job.case.target)
    program, planned = prepare_program(job, target)
    first = job.round == 0
    if first and planned is not None:
        yield from take_probes("planned", planned)
    if job.part == SEARCH:
        return
    traced = trace_program(program) if first else None
    if traced is not None:
        yield from take_probes("traced", traced)
    compiled = compile_step(program, target)
    yield from take_probes("compiled", compiled)
    if target.description is not None:
        if traced is not None:
            yield from take_probes("estimated", estimate_program(program, traced, target.description))
        if target.cublas_options is not None:
            yield from compile_without_triton(program, target)
        yield from skip_probes("ran", f"{job.case.target} is an AOT target: the step was compiled for it and not run")
        return
    if not job.steps:
        yield from skip_probes("ran", "compile only: no steps were asked for")
        return
    yield from take_probes("ran", run_program(program, compiled, job.steps, with_gradients=first))
    if first and job.case.strategy == "none":
        yield from take_probes("forward", time_forward(program, compiled.options, job.steps))


def compile_without_triton(program: Program, target: Target) -> Iterator[Measurement]:
    """Yield the peak of a GPU's program if cuBLAS computes every matrix product, or why it cannot be compiled so."""
    assert target.cublas_options is not None
    try:
        yield from take_probes("cublas", compile_step(program, target, dict(target.cublas_options)))
    except jax.errors.JaxRuntimeError as error:
        yield from skip_probes("cublas", " ".join(str(error).split())[:300])


def prepare_program(job: Job, target: Target) -> tuple[Program, Planned | None]:
    """Build the program of a job, under a memory plan if its strategy is a budget.

    Args:
        job: The job. Its cache holds the choices of the first round, or of a job that only searched. Later rounds, and
            the job after a search, read them.
        target: The target of its case.

    Returns:
        The program, and the plan if it was searched for now.

    Raises:
        CaseError: The case is impossible, or no plan meets its budget.
        SkipJob: The strategy offloads residuals, and the device has no host memory to offload to.
    """
    assert isinstance(job.case, RematCase)
    set_remat3(job.case.remat3 == "on")
    program = build_program(job.case, target.devices)
    refuse_offload(program, target.platform)
    if program.plan.budget is None:
        return program, None
    path = Path(job.cache) / f"{case_id(job.case)}.json" if job.cache is not None else None
    if path is not None and (job.round > 0 or job.part == REST):
        known = budget.load_planned_program(program, path)
        if known is not None:
            return known, None
    timed = job.steps > 0 and job.profile is None
    planned = budget.plan_program(program, target, timed, path)
    return planned.program, planned


def refuse_offload(program: Program, platform: str) -> None:
    """Raise SkipJob if the strategy offloads residuals and the platform has no host memory to offload to."""
    why = local.why_no_offload(platform)
    if program.plan.policy is not None and program.plan.policy.offloads and why:
        raise SkipJob(why)


def trace_program(program: Program) -> Traced:
    """Trace the gradient of a program.

    Raises:
        CaseError: The strategy's policy names a tag that the model does not define.
    """
    state, batch = program.eval_shapes()
    gradient = jax.make_jaxpr(program.gradient)(state, batch)
    check_traced_tags(program)
    saved = jaxprs.count_residual_bytes(program.loss, state["params"], state["rest"], batch)
    return Traced(state, gradient, saved, program.case.devices)


def estimate_program(program: Program, traced: Traced, description: Description) -> Estimated:
    """Estimate the step of a program on an AOT target.

    The roofline has no rates of transfers to host memory or between devices, so a program that waits for them gets no
    estimate.
    """
    if program.layout is not None:
        return Estimated(description, "the roofline knows no links between devices, over which a program waits")
    if program.plan.policy is not None and program.plan.policy.offloads:
        return Estimated(description, "the roofline holds no transfers to host memory and back")
    state = {name: traced.state[name] for name in ("params", "optimizer")}
    updated = 2 * count_tree_bytes(state) if program.case.step == "train" else 0
    estimate = estimate_step(traced.gradient, updated, description.peak_flops, description.bandwidth)
    return Estimated(description, estimate)


def run_program(program: Program, compiled: Compiled, steps: int, with_gradients: bool) -> Ran:
    """Run a compiled step on arrays. Every step is blocked until its result is ready.

    The peak is that of one step on arrays that were made again after the first step, so that it is the peak of a
    process in its steady state. It is read after one step only: XLA:CPU frees temporaries on threads of its own after
    the result is ready, so on a busy machine temporaries of one step may still be alive during the next.

    Args:
        program: The program.
        compiled: Its compiled step.
        steps: Number of steps to time after the warm-up.
        with_gradients: Whether to keep loss and gradients of the first step.

    Raises:
        ValueError: The loss or a gradient of the first step is not finite.
    """

    def step(carry: Any) -> Any:
        state, batch, _ = carry
        assert compiled.step is not None  # it is None for AOT targets alone
        result = jax.block_until_ready(compiled.step(state, batch))
        return (result[0], batch, result) if program.donated else (state, batch, result)

    def make_carry() -> Any:
        return (*jax.block_until_ready(program.make_arrays()), None)

    meter = local.make_meter(jax.local_devices()[0], program.case.devices)
    with local.return_freed_memory():
        carry, first = time_steps(step, make_carry(), 1)
        first_result = _sketch_result(program, carry[-1]) if with_gradients else None
        del carry
        meter.start()
        carry = make_carry()
        meter.reset()
        carry = step(carry)
        peak = meter.peak()
    with CpuShare() as cpu:  # over the warm-up too: processor time is accounted in ticks of 10 ms
        _, seconds = time_steps(step, warm_up(step, carry), steps)
    return Ran(first[0], seconds, peak, meter.source, cpu.others, first_result)


def _sketch_result(program: Program, result: Any) -> tuple[float, dict[str, Any]]:
    loss, gradients = program.read_gradients(result)
    if not math.isfinite(loss):
        raise ValueError(f"the loss of the first step is {float(loss)}: there is nothing to compare")
    return float(loss), sketch_gradients(gradients)


def time_forward(program: Program, options: dict[str, str | bool], steps: int) -> ForwardTimed:
    """Compile the forward pass alone, with these XLA options, and time so many runs of it."""
    state, batch = jax.block_until_ready(program.make_arrays())
    forward = jax.jit(program.forward).lower(state, batch).compile(compiler_options=options)

    def run_forward(_: Any) -> Any:
        return jax.block_until_ready(forward(state, batch))

    return ForwardTimed(time_steps(run_forward, warm_up(run_forward, None), steps)[1])
