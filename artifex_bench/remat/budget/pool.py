"""The plans to choose from: the frontier, mixtures of two of its plans across layers, and the policies JAX names."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from artifex_bench.remat.budget.choice import Saved, frontier
from artifex_bench.remat.budget.flat import Flat
from artifex_bench.remat.budget.graph import Graph, Rates, graph_of, joined
from artifex_bench.remat.budget.stacks import AGAIN, Choice, Fine, Groups, Plain, Stack
from artifex_bench.remat.strategies import Plan, Policy, parse
from artifex_bench.remat.wrap import resolve

POLICIES = (AGAIN, *map(Policy, ("dots_saveable", "dots_with_no_batch_dims_saveable")))
BLOCKS = ("every-2", "segments-2", "segments-sqrt", "nested-2", "nested-sqrt")
OWN = ("plan", "mixture")  # the labels of candidates that nobody has named
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
        if isinstance(choice, Plan):
            return frozenset()
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
    return Kind(stack, graph, {p: frozenset(graph.used(set(_saves(p, prefix, derivative, index)))) for p in POLICIES})


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
    """Candidates by rising bytes: none that another one dominates, and the named policies."""
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
    return sorted([*best, *by_hand(kinds)], key=lambda c: (c.bytes, c.label not in OWN))


def leanest(candidates: Sequence[Candidate]) -> Candidate:
    """The leanest plan that takes every layer by itself: where the way to no rematerialization begins."""
    return next(one for one in candidates if one.label == "plan")


def by_hand(kinds: Sequence[Kind]) -> Iterator[Candidate]:
    """What one would choose by name, for every layer: no rematerialization, a policy, layers in blocks."""
    depths = {kind.stack.name: kind.stack.depth for kind in kinds}
    yield without(kinds)
    for policy in POLICIES:
        yield _alike("all" if policy == AGAIN else policy.name, kinds, dict.fromkeys(depths, policy))
    known: list[dict[str, Plan]] = []
    for name in BLOCKS:
        plans = {stack: parse(name, depth) for stack, depth in depths.items()}
        possible = all(k.stack.carried_bytes and 1 < plans[k.stack.name].period < k.stack.depth for k in kinds)
        if possible and plans not in known:
            known.append(plans)
            yield _alike(name, kinds, plans)


def without(kinds: Sequence[Kind]) -> Candidate:
    """No rematerialization."""
    return _alike("none", kinds, {kind.stack.name: Plain() for kind in kinds})


def _alike(label: str, kinds: Sequence[Kind], choices: Mapping[str, Choice]) -> Candidate:
    return candidate(label, kinds, {k.stack.name: ((k.stack.depth, choices[k.stack.name]),) for k in kinds})


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
        for count, choice in groups[kind.stack.name]:
            layers = estimated(kind, count, choice)
            size, seconds, flops = size + layers[0], seconds + layers[1], flops + layers[2]
        size += kind.stack.slice_bytes if len(groups[kind.stack.name]) > 1 else 0
    return Candidate(label, groups, size, seconds, flops)


def estimated(kind: Kind, count: int, choice: Choice) -> tuple[float, float, float]:
    """(bytes, seconds, FLOPs) of so many layers under a choice."""
    return _blocks(kind, count, choice) if isinstance(choice, Plan) else _layers(kind, count, choice)


def _layers(kind: Kind, count: int, choice: Choice) -> tuple[float, float, float]:
    graph, saved = kind.graph, kind.saved(choice)
    return count * graph.bytes(saved), count * graph.seconds(saved), count * graph.flops(saved)


def _blocks(kind: Kind, count: int, plan: Plan) -> tuple[float, float, float]:
    """The same of layers in blocks. Of a block only its input is kept, and all but its last layer are run again; then
    either all that its layers hold is there at once, or only their inputs, and each layer is run once more (Chen 2016).
    """
    flags = [plan.layers[i % plan.period] for i in range(count)]
    again, plain = _layers(kind, sum(flags), AGAIN), _layers(kind, count - sum(flags), Plain())
    if not plan.group:
        return again[0] + plain[0], again[1] + plain[1], again[2] + plain[2]
    graph, carried, blocks = kind.graph, kind.stack.carried_bytes, -(-count // plan.period)
    whole, alive = count - blocks, carried if flags[0] else graph.bytes(graph.needed)
    last = _layers(kind, count if flags[0] else blocks, AGAIN)
    size = (plan.period - 1) * alive - (count - blocks) * carried
    seconds = whole * graph.forward.seconds + last[1] + plain[1]
    return size, seconds, whole * graph.forward.flops + last[2]
