"""list_candidates: the plans that the search chooses from.

They are the solver's plans, mixtures of two neighbouring plans across layers, and the strategies that have a name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise

from artifex_bench.core.record import OWN
from artifex_bench.remat.planner.choices import RECOMPUTE_ALL, Blocks, JaxPolicy, NoRemat, SaveNamed
from artifex_bench.remat.planner.cost_model import Candidate, estimate_candidate
from artifex_bench.remat.planner.graph import Graph, join_graphs
from artifex_bench.remat.planner.layer_choice import Choice
from artifex_bench.remat.planner.layer_kinds import POLICIES, LayerKind
from artifex_bench.remat.planner.layers import Stack
from artifex_bench.remat.planner.solver import solve_frontier, solve_hull
from artifex_bench.remat.strategies import parse_strategy

# Strategies in blocks. A choice: the shortest blocks, and those of the square root of the depth (Chen et al. 2016),
# whose measured minimum is in docs/figures.md, "Chen's curve".
BLOCKS = ("every-2", "segments-2", "segments-sqrt", "nested-2", "nested-sqrt")
# Budgets, besides the plans of the hull, at which an optimum is solved. Compared with 64 budgets, for a transformer of
# 8 layers (width 128, batch 4, sequence 64; rates of a CPU and of an H100; jax 0.12.0.1): the plans of 16 budgets were
# at most 5.6 and 1.5 % slower, as a share of the seconds between the leanest and the fastest plan (mean 0.25 and
# 0.10 %), and took 0.2 s instead of 1 s. Those of 4 budgets were up to 11 % slower.
BETWEEN = 16
# Share of the seconds between the leanest and the fastest plan that is too small a reason to recompute more and save
# more. For a transformer of 4 layers on an H100 it is 9 us of a step of 1.4 ms, by the estimate. Estimates are not that
# exact: published steps took 1.1 to 1.5 times theirs (`core.record.STEP_OVER_ESTIMATE`).
UNSURE = 0.02


def list_candidates(kinds: Sequence[LayerKind]) -> list[Candidate]:
    """List the candidates by rising estimated peak.

    Args:
        kinds: All kinds of layers.

    Returns:
        The leanest plan, the plans that no other betters in peak, residuals and seconds, and the named strategies.
    """
    graph = _join_kinds(kinds)
    hull = solve_hull(graph)
    frontier = [_choose_by_stack(p, kinds) for p in dict.fromkeys((hull[0], *solve_frontier(graph, hull, BETWEEN)))]
    lean, *along = drop_overpriced([_apply_to_all("plan", kinds, choices) for choices in frontier])
    plans = [*along, *(_apply_to_all("plan", kinds, _choose_by_stack(plan, kinds)) for plan in hull)]
    for low, high in pairwise((lean, *along)):
        plans += _mix(kinds, *({name: choice for name, ((_, choice),) in c.groups.items()} for c in (low, high)))
    best = [lean]
    for one in sorted(drop_overpriced([lean, *plans])[1:], key=lambda c: (c.bytes, c.saved, c.seconds)):
        if all(one.seconds < other.seconds or one.saved < other.saved for other in best):
            best.append(one)
    return sorted([*best, *list_named_strategies(kinds)], key=lambda c: (c.bytes, c.label not in OWN))


def drop_overpriced(plans: Sequence[Candidate]) -> list[Candidate]:
    """Drop plans that save more and recompute more than another one to be hardly any faster.

    The solver counts the seconds to write and read a value, so the fastest plan for its bytes may recompute more than a
    plan that saves less.

    Args:
        plans: The plans; the first is never dropped.

    Returns:
        The remaining plans, in their order.
    """
    span = max(one.seconds for one in plans) - min(one.seconds for one in plans)
    remaining: list[Candidate] = [plans[0]]
    for one in sorted(plans[1:], key=lambda c: (c.flops, c.saved)):
        if not any(undercuts(other, one) and other.seconds <= one.seconds + UNSURE * span for other in remaining):
            remaining.append(one)
    return [one for one in plans if one in remaining]


def undercuts(other: Candidate, one: Candidate) -> bool:
    """Return whether `other` recomputes, saves and adds to the peak no more than `one`, and one of them less."""
    pairs = [(other.flops, one.flops), (other.saved, one.saved), (other.bytes, one.bytes)]
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def find_leanest(candidates: Sequence[Candidate]) -> Candidate:
    """Return the leanest plan that takes every layer by itself: a budget of fraction 0."""
    return next(one for one in candidates if one.label == "plan")


def list_named_strategies(kinds: Sequence[LayerKind]) -> Iterator[Candidate]:
    """Yield the strategies that have a name, for every layer: no rematerialization, policies, blocks of layers."""
    stacks = {kind.stack.name: kind.stack for kind in kinds}
    yield disable_remat(kinds)
    for policy in POLICIES:
        if any(not kind.graph.values[v].savable for kind in kinds for v in kind.saved_by_policy[policy]):
            continue  # JAX cannot save complex numbers
        choice = JaxPolicy(policy)
        label = "all" if choice == RECOMPUTE_ALL else policy.name
        yield _apply_to_all(label, kinds, dict.fromkeys(stacks, choice))
    listed: list[dict[str, Choice]] = []
    for name in BLOCKS:
        choices = {stack.name: _choose_blocks(name, stack) for stack in stacks.values()}
        if any(choice.in_blocks for choice in choices.values()) and choices not in listed:
            listed.append(choices)
            yield _apply_to_all(name, kinds, choices)


def disable_remat(kinds: Sequence[LayerKind]) -> Candidate:
    """Return the candidate without rematerialization: a budget of fraction 1."""
    return _apply_to_all("none", kinds, {kind.stack.name: NoRemat() for kind in kinds})


def _choose_blocks(name: str, stack: Stack) -> Choice:
    """Return the stack's layers in blocks, or recomputed one by one if they cannot be, or would be a single block."""
    plan = parse_strategy(name, stack.depth)
    return Blocks.from_plan(plan) if stack.carried_bytes and 1 < plan.period < stack.depth else RECOMPUTE_ALL


