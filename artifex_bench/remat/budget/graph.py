"""What a backward pass reads and what it takes to compute it again: the graph in which a plan is chosen."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

from jax.extend import source_info_util

from artifex_bench.remat.budget.flat import Flat, Op, Ref


@dataclass(frozen=True)
class Cost:
    """Of computing something again."""

    seconds: float = 0.0
    flops: float = 0.0


@dataclass(frozen=True)
class Rates:
    """What a target is assumed to do: `cost(eqn)` of an equation, `saving(eqn, bytes)` seconds to save its result."""

    cost: Callable[[Any], Cost]
    saving: Callable[[Any, float], float]


@dataclass(frozen=True)
class Value:
    """An intermediate: the operation that gives it, its bytes, seconds to write and read it again.

    `label` is the user's own name for it (`checkpoint_name`), else its operation; `line` is where it is computed.
    """

    name: str
    op: int
    bytes: float
    save_seconds: float
    label: str = ""
    shape: str = ""
    line: str = ""
    savable: bool = True


@dataclass(frozen=True)
class Step:
    """An operation: cost of running it again, and the values it reads (inputs of the layer apart: they are there)."""

    cost: Cost
    ins: tuple[int, ...]


@dataclass(frozen=True)
class Graph:
    """`needed` are the values that the backward pass reads. Values are numbered, operations too, in order.

    `forward` is the cost of all that the layer computes, with what the backward pass does not want.
    """

    steps: tuple[Step, ...]
    values: tuple[Value, ...]
    needed: tuple[int, ...]
    forward: Cost = Cost()

    def again(self, saved: Collection[int]) -> set[int]:
        """The operations to run again when those values are saved."""
        ops: set[int] = set()
        wanted = [v for v in self.needed if v not in saved]
        while wanted:
            op = self.values[wanted.pop()].op
            if op not in ops:
                ops.add(op)
                wanted += (v for v in self.steps[op].ins if v not in saved)
        return ops

    def used(self, saved: Collection[int]) -> set[int]:
        """The saved values that spare something: the others would never be read."""
        read = {v for op in self.again(saved) for v in self.steps[op].ins} | set(self.needed)
        return {v for v in saved if v in read}

    def bytes(self, saved: Collection[int]) -> float:
        return sum(self.values[v].bytes for v in saved)

    def seconds(self, saved: Collection[int]) -> float:
        """Of what is run again, and of writing and reading what is saved."""
        again = sum(self.steps[op].cost.seconds for op in self.again(saved))
        return again + sum(self.values[v].save_seconds for v in saved)

    def flops(self, saved: Collection[int]) -> float:
        """Computed again."""
        return sum(self.steps[op].cost.flops for op in self.again(saved))


def graph_of(prefix: str, derivative: Flat, rates: Rates) -> Graph:
    """The graph of a layer's derivative, cut down to what its backward pass can want."""
    named = (op for op in derivative.ops if op.eqn.primitive.name == "name" and isinstance(op.ins[0], Ref))
    labels = {op.ins[0]: op.eqn.params["name"] for op in named}
    needed = {atom for op in derivative.ops if any(op.active) for atom in _passive_inputs(op, derivative)}
    kept: set[int] = set()
    wanted = list(needed)
    while wanted:
        at = wanted.pop().op
        if at not in kept:
            kept.add(at)
            wanted += _passive_inputs(derivative.ops[at], derivative)
    values: list[Value] = []
    index: dict[Ref, int] = {}
    steps = []
    for number, position in enumerate(sorted(kept)):
        op = derivative.ops[position]
        ins = tuple(index[ref] for ref in _passive_inputs(op, derivative) if ref.op in kept)
        steps.append(Step(rates.cost(op.eqn), ins))
        for out, active in enumerate(op.active):
            if not active:
                ref = Ref(position, out)
                index[ref] = len(values)
                values.append(_value(f"{prefix}.{position}.{out}", number, op.eqn, out, labels.get(ref), rates))
    forward = [rates.cost(op.eqn) for op in derivative.ops if not any(op.active)]
    whole = Cost(sum(cost.seconds for cost in forward), sum(cost.flops for cost in forward))
    return Graph(tuple(steps), tuple(values), tuple(sorted(index[ref] for ref in needed)), whole)


def _passive_inputs(op: Op, derivative: Flat) -> list[Ref]:
    """The intermediates that an operation reads and no tangent enters."""
    return [a for a in op.ins if isinstance(a, Ref) and a.op >= 0 and not derivative.ops[a.op].active[a.out]]


def _value(name: str, op: int, eqn: Any, out: int, label: str | None, rates: Rates) -> Value:
    aval = eqn.outvars[out].aval
    itemsize = getattr(aval.dtype, "itemsize", 0)
    size = math.prod(aval.shape) * itemsize
    own = eqn.params["name"] if eqn.primitive.name == "name" else None
    return Value(
        name,
        op,
        size,
        rates.saving(eqn, size),
        label or own or eqn.primitive.name,
        aval.str_short(short_dtypes=True),
        _line(eqn),
        savable=hasattr(aval.dtype, "itemsize") and "key<" not in str(aval.dtype),
    )


def _line(eqn: Any) -> str:
    """``models/transformer.py:64 (Block.mlp)``: a file is told by its own name and its folder's."""
    path, _, place = source_info_util.summarize(eqn.source_info).partition(":")
    line, _, function = place.partition(" ")
    return f"{'/'.join(PurePath(path).parts[-2:])}:{line.partition(':')[0]} {function}".rstrip(": ")


def joined(graphs: Sequence[Graph], counts: Sequence[int]) -> Graph:
    """One graph of several kinds of layers, each as many times as it is there: one decision for all of a kind."""
    steps: list[Step] = []
    values: list[Value] = []
    needed: list[int] = []
    for graph, count in zip(graphs, counts, strict=True):
        before, ops_before = len(values), len(steps)
        for step in graph.steps:
            cost = Cost(step.cost.seconds * count, step.cost.flops * count)
            steps.append(Step(cost, tuple(v + before for v in step.ins)))
        values += (
            replace(v, op=v.op + ops_before, bytes=v.bytes * count, save_seconds=v.save_seconds * count)
            for v in graph.values
        )
        needed += (v + before for v in graph.needed)
    return Graph(tuple(steps), tuple(values), tuple(needed))
