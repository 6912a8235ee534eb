"""The plans to choose from: the frontier, mixtures of two of its plans across layers, and the policies JAX names."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise

from artifex_bench.core.record import OWN
from artifex_bench.remat.planner.choice import frontier, hull
from artifex_bench.remat.planner.estimate import Candidate, candidate
from artifex_bench.remat.planner.graph import Graph, joined
from artifex_bench.remat.planner.kinds import POLICIES, Kind
from artifex_bench.remat.planner.stacks import AGAIN, Choice, Fine, Plain, Stack
from artifex_bench.remat.strategies import Plan, parse

BLOCKS = ("every-2", "segments-2", "segments-sqrt", "nested-2", "nested-sqrt")
BETWEEN = 16  # optima besides those of the hull
# Seconds, as a share of those between the leanest and the fastest plan, that are no reason to compute more again and to
# save more. For a transformer of 4 layers on an H100 they are 9 us of a step of 1.4 ms, which is itself an estimate.
UNSURE = 0.02


def pool(kinds: Sequence[Kind]) -> list[Candidate]:
    """Candidates by rising peak: plans that none dominates in peak, bytes saved and seconds, and the named policies."""
    whole = _joined(kinds)
    known = hull(whole)
    plans = [_by_stack(plan, kinds) for plan in dict.fromkeys((known[0], *frontier(whole, known, BETWEEN)))]
    others = [_by_stack(plan, kinds) for plan in known]
    lean, *along = _worthwhile([_alike("plan", kinds, plan) for plan in plans])
    found = [*along, *(_alike("plan", kinds, plan) for plan in others)]
    for low, high in pairwise((lean, *along)):
        found += _mixtures(kinds, *({name: choice for name, ((_, choice),) in c.groups.items()} for c in (low, high)))
    found = _worthwhile([lean, *found])[1:]
    best = [lean]
    for one in sorted(found, key=lambda c: (c.bytes, c.saved, c.seconds)):
        if all(one.seconds < other.seconds or one.saved < other.saved for other in best):
            best.append(one)
    return sorted([*best, *by_hand(kinds)], key=lambda c: (c.bytes, c.label not in OWN))


def _worthwhile(plans: Sequence[Candidate]) -> list[Candidate]:
    """The plans but those that save more and compute more again than another for hardly any seconds; the first stays.

    The rates take seconds to save a value into account, so the fastest plan for its bytes may compute more again.
    """
    span = max(one.seconds for one in plans) - min(one.seconds for one in plans)
    kept: list[Candidate] = [plans[0]]
    for one in sorted(plans[1:], key=lambda c: (c.flops, c.saved)):
        if not any(_dominates(other, one) and other.seconds <= one.seconds + UNSURE * span for other in kept):
            kept.append(one)
    return [one for one in plans if one in kept]


def _dominates(other: Candidate, one: Candidate) -> bool:
    """Whether the other computes no more again, saves no more and adds no more to the peak, and is not its equal."""
    pairs = [(other.flops, one.flops), (other.saved, one.saved), (other.bytes, one.bytes)]
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


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
    return joined(graphs, counts, [[kind.share_before(other) for other in kinds] for kind in kinds])


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
