"""Compiling a program for its target, from shapes alone, or reading what its compiler said before."""

from __future__ import annotations

import time
from typing import Any

import jax

from artifex_bench.remat.measure.program import Program
from artifex_bench.remat.measure.results import Compiled
from artifex_bench.remat.measure.sharding import per_device_bytes
from artifex_bench.targets import Target, compile_cache, local


def compile_step(program: Program, target: Target, options: dict[str, Any] | None = None) -> Compiled:
    """Trace, lower and compile what will be timed, from shapes alone, with the target's options or with these."""
    options = target.options(program.case.compiler) if options is None else options
    devices = program.case.devices
    shapes, jitted = program.abstract(), program.jitted()
    start = time.perf_counter()
    lowered = jitted.lower(*target.place(shapes))
    lower_seconds = time.perf_counter() - start
    kept = compile_cache.entry_path(lowered.as_text(), target.description, options) if target.description else None
    if kept is not None and (figures := compile_cache.read_entry(kept)):
        return Compiled(None, lower_seconds, 0.0, True, options, **figures, devices=devices)
    with _CacheHits() as cache:
        start = time.perf_counter()
        step, peak, parts = local.compile_program(target, lowered, options)
        compile_seconds = time.perf_counter() - start
    if target.platform == "cpu" and any(map(local.computes_in_float32, program.narrow_dtypes(shapes[0]))):
        parts = {**parts, "computed_in": "float32"}
    if step is None:
        flops, parts = None, {"argument_bytes": per_device_bytes(shapes), **parts}
    else:
        flops = (step.cost_analysis() or {}).get("flops")
    if kept is not None:
        compile_cache.write_entry(kept, {"peak": peak, "parts": parts, "flops": flops})
    return Compiled(step, lower_seconds, compile_seconds, cache.hit, options, peak, parts, flops, devices)


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
