"""Kinds of layers: those of a stack that are differentiated alike, with their graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from artifex_bench.compat import policy_saves
from artifex_bench.remat.apply import resolve
from artifex_bench.remat.planner.choice import Saved
from artifex_bench.remat.planner.derivative import graph_of
from artifex_bench.remat.planner.flat import Flat
from artifex_bench.remat.planner.graph import Graph, Rates, never
from artifex_bench.remat.planner.stacks import AGAIN, Choice, Groups, Plain, Stack
from artifex_bench.remat.strategies import Plan, Policy

POLICIES = (AGAIN, *map(Policy, ("dots_saveable", "dots_with_no_batch_dims_saveable")))


@dataclass(frozen=True)
class Part:
    """Those layers of a kind among the `count` that are under a choice, by their `places` among them."""

    places: tuple[int, ...]
    count: int
    choice: Choice


@dataclass(frozen=True)
class Kind:
    """Layers of a stack that are differentiated alike, with their graph, and what each named policy saves in it. There
    are others in the stack where, say, its first layer reads data, to which no tangent goes.
    """

    stack: Stack
    layers: tuple[int, ...]  # of the stack, counted from 0
    graph: Graph
    policies: Mapping[Policy, Saved]

    def under(self, groups: Groups) -> Iterator[Part]:
        """Which of these layers are under each choice, where some are."""
        start = 0
        for count, choice in groups:
            mine = tuple(layer - start for layer in self.layers if start <= layer < start + count)
            start += count
            if mine:
                yield Part(mine, count, choice)

    def position(self, layer: int) -> int:
        """Where in the program that layer of the stack is."""
        return self.stack.at[layer] if len(self.stack.at) > 1 else self.stack.at[0]

    def share_before(self, other: Kind) -> float:
        """Of the other's layers, how many hold what they saved when the last of this kind is differentiated."""
        now = self.position(self.layers[-1])
        return sum(other.position(layer) < now for layer in other.layers) / len(other.layers)

    def saved(self, choice: Choice) -> Saved:
        """The values of the graph that a choice keeps; without rematerialization, all that the backward pass cannot
        derive.
        """
        if isinstance(choice, Plain):
            return frozenset(self.graph.core())
        if isinstance(choice, Plan):
            return frozenset()
        if isinstance(choice, Policy):
            return self.policies[choice]
        values = enumerate(self.graph.values)
        return frozenset(v for v, one in values if one.name in (choice.names if one.of is None else choice.on_host))


def kind_of(stack: Stack, layers: tuple[int, ...], prefix: str, derivative: Flat, rates: Rates) -> Kind:
    """From what `stacks.planned` told of those layers of the stack. Only of scans are values offloaded: with calls XLA
    for CUDA planned more memory than if they were computed again.
    """
    if not stack.name.startswith("scan"):
        rates = replace(rates, offloading=never)
    graph = graph_of(prefix, derivative, rates, stack.kept)
    index = {value.name: v for v, value in enumerate(graph.values) if value.of is None}
    saved = {p: frozenset(graph.used(set(_saves(p, prefix, derivative, index)))) for p in POLICIES}
    return Kind(stack, layers, graph, saved)


def _saves(policy: Policy, prefix: str, derivative: Flat, index: Mapping[str, int]) -> Iterator[int]:
    rule = resolve(policy)
    assert rule is not None
    for position, op in enumerate(derivative.ops):
        if policy_saves(rule, op.eqn):
            for out in range(len(op.active)):
                name = f"{prefix}.{position}.{out}"
                if name in index:
                    yield index[name]
