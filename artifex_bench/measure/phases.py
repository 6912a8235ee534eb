"""The phases of measuring a case: traced, compiled, run, checked. Each is a frozen result that probes read."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
from jax.extend import core

from artifex_bench.measure import jaxprs
from artifex_bench.measure.probes import absent, take
from artifex_bench.measure.program import Program, build, check_tags
from artifex_bench.measure.sketch import sketch
from artifex_bench.measure.timing import CpuShare, time_steps
from artifex_bench.record import Measurement
from artifex_bench.targets import attached
from artifex_bench.visit import Visit


class Skip(Exception):
    """The case cannot be measured on this device, for a reason that is not a fault."""


def measure(visit: Visit) -> Iterator[Measurement]:
    """Every probe's measurement, phase by phase, each as soon as it is taken.

    Without timed steps nothing is run; gradients are checked and the step is split in the first round alone.
    """
    traced = trace(visit)
    yield from take("traced", traced)
    compiled = compile_step(traced)
    yield from take("compiled", compiled)
    if not visit.steps:
        yield from absent("ran", "compile only: no steps were asked for")
        yield from absent("checked", "compile only: no steps were asked for")
        return
    yield from take("ran", run(traced, compiled, visit.steps))
    if visit.round == 0:
        yield from take("checked", check(traced, compiled, visit.steps))


@dataclass(frozen=True)
class Traced:
    """The program as autodiff left it, before any compiler; `plain` is the same without rematerialization."""

    program: Program
    state: Any
    batch: Any
    gradient: core.ClosedJaxpr
    plain: core.ClosedJaxpr
    residual_bytes: int
    plain_residual_bytes: int


def trace(visit: Visit) -> Traced:
    """Trace the gradient of the case and of its reference. Raises Skip, or CaseError for names never attached."""
    program = build(visit.case)
    policy = program.plan.policy
    no_offload = attached.why_no_offload(jax.default_backend())
    if policy is not None and policy.offloads() and no_offload:
        raise Skip(no_offload)
    state, batch = program.abstract()
    plain_program = program.without_remat()
    plain = jax.make_jaxpr(plain_program.gradient)(state, batch)
    check_tags(program, jaxprs.tags(plain))
    gradient = jax.make_jaxpr(program.gradient)(state, batch)
    saved, plain_saved = (
        jaxprs.residual_bytes(p.loss, state["params"], state["rest"], batch) for p in (program, plain_program)
    )
    return Traced(program, state, batch, gradient, plain, saved, plain_saved)


@dataclass(frozen=True)
class Compiled:
    """The step (or the gradient, where the case asks for that alone) compiled for the attached device."""

    step: Any
    trace_seconds: float
    compile_seconds: float
    from_cache: bool
    options: dict[str, str | bool]
    peak: int
    parts: dict[str, Any]
    flops: float | None


def compile_step(traced: Traced) -> Compiled:
    """Trace, lower and compile what will be timed, from shapes alone."""
    case = traced.program.case
    options = attached.compiler_options(jax.default_backend(), case.compiler)
    function = traced.program.step if case.step == "train" else traced.program.gradient
    start = time.perf_counter()
    lowered = jax.jit(function, donate_argnums=0 if case.step == "train" else ()).lower(traced.state, traced.batch)
    lower_seconds = time.perf_counter() - start
    with _CacheHits() as cache:
        start = time.perf_counter()
        step = lowered.compile(compiler_options=options)
        compile_seconds = time.perf_counter() - start
    peak, parts = attached.compiled_peak(jax.default_backend(), step.memory_analysis())
    analysis = step.cost_analysis() or {}
    return Compiled(step, lower_seconds, compile_seconds, cache.hit, options, peak, parts, analysis.get("flops"))


class _CacheHits:
    """Whether anything compiled inside came from the persistent compile cache."""

    def __enter__(self) -> _CacheHits:
        self.hit = False
        jax.monitoring.register_event_listener(self._listen)
        return self

    def __exit__(self, *_: object) -> None:
        jax.monitoring.unregister_event_listener(self._listen)

    def _listen(self, event: str, **_: Any) -> None:
        self.hit = self.hit or event == "/jax/compilation_cache/cache_hits"


@dataclass(frozen=True)
class Ran:
    """The compiled step on real arrays: seconds of the first and of the following steps, and the peak."""

    first_seconds: float
    seconds: list[float]
    peak: int | None
    peak_source: str
    others_share: float | None


def run(traced: Traced, compiled: Compiled, steps: int) -> Ran:
    """Make the arrays and run a first step; make them anew, so that the peak is that of a settled process, and run
    `steps` more. Every step is blocked until ready.

    The peak is that of one step: XLA:CPU frees temporaries on threads of its own, after the result is ready, and on
    a busy machine those of one step may still be there when the next makes its own.
    """
    train = traced.program.case.step == "train"

    def step(carry: Any) -> Any:
        state, batch = carry
        result = jax.block_until_ready(compiled.step(state, batch))
        return (result[0], batch) if train else carry

    def arrays() -> Any:
        return jax.block_until_ready(traced.program.initialize())

    _, first = time_steps(step, arrays(), 1)
    meter = attached.meter(jax.local_devices()[0])
    meter.start()
    carry = arrays()
    meter.reset()
    with CpuShare() as cpu:
        carry, seconds = time_steps(step, carry, 1)
        peak = meter.peak()
        _, more = time_steps(step, carry, steps - 1)
    return Ran(first[0], seconds + more, peak, meter.source, cpu.others)


@dataclass(frozen=True)
class Checked:
    """Loss and gradients of the first step, and the seconds of the forward pass and of the gradient alone."""

    loss: float
    leaves: dict[str, Any]
    forward_seconds: list[float]
    gradient_seconds: list[float]


def check(traced: Traced, compiled: Compiled, steps: int) -> Checked:
    """Gradients on fresh arrays, for comparison with the reference, and the parts of a step timed by themselves."""
    program = traced.program
    state, batch = jax.block_until_ready(program.initialize())

    def compiled_for(function: Any) -> Any:
        return jax.jit(function).lower(state, batch).compile(compiler_options=compiled.options)

    gradient = compiled.step if program.case.step == "gradient" else compiled_for(program.gradient)
    forward = compiled_for(program.forward)
    loss, gradients = jax.block_until_ready(gradient(state, batch))
    leaves = sketch(gradients)
    del gradients
    jax.block_until_ready(forward(state, batch))
    _, gradient_seconds = time_steps(lambda _: _done(gradient(state, batch)), None, steps)
    _, forward_seconds = time_steps(lambda _: _done(forward(state, batch)), None, steps)
    return Checked(float(loss), leaves, forward_seconds, gradient_seconds)


def _done(result: Any) -> None:
    jax.block_until_ready(result)
