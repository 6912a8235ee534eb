"""PROBES: name -> how one number of a case is taken. Imports no JAX: probes read the results of stages."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from artifex_bench.core.record import REAL_STEPS, STEP_OVER_ESTIMATE, Measurement

if TYPE_CHECKING:
    from artifex_bench.remat.measure.results import Compiled, Estimated, Planned, Ran, Traced

Taken = tuple[list[float], str, dict[str, Any]]  # values, source (without values: why there are none), detail
Stage = Literal["planned", "traced", "compiled", "cublas", "estimated", "ran", "forward"]


@dataclass(frozen=True)
class Probe:
    """One number of a case.

    Attributes:
        unit: `seconds`, `bytes`, `flop`, `share`, `norm` or `count`.
        doc: One sentence for tables and `artifex-bench list probes`.
        stage: The stage that takes it.
        take: Reads values, source and detail from the result of that stage.
        reduction: How all rounds give one figure. `median`: of all values, with a bootstrap 95 % interval. `first`: the
            first value, if all processes agree. None: the probe has no column of its own.
    """

    unit: str
    doc: str
    stage: Stage
    take: Callable[[Any], Taken]
    reduction: Literal["median", "first"] | None = "first"


def take_probes(stage: Stage, result: Any) -> Iterator[Measurement]:
    """Yield the measurements that a stage's probes take from its result."""
    for name, probe in PROBES.items():
        if probe.stage == stage:
            values, source, detail = probe.take(result)
            if values:
                yield Measurement(name, probe.unit, tuple(values), source, "", detail)
            else:
                yield Measurement(name, probe.unit, (), "", source, detail)


def skip_probes(stage: Stage, why: str) -> Iterator[Measurement]:
    """Yield the measurements of a stage that was left out: each has the reason and no values."""
    return (Measurement(name, probe.unit, note=why) for name, probe in PROBES.items() if probe.stage == stage)


def count_tree_bytes(tree: Any) -> int:
    """Count the bytes of all arrays of a pytree, or of their shapes."""
    import jax

    leaves = jax.tree.leaves(tree)
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves)


def _take_budget(planned: Planned) -> Taken:
    plan = planned.plan.to_json()
    source = f"{planned.plan.budget}, met as compiled, in {len(plan['compiled'])} compilations"
    return [planned.plan.budget_bytes], source, plan


def _from_jaxpr(count: Callable[[Traced], float]) -> Callable[[Traced], Taken]:
    return lambda traced: ([count(traced)], _describe_jaxpr(traced), {})


def _describe_jaxpr(traced: Traced) -> str:
    return "jaxpr" if traced.devices == 1 else f"jaxpr: of all {traced.devices} devices together"


def _take_gradient_flops(traced: Traced) -> Taken:
    from artifex_bench.remat.measure.jaxprs import count_flops, find_products

    once = count_flops(traced.gradient, loops_once=True)
    dtypes = sorted({product.dtype for product in find_products(traced.gradient)})
    detail = {"counting_loops_once": once, "product_dtypes": dtypes}
    return [count_flops(traced.gradient)], _describe_jaxpr(traced), detail


def _take_parameters(traced: Traced) -> Taken:
    import jax

    params = traced.state["params"]
    dtypes = sorted({str(leaf.dtype) for leaf in jax.tree.leaves(params)})
    return [count_tree_bytes(params)], _describe_jaxpr(traced), {"dtypes": dtypes}


def _take_trace_seconds(compiled: Compiled) -> Taken:
    return [compiled.trace_seconds], "wall clock", {}


def _take_compile_seconds(compiled: Compiled) -> Taken:
    if compiled.from_cache:
        return [], "what was compiled came from the cache", {}
    return [compiled.compile_seconds], "wall clock", {"options": compiled.options}


def _take_compiled_peak(compiled: Compiled) -> Taken:
    source = "compiled.memory_analysis()" + (", of each device" if compiled.devices > 1 else "")
    return [compiled.peak], source, {**compiled.parts, "options": compiled.options}


def _take_compiled_flops(compiled: Compiled) -> Taken:
    if compiled.flops is None or compiled.flops < 0:  # XLA gives -1 for FLOPs that it does not know
        return [], "this compiler reports no cost analysis", {}
    source = "compiled.cost_analysis(), which counts a loop's body once"
    return [compiled.flops], source + (", of each device" if compiled.devices > 1 else ""), {}


def _take_cublas_peak(compiled: Compiled) -> Taken:
    return [compiled.peak], "compiled.memory_analysis() without Triton's matrix products", {"options": compiled.options}


def _take_capacity(estimated: Estimated) -> Taken:
    return [estimated.description.capacity_bytes], estimated.description.capacity_source, {}


def _take_device_memory(estimated: Estimated) -> Taken:
    return [estimated.description.memory_bytes], estimated.description.memory_source, {}


