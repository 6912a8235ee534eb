"""The graph of a layer, from its derivative."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace
from pathlib import PurePath
from typing import Any

from artifex_bench.compat import checkpoint_name, operation_name, source_line
from artifex_bench.remat.planner.flat import Flat, Op, Ref
from artifex_bench.remat.planner.graph import Cost, Graph, Rates, Step, Value


def graph_of(prefix: str, derivative: Flat, rates: Rates, kept: Collection[int] = ()) -> Graph:
    """The graph of a layer's derivative, cut down to what its backward pass can want. The layer's results that are
    `kept` in any case, as another layer's input, are saved for nothing.
    """
    outs = (derivative.outs[out] for out in kept)
    free = {ref for ref in outs if isinstance(ref, Ref)}
    names = ((op, checkpoint_name(op.eqn)) for op in derivative.ops)
    labels = {op.ins[0]: name for op, name in names if name is not None and isinstance(op.ins[0], Ref)}
    needed = {atom for op in derivative.ops if any(op.active) for atom in _passive_inputs(op, derivative)}
    wants: set[int] = set()
    wanted = list(needed)
    while wanted:
        at = wanted.pop().op
        if at not in wants:
            wants.add(at)
            wanted += _passive_inputs(derivative.ops[at], derivative)
    values: list[Value] = []
    copies: list[Value] = []
    index: dict[Ref, int] = {}
    steps = []
    for number, position in enumerate(sorted(wants)):
        op = derivative.ops[position]
        ins = tuple(index[ref] for ref in _passive_inputs(op, derivative) if ref.op in wants)
        steps.append(Step(rates.cost(op.eqn), ins, rates.fusible(op.eqn)))
        for out, active in enumerate(op.active):
            if not active:
                ref = Ref(position, out)
                index[ref] = len(values)
                value = _value(f"{prefix}.{position}.{out}", number, op.eqn, out, labels.get(ref), rates)
                seconds = rates.offloading(op.eqn, value.bytes)
                if ref in free:
                    value = replace(value, save_seconds=0.0, free=True)
                elif seconds is not None:
                    copy = replace(value, bytes=0.0, save_seconds=seconds, of=len(values), on_host=value.bytes)
                    copies.append(copy)
                values.append(value)
    forward = [rates.cost(op.eqn) for op in derivative.ops if not any(op.active)]
    whole = Cost(sum(cost.seconds for cost in forward), sum(cost.flops for cost in forward))
    # what goes to the host while the layer runs; it comes back while the backward pass does, which takes longer
    host_limit = whole.seconds * rates.to_host
    reads = tuple(sorted(index[ref] for ref in needed))
    return Graph(tuple(steps), (*values, *copies), reads, whole, host_limit=host_limit)


def _passive_inputs(op: Op, derivative: Flat) -> list[Ref]:
    """The intermediates that an operation reads and no tangent enters."""
    return [a for a in op.ins if isinstance(a, Ref) and a.op >= 0 and not derivative.ops[a.op].active[a.out]]


def _value(name: str, op: int, eqn: Any, out: int, label: str | None, rates: Rates) -> Value:
    aval = eqn.outvars[out].aval
    itemsize = getattr(aval.dtype, "itemsize", 0)
    size = math.prod(aval.shape) * itemsize
    return Value(
        name,
        op,
        size,
        rates.saving(eqn, size),
        label or checkpoint_name(eqn) or operation_name(eqn),
        aval.str_short(short_dtypes=True),
        _line(eqn),
        savable=getattr(aval.dtype, "kind", "c") != "c",  # neither keys nor complex numbers: JAX saves none
    )


def _line(eqn: Any) -> str:
    """``models/transformer.py:64 (Block.mlp)``: a file is told by its own name and its folder's."""
    path, _, place = source_line(eqn).partition(":")
    line, _, function = place.partition(" ")
    return f"{'/'.join(PurePath(path).parts[-2:])}:{line.partition(':')[0]} {function}".rstrip(": ")
