"""Small cases of the built-in models, traced, compiled and evaluated, for tests that need JAX."""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np

from artifex_bench import targets
from artifex_bench.core.case import RematCase
from artifex_bench.core.record import Record
from artifex_bench.remat.measure import results, stages
from artifex_bench.remat.measure.compile import compile_step
from artifex_bench.remat.measure.program import Program, build_program
from tests.build import replaced
from tests.evaluate import evaluate

SMALL: dict[str, Any] = {"depth": 5, "width": 8, "batch": 2, "sequence": 4, "heads": 2}


def case(model: str = "mlp", strategy: str = "none", **fields: Any) -> RematCase:
    return RematCase(model=model, strategy=strategy, **{**SMALL, **fields})


@functools.cache
def traced(case: RematCase) -> results.Traced:
    return stages.trace_program(program(case))


def plain(case: RematCase) -> results.Traced:
    """Return the traced case with strategy `none`."""
    return traced(replaced(case, strategy="none"))


@functools.cache
def compiled(case: RematCase) -> results.Compiled:
    """Compile a case as the worker does."""
    return compile_step(program(case), targets.load_target(case.target))


@functools.cache
def record(case: RematCase) -> Record:
    """Return the record of a compile-only job."""
    from artifex_bench.remat.measure.probes import take_probes

    return Record(
        case, 0, "ok", measurements=(*take_probes("traced", traced(case)), *take_probes("compiled", compiled(case)))
    )


@functools.cache
def loss_and_gradients(case: RematCase) -> tuple[float, dict[str, np.ndarray]]:
    """Return (loss, {parameter: gradient}). Axis 0 is the layer, for scanned and unrolled layers."""
    program = build_program(case)
    state, batch = _arrays(program.case)
    loss, gradients = evaluate(program.gradient, state, batch)
    return float(loss), by_parameter(gradients)


def by_parameter(gradients: Any) -> dict[str, np.ndarray]:
    by_name: dict[str, list[np.ndarray]] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
        name = jax.tree_util.keystr(tuple(k for k in path if not isinstance(k, jax.tree_util.SequenceKey)))
        by_name.setdefault(name, []).append(np.asarray(leaf))
    return {name: leaves[0] if len(leaves) == 1 else np.stack(leaves) for name, leaves in by_name.items()}


@functools.cache
def _initializer(model: str, fields: tuple[tuple[str, Any], ...]) -> tuple[Any, Any]:
    return build_program(RematCase(model=model, **dict(fields))).make_arrays()


def _arrays(case: RematCase) -> tuple[Any, Any]:
    """Return (state, batch). No strategy changes them, so they are made once."""
    fields = {name: getattr(case, name) for name in ("depth", "width", "batch", "sequence", "heads", "dtype", "layers")}
    return _initializer(case.model, tuple(fields.items()))


def program(case: RematCase) -> Program:
    return build_program(case)
