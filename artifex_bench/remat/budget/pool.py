"""The plans to choose from: the frontier, mixtures of two of its plans across layers, and the policies JAX names."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from artifex_bench.remat.budget.choice import Saved, frontier
from artifex_bench.remat.budget.flat import Flat
from artifex_bench.remat.budget.graph import Graph, Rates, graph_of, joined
from artifex_bench.remat.budget.stacks import Choice, Fine, Groups, Plain, Stack
from artifex_bench.remat.strategies import Policy
from artifex_bench.remat.wrap import resolve

NAMED = tuple(map(Policy, ("dots_saveable", "dots_with_no_batch_dims_saveable")))  # what is left is on the frontier
BETWEEN = 16  # optima besides those of the hull


@dataclass(frozen=True)
class Kind:
    """A stack with its layers' graph, and what each named policy saves in it."""

    stack: Stack
    graph: Graph
    policies: Mapping[Policy, Saved]

    def saved(self, choice: Choice) -> Saved:
        """The values of the graph that a choice keeps; without rematerialization, all that the backward pass reads."""
        if isinstance(choice, Plain):
            return frozenset(self.graph.needed)
        if isinstance(choice, Policy):
            return self.policies[choice]
        return frozenset(v for v, value in enumerate(self.graph.values) if value.name in choice.names)


@dataclass(frozen=True)
class Candidate:
    """A plan, with the bytes it keeps over what the leanest needs, seconds and FLOPs it adds: all as estimated."""

    label: str
    groups: Mapping[str, Groups]
    bytes: float
    seconds: float
    flops: float


def kind_of(stack: Stack, prefix: str, derivative: Flat, rates: Rates) -> Kind:
    """From what `stacks.planned` told of the stack."""
    graph = graph_of(prefix, derivative, rates)
    index = {value.name: v for v, value in enumerate(graph.values)}
    return Kind(stack, graph, {p: frozenset(graph.used(set(_saves(p, prefix, derivative, index)))) for p in NAMED})


def _saves(policy: Policy, prefix: str, derivative: Flat, index: Mapping[str, int]) -> Iterator[int]:
    rule = resolve(policy)
    assert rule is not None
    for position, op in enumerate(derivative.ops):
        if rule(op.eqn.primitive, *(var.aval for var in op.eqn.invars), **op.eqn.params):
            for out in range(len(op.active)):
                name = f"{prefix}.{position}.{out}"
                if name in index:
                    yield index[name]


def pool(kinds: Sequence[Kind]) -> list[Candidate]:
    """Candidates by rising bytes, the leanest first: none that another one dominates, and the named policies."""
    plans = [_apart(plan, kinds) for plan in frontier(joined(*_of(kinds)), BETWEEN)]
    found = [
        candidate("plan", kinds, {k.stack.name: ((k.stack.depth, p),) for k, p in zip(kinds, plan, strict=True)})
        for plan in plans
    ]
    for low, high in pairwise(plans):
        found += _mixtures(kinds, low, high)
    best: list[Candidate] = []
    for one in sorted(found, key=lambda c: (c.bytes, c.seconds)):
        if not best or one.seconds < best[-1].seconds:
            best.append(one)
    choices: tuple[Choice, ...] = (Plain(), *NAMED)
    named = [named_candidate(kinds, choice) for choice in choices]
    return sorted([*best, *named], key=lambda c: (c.bytes, c.label != "plan"))


def named_candidate(kinds: Sequence[Kind], choice: Choice) -> Candidate:
    """Every layer under one choice."""
    label = choice.name if isinstance(choice, Policy) else "none"
    return candidate(label, kinds, {k.stack.name: ((k.stack.depth, choice),) for k in kinds})


def _of(kinds: Sequence[Kind]) -> tuple[list[Graph], list[int]]:
    return [k.graph for k in kinds], [k.stack.depth for k in kinds]


def _apart(plan: Collection[int], kinds: Sequence[Kind]) -> list[Fine]:
    """A plan of the joined graph as one choice for each kind."""
    found, start = [], 0
    for kind in kinds:
        values = kind.graph.values
        found.append(Fine(frozenset(value.name for v, value in enumerate(values) if v + start in plan)))
        start += len(values)
    return found


def _mixtures(kinds: Sequence[Kind], low: Sequence[Fine], high: Sequence[Fine]) -> Iterator[Candidate]:
    """Layers under the leaner plan first: they come last in the backward pass, when what the others saved is gone."""
    deepest = max(k.stack.depth for k, a, b in zip(kinds, low, high, strict=True) if a != b)
    for part in range(1, deepest):
        groups = {}
        for kind, a, b in zip(kinds, low, high, strict=True):
            many = round(kind.stack.depth * part / deepest) if a != b else 0
            pairs = ((kind.stack.depth - many, a), (many, b))
            groups[kind.stack.name] = tuple((count, choice) for count, choice in pairs if count)
        yield candidate("mixture", kinds, groups)


def candidate(label: str, kinds: Sequence[Kind], groups: Mapping[str, Groups]) -> Candidate:
    """With its estimates, from each kind's graph. A scan that is split copies its slices, and their gradients."""
    size = seconds = flops = 0.0
    for kind in kinds:
        graph = kind.graph
        for count, choice in groups[kind.stack.name]:
            saved = kind.saved(choice)
            size += count * graph.bytes(saved)
            seconds += count * graph.seconds(saved)
            flops += count * graph.flops(saved)
        size += kind.stack.slice_bytes if len(groups[kind.stack.name]) > 1 else 0
    return Candidate(label, groups, size, seconds, flops)
