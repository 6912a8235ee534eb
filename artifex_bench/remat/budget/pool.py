"""The plans to choose from: the frontier, mixtures of two of its plans across layers, and the policies JAX names."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from artifex_bench.remat.budget.choice import Saved, frontier, hull
from artifex_bench.remat.budget.flat import Flat
from artifex_bench.remat.budget.graph import Graph, Rates, graph_of, joined, never
from artifex_bench.remat.budget.stacks import AGAIN, Choice, Fine, Groups, Plain, Stack, apart
from artifex_bench.remat.strategies import Plan, Policy, parse
from artifex_bench.remat.wrap import resolve

POLICIES = (AGAIN, *map(Policy, ("dots_saveable", "dots_with_no_batch_dims_saveable")))
BLOCKS = ("every-2", "segments-2", "segments-sqrt", "nested-2", "nested-sqrt")
OWN = ("plan", "mixture")  # the labels of candidates that nobody has named
BETWEEN = 16  # optima besides those of the hull


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


@dataclass(frozen=True)
class Candidate:
    """A plan, with what it adds as estimated: bytes to the peak (but for a constant), seconds and FLOPs to a step.
    `saved`: bytes that it saves in all, which need not be there at once where there are several kinds of layers.
    """

    label: str
    groups: Mapping[str, Groups]
    bytes: float
    saved: float
    seconds: float
    flops: float

    @property
    def in_blocks(self) -> bool:
        """Whether layers are taken together somewhere."""
        return any(isinstance(choice, Plan) for groups in self.groups.values() for _, choice in groups)


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
        if rule(op.eqn.primitive, *(var.aval for var in op.eqn.invars), **op.eqn.params):
            for out in range(len(op.active)):
                name = f"{prefix}.{position}.{out}"
                if name in index:
                    yield index[name]


def pool(kinds: Sequence[Kind]) -> list[Candidate]:
    """Candidates by rising peak: plans that none dominates in peak, bytes saved and seconds, and the named policies."""
    whole = _joined(kinds)
    known = hull(whole)
    plans = [_by_stack(plan, kinds) for plan in dict.fromkeys((known[0], *frontier(whole, known, BETWEEN)))]
    others = [_by_stack(plan, kinds) for plan in known]
    lean, *found = (_alike("plan", kinds, plan) for plan in (*plans, *others))
    for low, high in pairwise(plans):
        found += _mixtures(kinds, low, high)
    best = [lean]
    for one in sorted(found, key=lambda c: (c.bytes, c.saved, c.seconds)):
        if all(one.seconds < other.seconds or one.saved < other.saved for other in best):
            best.append(one)
    return sorted([*best, *by_hand(kinds)], key=lambda c: (c.bytes, c.label not in OWN))


def leanest(candidates: Sequence[Candidate]) -> Candidate:
    """The leanest plan that takes every layer by itself: where the way to no rematerialization begins."""
    return next(one for one in candidates if one.label == "plan")


def by_hand(kinds: Sequence[Kind]) -> Iterator[Candidate]:
    """What one would choose by name, for every layer: no rematerialization, a policy, layers in blocks."""
    stacks = {kind.stack.name: kind.stack for kind in kinds}
    yield without(kinds)
    for policy in POLICIES:
        if any(not kind.graph.values[v].savable for kind in kinds for v in kind.policies[policy]):
            continue  # JAX cannot save complex numbers
        yield _alike("all" if policy == AGAIN else policy.name, kinds, dict.fromkeys(stacks, policy))
    known: list[dict[str, Choice]] = []
    for name in BLOCKS:
        plans = {one.name: _in_blocks(name, one) for one in stacks.values()}
        if any(isinstance(plan, Plan) for plan in plans.values()) and plans not in known:
            known.append(plans)
            yield _alike(name, kinds, plans)


def _in_blocks(name: str, stack: Stack) -> Choice:
    """The stack's layers in blocks; each computed again where they cannot be, or would be one block."""
    plan = parse(name, stack.depth)
    return plan if stack.carried_bytes and 1 < plan.period < stack.depth else AGAIN


def without(kinds: Sequence[Kind]) -> Candidate:
    """No rematerialization."""
    return _alike("none", kinds, {kind.stack.name: Plain() for kind in kinds})


def _alike(label: str, kinds: Sequence[Kind], choices: Mapping[str, Choice]) -> Candidate:
    return candidate(label, kinds, {k.stack.name: ((k.stack.depth, choices[k.stack.name]),) for k in kinds})


def _joined(kinds: Sequence[Kind]) -> Graph:
    """Of several kinds with the moments at which the peak may be: when the last layer of each has run."""
    graphs, counts = [k.graph for k in kinds], [len(k.layers) for k in kinds]
    if len(kinds) == 1:
        return joined(graphs, counts)
    return joined(graphs, counts, [[_share(kind, other) for other in kinds] for kind in kinds])


def _share(kind: Kind, other: Kind) -> float:
    """Of the other's layers, how many hold what they saved when the last of this kind is differentiated."""
    now = kind.position(kind.layers[-1])
    return sum(other.position(layer) < now for layer in other.layers) / len(other.layers)