def _apply_to_all(label: str, kinds: Sequence[LayerKind], choices: Mapping[str, Choice]) -> Candidate:
    """Return the candidate with one choice for all layers of each stack."""
    groups = {k.stack.name: ((k.stack.depth, choices[k.stack.name]),) for k in kinds}
    return estimate_candidate(label, kinds, groups)


def _join_kinds(kinds: Sequence[LayerKind]) -> Graph:
    """Join the graphs of all kinds. If there are several, the peak is when the last layer of one is differentiated."""
    graphs, counts = [k.graph for k in kinds], [len(k.layers) for k in kinds]
    if len(kinds) == 1:
        return join_graphs(graphs, counts)
    return join_graphs(graphs, counts, [[kind.share_before(other) for other in kinds] for kind in kinds])


def _choose_by_stack(plan: Collection[int], kinds: Sequence[LayerKind]) -> dict[str, Choice]:
    """Turn a plan of the joined graph into one choice per stack: a name belongs to one kind, so kinds can share it."""
    names: dict[str, tuple[set[str], set[str]]] = {}
    first = 0
    for kind in kinds:
        on_device, on_host = names.setdefault(kind.stack.name, (set(), set()))
        for v, value in enumerate(kind.graph.values):
            if v + first in plan:
                (on_device if value.copy_of is None else on_host).add(value.name)
        first += len(kind.graph.values)
    return {stack: SaveNamed(frozenset(device), frozenset(host)) for stack, (device, host) in names.items()}


def _mix(kinds: Sequence[LayerKind], low: Mapping[str, Choice], high: Mapping[str, Choice]) -> Iterator[Candidate]:
    """Yield mixtures of two plans across layers, those under the leaner plan first.

    The first layers come last in the backward pass, when the residuals of the others are already freed.
    """
    depths = {kind.stack.name: kind.stack.depth for kind in kinds}
    deepest = max(depth for stack, depth in depths.items() if low[stack] != high[stack])
    for part in range(1, deepest):
        groups = {}
        for stack, depth in depths.items():
            count = round(depth * part / deepest) if low[stack] != high[stack] else 0
            pairs = ((depth - count, low[stack]), (count, high[stack]))
            groups[stack] = tuple((layers, choice) for layers, choice in pairs if layers)
        yield estimate_candidate("mixture", kinds, groups)
