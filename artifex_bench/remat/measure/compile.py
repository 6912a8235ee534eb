"""compile_step: a program compiled for its target from shapes alone, or its figures from the compile cache."""

from __future__ import annotations

import time
from typing import Any

import jax

from artifex_bench.remat.measure.program import Program
from artifex_bench.remat.measure.results import Compiled
from artifex_bench.remat.measure.sharding import count_device_bytes
from artifex_bench.targets import Target, compile_cache, local


def compile_step(program: Program, target: Target, options: dict[str, Any] | None = None) -> Compiled:
    """Trace, lower and compile the timed function of a program, from shapes alone.

    Args:
        program: The program.
        target: What to compile for. Figures of an AOT target may come from the compile cache, without a step.
        options: XLA options, or None for those of the target and of the case.

    Raises:
        CaseError: The model breaks the protocol, or does not fit the mesh.
        jax.errors.JaxRuntimeError: The compiler refuses the program for another reason than its memory.
    """
    options = target.options(program.case.compiler) if options is None else options
    devices = program.case.devices
    shapes, jitted = program.eval_shapes(), program.jit_timed()
    start = time.perf_counter()
    lowered = jitted.lower(*target.place(shapes))
    lower_seconds = time.perf_counter() - start
    entry = compile_cache.entry_path(lowered.as_text(), target.description, options) if target.description else None
    if entry is not None and (figures := compile_cache.read_entry(entry)):
        return Compiled(None, lower_seconds, 0.0, True, options, **figures, devices=devices)
    with _CacheHits() as cache:
        start = time.perf_counter()
        step, peak, parts = local.compile_program(target, lowered, options)
        compile_seconds = time.perf_counter() - start
    if target.platform == "cpu" and any(map(local.computes_in_float32, program.find_narrow_dtypes(shapes[0]))):
        parts = {**parts, "computed_in": "float32"}
    if step is None:
        flops, parts = None, {"argument_bytes": count_device_bytes(shapes), **parts}
    else:
        flops = (step.cost_analysis() or {}).get("flops")
    if entry is not None:
        compile_cache.write_entry(entry, {"peak": peak, "parts": parts, "flops": flops})
    return Compiled(step, lower_seconds, compile_seconds, cache.hit, options, peak, parts, flops, devices)


class _CacheHits:
    """Context whose `hit` is whether a program compiled inside it came from JAX's persistent compilation cache."""

    def __enter__(self) -> _CacheHits:
        self.hit = False
        jax.monitoring.register_event_listener(self._listen)
        return self

    def __exit__(self, *_: object) -> None:
        jax.monitoring.unregister_event_listener(self._listen)

    def _listen(self, event: str, **_: Any) -> None:
        self.hit = self.hit or event == "/jax/compilation_cache/cache_hits"
