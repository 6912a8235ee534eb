"""build_graph: the Graph of a layer, from its inlined JVP."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace
from pathlib import PurePath
from typing import Any

from artifex_bench.compat import checkpoint_name, operation_name, source_line
from artifex_bench.remat.planner.graph import Cost, Graph, Operation, Rates, Value
from artifex_bench.remat.planner.inlined_program import Equation, InlinedProgram, Ref
from artifex_bench.remat.planner.residual_names import name_value


def build_graph(prefix: str, jvp: InlinedProgram, rates: Rates, kept_outs: Collection[int] = ()) -> Graph:
    """Build the graph of a layer, cut down to what its backward pass can need.

    Args:
        prefix: Prefix of the layer's value names.
        jvp: The layer's inlined JVP. Its active equations are the tangent computation that JAX transposes into the
            backward pass, so what they read of the others is what the backward pass needs.
        rates: Costs of the target.
        kept_outs: Outputs of the layer that are in memory in any case, as inputs of other layers: saving them is free.

    Returns:
        The graph. Copies in host memory follow the values.
    """
    outs = (jvp.outs[out] for out in kept_outs)
    always_saved = {ref for ref in outs if isinstance(ref, Ref)}
    labels = _find_labels(jvp)
    needed = {ref for equation in jvp.equations if any(equation.active) for ref in _passive_inputs(equation, jvp)}
    wanted = _find_producers(needed, jvp)
    values: list[Value] = []
    copies: list[Value] = []
    index: dict[Ref, int] = {}
    operations = []
    for number, position in enumerate(sorted(wanted)):
        equation = jvp.equations[position]
        inputs = tuple(index[ref] for ref in _passive_inputs(equation, jvp) if ref.equation in wanted)
        operations.append(Operation(rates.cost(equation.eqn), inputs, rates.fusible(equation.eqn)))
        for out, active in enumerate(equation.active):
            if active:
                continue
            ref = Ref(position, out)
            index[ref] = len(values)
            value = _make_value(name_value(prefix, ref), number, equation.eqn, out, labels.get(ref), rates)
            seconds = rates.offloading(equation.eqn, value.bytes)
            if ref in always_saved:
                value = replace(value, save_seconds=0.0, always_saved=True)
            elif seconds is not None:
                copies.append(
                    replace(value, bytes=0.0, save_seconds=seconds, copy_of=len(values), host_bytes=value.bytes)
                )
            values.append(value)
    costs = [rates.cost(equation.eqn) for equation in jvp.equations if not any(equation.active)]
    forward = Cost(sum(cost.seconds for cost in costs), sum(cost.flops for cost in costs))
    # Bytes that reach the host while the layer runs forward. They return during its backward pass, which is longer.
    host_limit = forward.seconds * rates.to_host
    reads = tuple(sorted(index[ref] for ref in needed))
    return Graph(tuple(operations), (*values, *copies), reads, forward, host_limit=host_limit)


def _find_labels(jvp: InlinedProgram) -> dict[Ref, str]:
    """Return the user's own names (`checkpoint_name`) of values."""
    names = ((equation, checkpoint_name(equation.eqn)) for equation in jvp.equations)
    return {e.inputs[0]: name for e, name in names if name is not None and isinstance(e.inputs[0], Ref)}


def _find_producers(needed: Collection[Ref], jvp: InlinedProgram) -> set[int]:
    """Return the equations that compute the needed values, directly or through others."""
    producers: set[int] = set()
    pending = list(needed)
    while pending:
        position = pending.pop().equation
        if position not in producers:
            producers.add(position)
            pending += _passive_inputs(jvp.equations[position], jvp)
    return producers


def _passive_inputs(equation: Equation, jvp: InlinedProgram) -> list[Ref]:
    """Return the intermediates that an equation reads and that depend on no tangent."""
    refs = (atom for atom in equation.inputs if isinstance(atom, Ref) and atom.equation >= 0)
    return [ref for ref in refs if not jvp.equations[ref.equation].active[ref.out]]


def _make_value(name: str, operation: int, eqn: Any, out: int, label: str | None, rates: Rates) -> Value:
    aval = eqn.outvars[out].aval
    size = math.prod(aval.shape) * getattr(aval.dtype, "itemsize", 0)
    return Value(
        name,
        operation,
        size,
        rates.saving(eqn, size),
        label or checkpoint_name(eqn) or operation_name(eqn),
        aval.str_short(short_dtypes=True),
        _format_line(eqn),
        savable=getattr(aval.dtype, "kind", "c") != "c",  # JAX saves neither random keys nor complex numbers by name
    )


def _format_line(eqn: Any) -> str:
    """Return ``models/transformer.py:64 (Block.mlp)``: the file with its folder, the line and the function."""
    path, _, place = source_line(eqn).partition(":")
    line, _, function = place.partition(" ")
    return f"{'/'.join(PurePath(path).parts[-2:])}:{line.partition(':')[0]} {function}".rstrip(": ")