def _by_stack(plan: Collection[int], kinds: Sequence[Kind]) -> dict[str, Choice]:
    """A plan of the joined graph as one choice for each stack. Names are of one kind alone: those of all are joined."""
    names: dict[str, tuple[set[str], set[str]]] = {}
    start = 0
    for kind in kinds:
        here, on_host = names.setdefault(kind.stack.name, (set(), set()))
        for v, value in enumerate(kind.graph.values):
            if v + start in plan:
                (here if value.of is None else on_host).add(value.name)
        start += len(kind.graph.values)
    return {stack: Fine(frozenset(here), frozenset(on_host)) for stack, (here, on_host) in names.items()}


def _mixtures(kinds: Sequence[Kind], low: Mapping[str, Choice], high: Mapping[str, Choice]) -> Iterator[Candidate]:
    """Layers under the leaner plan first: they come last in the backward pass, when what the others saved is gone."""
    depths = {kind.stack.name: kind.stack.depth for kind in kinds}
    deepest = max(depth for stack, depth in depths.items() if low[stack] != high[stack])
    for part in range(1, deepest):
        groups = {}
        for stack, depth in depths.items():
            many = round(depth * part / deepest) if low[stack] != high[stack] else 0
            pairs = ((depth - many, low[stack]), (many, high[stack]))
            groups[stack] = tuple((count, choice) for count, choice in pairs if count)
        yield candidate("mixture", kinds, groups)


def candidate(label: str, kinds: Sequence[Kind], groups: Mapping[str, Groups]) -> Candidate:
    """With its estimates, from each kind's graph. A scan that is split copies its slices, and their gradients."""
    sizes, seconds, flops = [], 0.0, 0.0
    for kind in kinds:
        chosen = groups[kind.stack.name]
        added = [sum(of) for of in zip(*(estimated(kind, part) for part in kind.under(chosen)), strict=True)]
        copied = kind.stack.slice_bytes if len(chosen) > 1 else 0
        sizes.append(added[0] + copied)
        seconds, flops = seconds + added[1], flops + added[2]
    return Candidate(label, groups, _peak(kinds, groups, sizes), sum(sizes), seconds, flops)


def _peak(kinds: Sequence[Kind], groups: Mapping[str, Groups], sizes: Sequence[float]) -> float:
    """Of what each kind holds. Of several kinds the most there is when the last layer of one is differentiated: what
    this layer's backward pass reads, and what the layers before it hold.
    """
    if len(kinds) == 1:
        return sizes[0]
    peaks = []
    for kind, size in zip(kinds, sizes, strict=True):
        before = sum(_share(kind, other) * held for other, held in zip(kinds, sizes, strict=True) if other is not kind)
        *_, part = kind.under(groups[kind.stack.name])
        last = _of_last(kind, part)
        peaks.append(before + size - kind.graph.bytes(last) + kind.graph.bytes(last | kind.graph.core()))
    return max(peaks)


def _of_last(kind: Kind, part: Part) -> Saved:
    """What the last of those layers saves. A block's last layer saves nothing for itself."""
    if isinstance(part.choice, Plan) and part.choice.group:
        return frozenset()
    return kind.saved(apart(part.choice, part.places)[-1])


def estimated(kind: Kind, part: Part) -> tuple[float, float, float]:
    """(bytes, seconds, FLOPs) of those layers under their choice."""
    if isinstance(part.choice, Plan):
        return _blocks(kind, part, part.choice)
    return _layers(kind, len(part.places), part.choice)


def _layers(kind: Kind, count: int, choice: Choice) -> tuple[float, float, float]:
    graph, saved = kind.graph, kind.saved(choice)
    if isinstance(choice, Plain):
        return count * graph.bytes(saved), count * sum(graph.values[v].save_seconds for v in saved), 0.0
    return count * graph.bytes(saved), count * graph.seconds(saved), count * graph.flops(saved)


def _blocks(kind: Kind, part: Part, plan: Plan) -> tuple[float, float, float]:
    """The same of layers in blocks. Of a block only its input is kept, and all but its last layer are run again; then
    either all that its layers hold is there at once, or only their inputs, and each layer is run once more (Chen 2016).
    """
    again = sum(plan.layers[place % plan.period] for place in part.places)
    both = zip(_layers(kind, again, AGAIN), _layers(kind, len(part.places) - again, Plain()), strict=True)
    layers = [one + other for one, other in both]
    if not plan.group:
        return layers[0], layers[1], layers[2]
    graph, carried = kind.graph, kind.stack.carried_bytes
    blocks = sum(place % plan.period == plan.period - 1 or place == part.count - 1 for place in part.places)
    whole, alive = len(part.places) - blocks, carried if again else graph.bytes(graph.core())
    last = _layers(kind, len(part.places) if again else blocks, AGAIN)
    size = (plan.period - 1) * alive - whole * carried
    return size, whole * graph.forward.seconds + last[1], whole * graph.forward.flops + last[2]