def _take_estimated_step(estimated: Estimated) -> Taken:
    described, estimate = estimated.description, estimated.estimate
    if isinstance(estimate, str):
        return [], estimate, {}
    detail: dict[str, Any] = {"product_flops": estimate.flops, "bytes": estimate.bytes}
    detail |= {"bandwidth": described.bandwidth, "peak_flops": dict(described.peak_flops)}
    detail |= {"peaks": described.roofline_source, "published_steps": STEP_OVER_ESTIMATE}
    source = "an estimate, not a measurement: roofline of every matrix product and of the update"
    return [estimate.seconds], source, detail


def _from_clock(read: Callable[[Any], list[float]]) -> Callable[[Any], Taken]:
    return lambda result: (read(result), "wall clock, blocked until ready", {})


def _take_measured_peak(ran: Ran) -> Taken:
    return ([] if ran.peak is None else [ran.peak]), ran.peak_source, {}


def _take_other_share(ran: Ran) -> Taken:
    if ran.others_share is None:
        return [], "processor times are read on Linux only", {}
    return [ran.others_share], "/proc/stat less the process's own time", {}


def _take_sketch(ran: Ran) -> Taken:
    if ran.first_result is None:
        return [], "taken in the first round", {}
    loss, leaves = ran.first_result
    norm = math.sqrt(sum(leaf["norm"] ** 2 for leaf in leaves.values()))
    return [norm], "gradients of the first step", {"loss": loss, "leaves": leaves}


PROBES = {
    "budget_bytes": Probe("bytes", "Byte limit that a `budget-…` strategy came to.", "planned", _take_budget),
    "residual_bytes": Probe(
        "bytes",
        "Bytes that autodiff saves for the backward pass, from the jaxpr; over a mesh, of all devices together.",
        "traced",
        _from_jaxpr(lambda traced: traced.residual_bytes),
    ),
    "gradient_flops": Probe(
        "flop",
        "FLOPs of the forward and backward pass with recomputation, from the jaxpr; loops count as often as they run.",
        "traced",
        _take_gradient_flops,
    ),
    "parameter_bytes": Probe("bytes", "Bytes of the parameters, from the jaxpr.", "traced", _take_parameters),
    "optimizer_bytes": Probe(
        "bytes",
        "Bytes of the optimizer state, from the jaxpr.",
        "traced",
        _from_jaxpr(lambda traced: count_tree_bytes(traced.state["optimizer"])),
    ),
    "trace_seconds": Probe("seconds", "Tracing and lowering, wall clock.", "compiled", _take_trace_seconds),
    "compile_seconds": Probe(
        "seconds",
        "XLA compilation, wall clock, in the first process; later ones share its program.",
        "compiled",
        _take_compile_seconds,
    ),
    "compiled_peak_bytes": Probe(
        "bytes",
        "The compiler's plan of the peak: all that the program allocates in the device's main memory "
        "(`compiled.memory_analysis()`; the record names the formula). Over a mesh: of one device.",
        "compiled",
        _take_compiled_peak,
    ),
    "compiled_flops": Probe(
        "flop",
        "FLOPs of the compiled program (`compiled.cost_analysis()`, which counts a loop's body once); over a mesh, of "
        "one device.",
        "compiled",
        _take_compiled_flops,
    ),
    "capacity_bytes": Probe(
        "bytes",
        "Bytes that one program gets on an AOT target; for `max-batch`, the memory budget if that is less.",
        "estimated",
        _take_capacity,
    ),
    "device_memory_bytes": Probe("bytes", "Memory of the AOT target's device.", "estimated", _take_device_memory),
    "cublas_peak_bytes": Probe(
        "bytes", "Compiled peak on a GPU target if cuBLAS computes every matrix product.", "cublas", _take_cublas_peak
    ),
    "estimated_step_seconds": Probe(
        "seconds",
        f"Estimated step on an AOT target, by a roofline; never a measurement ({REAL_STEPS} of published steps).",
        "estimated",
        _take_estimated_step,
    ),
    "first_step_seconds": Probe(
        "seconds", "The first step.", "ran", _from_clock(lambda ran: [ran.first_seconds]), "median"
    ),
    "step_seconds": Probe(
        "seconds",
        "A training step after a warm-up; wall clock, blocked until ready.",
        "ran",
        _from_clock(lambda ran: ran.seconds),
        "median",
    ),
    "measured_peak_bytes": Probe(
        "bytes",
        "Peak while steps ran; `measured_peak_source` says how it was read.",
        "ran",
        _take_measured_peak,
        "median",
    ),
    "other_cpu_share": Probe(
        "share",
        "Share of the machine's processor time that other processes took while steps were timed (Linux).",
        "ran",
        _take_other_share,
        None,  # every kind of case has a column of its largest value
    ),
    "gradient_sketch": Probe(
        "norm",
        "Norm of the gradients of the first step, with projections to compare them with those of strategy none.",
        "ran",
        _take_sketch,
        None,  # compared by the verdict
    ),
    "forward_seconds": Probe(
        "seconds",
        "The forward pass alone, for strategy none.",
        "forward",
        _from_clock(lambda timed: timed.forward_seconds),
        "median",
    ),
}
