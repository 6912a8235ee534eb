"""PROBES: name -> one way to take one number, with its unit and its source. Imports no JAX: phases are handed in."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from artifex_bench.core.record import STEP_OVER_ESTIMATE, Measurement

if TYPE_CHECKING:
    from artifex_bench.remat.measure.results import Compiled, Planned, Ran, Settled, Traced

Taken = tuple[list[float], str, dict[str, Any]]  # values, source (or why there are none), detail


@dataclass(frozen=True)
class Probe:
    """`phase` is the phase whose result `take` reads."""

    unit: str
    phase: str
    summary: str
    take: Callable[[Any], Taken]


def take(phase: str, result: Any) -> Iterator[Measurement]:
    """What the probes of that phase read from its result."""
    for name, probe in PROBES.items():
        if probe.phase == phase:
            values, source, detail = probe.take(result)
            if values:
                yield Measurement(name, probe.unit, tuple(values), source, "", detail)
            else:
                yield Measurement(name, probe.unit, (), "", source, detail)


def absent(phase: str, why: str) -> Iterator[Measurement]:
    """The probes of a phase that was left out, each with the reason."""
    return (Measurement(name, probe.unit, note=why) for name, probe in PROBES.items() if probe.phase == phase)


def _from_jaxpr(value: Callable[[Traced], float]) -> Callable[[Traced], Taken]:
    return lambda traced: ([value(traced)], _jaxpr(traced), {})


def _jaxpr(traced: Traced) -> str:
    return "jaxpr" if traced.devices == 1 else f"jaxpr: of all {traced.devices} devices together"


def _gradient_flops(traced: Traced) -> Taken:
    from artifex_bench.remat.measure.jaxprs import flops, products

    once = flops(traced.gradient, loops_once=True)
    dtypes = sorted({one.dtype for one in products(traced.gradient)})
    return [flops(traced.gradient)], _jaxpr(traced), {"counting_loops_once": once, "product_dtypes": dtypes}


def _parameters(traced: Traced) -> Taken:
    import jax

    dtypes = sorted({str(leaf.dtype) for leaf in jax.tree.leaves(traced.state["params"])})
    return [tree_bytes(traced.state["params"])], _jaxpr(traced), {"dtypes": dtypes}


def _budget(settled: Settled) -> Taken:
    plan = settled.plan.to_json()
    source = f"{settled.plan.budget}, met as compiled, in {len(plan['compiled'])} compilations"
    return [settled.plan.budget_bytes], source, plan


def tree_bytes(tree: Any) -> int:
    """The bytes of all arrays of a pytree, or of their shapes."""
    import jax

    leaves = jax.tree.leaves(tree)
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves)


def _compile_seconds(compiled: Compiled) -> Taken:
    if compiled.from_cache:
        return [], "what was compiled came from the cache", {}
    return [compiled.compile_seconds], "wall clock", {"options": compiled.options}


def _compiled_peak(compiled: Compiled) -> Taken:
    source = "compiled.memory_analysis()" + (", of each device" if compiled.devices > 1 else "")
    return [compiled.peak], source, {**compiled.parts, "options": compiled.options}


def _compiled_flops(compiled: Compiled) -> Taken:
    if compiled.flops is None or compiled.flops < 0:  # XLA says -1 of what it does not know
        return [], "this compiler reports no cost analysis", {}
    source = "compiled.cost_analysis(), which counts a loop's body once"
    return [compiled.flops], source + (", of each device" if compiled.devices > 1 else ""), {}


def _capacity(planned: Planned) -> Taken:
    return [planned.description.capacity_bytes], planned.description.capacity_source, {}


def _device_memory(planned: Planned) -> Taken:
    return [planned.description.memory_bytes], planned.description.memory_source, {}


def _cublas_peak(compiled: Compiled) -> Taken:
    return [compiled.peak], "compiled.memory_analysis() without Triton's matrix products", {"options": compiled.options}


def _estimated_step(planned: Planned) -> Taken:
    described, found = planned.description, planned.estimate
    if isinstance(found, str):
        return [], found, {}
    detail: dict[str, Any] = {"product_flops": found.flops, "bytes": found.bytes, "bandwidth": described.bandwidth}
    detail |= {"peak_flops": dict(described.peak_flops), "peaks": described.roofline_source}
    detail["published_steps"] = STEP_OVER_ESTIMATE
    return [found.seconds], "an estimate, not a measurement: roofline of every matrix product and of the update", detail


def _seconds(value: Callable[[Any], list[float]]) -> Callable[[Any], Taken]:
    return lambda result: (value(result), "wall clock, blocked until ready", {})


def _measured_peak(ran: Ran) -> Taken:
    return ([] if ran.peak is None else [ran.peak]), ran.peak_source, {}


def _others(ran: Ran) -> Taken:
    if ran.others_share is None:
        return [], "processor times are read on Linux only", {}
    return [ran.others_share], "/proc/stat less the process's own time", {}


def _sketch(ran: Ran) -> Taken:
    if ran.first_result is None:
        return [], "taken in the first round", {}
    loss, leaves = ran.first_result
    norm = math.sqrt(sum(leaf["norm"] ** 2 for leaf in leaves.values()))
    return [norm], "gradients of the first step", {"loss": loss, "leaves": leaves}


PROBES = {
    "budget_bytes": Probe("bytes", "settled", "what the strategy's budget came to; the plan that meets it", _budget),
    "residual_bytes": Probe(
        "bytes", "traced", "what autodiff saves for the backward pass", _from_jaxpr(lambda t: t.residual_bytes)
    ),
    "gradient_flops": Probe(
        "flop", "traced", "forward and backward pass, with what is computed again", _gradient_flops
    ),
    "parameter_bytes": Probe("bytes", "traced", "the model's parameters", _parameters),
    "optimizer_bytes": Probe(
        "bytes", "traced", "the optimizer's state", _from_jaxpr(lambda t: tree_bytes(t.state["optimizer"]))
    ),
    "trace_seconds": Probe(
        "seconds", "compiled", "tracing and lowering", lambda c: ([c.trace_seconds], "wall clock", {})
    ),
    "compile_seconds": Probe("seconds", "compiled", "XLA compilation", _compile_seconds),
    "compiled_peak_bytes": Probe("bytes", "compiled", "the compiler's own plan of the peak", _compiled_peak),
    "compiled_flops": Probe("flop", "compiled", "what is left after the compiler", _compiled_flops),
    "capacity_bytes": Probe("bytes", "planned", "what the target, which is not attached, has for a program", _capacity),
    "device_memory_bytes": Probe("bytes", "planned", "the memory of the target, which is not attached", _device_memory),
    "cublas_peak_bytes": Probe(
        "bytes", "cublas", "the plan of the peak where cuBLAS computes every matrix product", _cublas_peak
    ),
    "estimated_step_seconds": Probe(
        "seconds", "planned", "an estimate by the target's roofline, never a measurement", _estimated_step
    ),
    "first_step_seconds": Probe("seconds", "ran", "the first step", _seconds(lambda r: [r.first_seconds])),
    "step_seconds": Probe("seconds", "ran", "each step after the warm-up", _seconds(lambda r: r.seconds)),
    "measured_peak_bytes": Probe("bytes", "ran", "the peak while steps ran", _measured_peak),
    "other_cpu_share": Probe("share", "ran", "processor time others took meanwhile", _others),
    "gradient_sketch": Probe("norm", "ran", "gradients, to compare with strategy none", _sketch),
    "forward_seconds": Probe("seconds", "split", "the forward pass alone", _seconds(lambda s: s.forward_seconds)),
}
