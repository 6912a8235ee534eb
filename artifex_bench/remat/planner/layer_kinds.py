"""LayerKind: the layers of a stack that are differentiated in the same inputs, with their graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from artifex_bench.compat import policy_saves
from artifex_bench.remat.apply import make_policy
from artifex_bench.remat.planner.graph import Graph, Rates, Saved, never_offload
from artifex_bench.remat.planner.graph_builder import build_graph
from artifex_bench.remat.planner.inlined_program import InlinedProgram, Ref
from artifex_bench.remat.planner.layers import Stack
from artifex_bench.remat.planner.residual_names import name_value
from artifex_bench.remat.strategies import Policy

# The policies of JAX that need no names and do not offload; the planner compiles them as candidates.
POLICIES = tuple(map(Policy, ("nothing_saveable", "dots_saveable", "dots_with_no_batch_dims_saveable")))


@dataclass(frozen=True)
class LayerKind:
    """Layers of a stack that are differentiated in the same inputs.

    A stack has several kinds if, for example, its first layer reads data, in which nothing is differentiated.

    Attributes:
        stack: The stack.
        layers: Their numbers in the stack, from 0.
        graph: The graph of one such layer.
        saved_by_policy: For each of `POLICIES`, the values of the graph that it saves.
    """

    stack: Stack
    layers: tuple[int, ...]
    graph: Graph
    saved_by_policy: Mapping[Policy, Saved]

    def find_position(self, layer: int) -> int:
        """Return the index, in the inlined program, of the equation of a layer of the stack."""
        return self.stack.positions[layer] if len(self.stack.positions) > 1 else self.stack.positions[0]

    def share_before(self, other: LayerKind) -> float:
        """Return the share of the other kind's layers that run before the last layer of this kind.

        Their residuals are in memory when the last layer of this kind is differentiated.
        """
        last = self.find_position(self.layers[-1])
        return sum(other.find_position(layer) < last for layer in other.layers) / len(other.layers)


def build_kind(stack: Stack, layers: tuple[int, ...], prefix: str, jvp: InlinedProgram, rates: Rates) -> LayerKind:
    """Build the kind of some layers of a stack, with its graph.

    Args:
        stack: The stack.
        layers: Numbers of the layers in the stack.
        prefix: Prefix of the layers' value names.
        jvp: Inlined JVP of one of the layers.
        rates: Costs of the target. Values are offloaded in scans alone: unrolled layers that offload took 1.3 GiB more
            than predicted when they were compiled for an H100 (docs/memory-plans.md, "How it decides").

    Returns:
        The kind.
    """
    if not stack.is_scan:
        rates = replace(rates, offloading=never_offload)
    graph = build_graph(prefix, jvp, rates, stack.kept_outs)
    index = {value.name: v for v, value in enumerate(graph.values) if value.copy_of is None}
    saved = {p: frozenset(graph.find_useful(set(_find_saved(p, prefix, jvp, index)))) for p in POLICIES}
    return LayerKind(stack, layers, graph, saved)


def _find_saved(policy: Policy, prefix: str, jvp: InlinedProgram, index: Mapping[str, int]) -> Iterator[int]:
    """Yield the values that a policy saves."""
    rule = make_policy(policy)
    assert rule is not None
    for position, equation in enumerate(jvp.equations):
        if policy_saves(rule, equation.eqn):
            for out in range(len(equation.active)):
                name = name_value(prefix, Ref(position, out))
                if name in index:
                    yield index[name]
