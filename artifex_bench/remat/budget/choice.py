"""The choice: which values to save, so that least is lost within a number of bytes. Exact, by HiGHS through scipy.

For every value v, a_v says that it is there in the backward pass, and r_e that operation e is run again; v is saved
where it is there and its operation is not run again. What is needed must be there, and so must what a repeated
operation reads: a_v >= r_e. An operation counts once, however many chains lead through it. At a price for a byte and
no budget all conditions are differences, so that the linear program has a whole solution: a minimum cut. Those are the
plans of the lower hull of seconds against bytes; a budget in between makes it an integer program.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array

from artifex_bench.remat.budget.graph import Graph

Saved = frozenset[int]


def optimum(graph: Graph, budget: float) -> Saved:
    """The values to save, of `budget` bytes together at most, for the fewest seconds."""
    return _solve(graph, budget=budget)


def frontier(graph: Graph, between: int = 0) -> list[Saved]:
    """Plans from the one of fewest bytes to the fastest, each the best for its bytes.

    All of the lower hull (Eisner & Severance 1976), and the optimum at `between` budgets evenly spaced.
    """
    fastest = _solve(graph)
    found = {_least(graph), *_hull(graph, _least(graph), fastest)}
    most = graph.bytes(fastest)
    found |= {optimum(graph, most * (i + 1) / (between + 1)) for i in range(between)}
    best: list[Saved] = []
    for plan in sorted(found, key=lambda p: (graph.bytes(p), graph.seconds(p))):
        if not best or graph.seconds(plan) < graph.seconds(best[-1]) * (1 - 1e-9):
            best.append(plan)
    return best


def _least(graph: Graph) -> Saved:
    """Of all plans with the fewest bytes (nothing but empty values), the fastest."""
    return optimum(graph, 0.0)


def _hull(graph: Graph, low: Saved, high: Saved) -> Iterator[Saved]:
    """The plans of the hull between two of it: at the price at which both are as good, is there a better one?"""
    yield low
    yield high
    size, loss = graph.bytes(high) - graph.bytes(low), graph.seconds(low) - graph.seconds(high)
    if size <= 0 or loss <= 0:
        return
    price = loss / size
    middle = _solve(graph, price)

    def total(plan: Saved) -> float:
        return graph.seconds(plan) + price * graph.bytes(plan)

    if total(middle) < total(low) - 1e-9 * abs(total(low)):
        yield from _hull(graph, low, middle)
        yield from _hull(graph, middle, high)


def _solve(graph: Graph, price: float = 0.0, budget: float | None = None) -> Saved:
    values, steps = graph.values, graph.steps
    if not values:
        return frozenset()
    count = len(values)
    seconds = np.array([step.cost.seconds for step in steps])
    sizes = np.array([value.bytes for value in values], float)
    saving = np.array([value.save_seconds for value in values]) + price * sizes
    ops = np.array([value.op for value in values])
    # in units in which the solver's tolerances are small
    unit = max(seconds.max(initial=0.0), saving.max(initial=0.0)) or 1.0
    again = seconds - np.bincount(ops, saving, minlength=len(steps))
    costs = np.concatenate([saving, again]) / unit
    # a_v >= r_e for what e reads and for what it gives; equal where v cannot be saved
    pairs = [(v, e) for e, step in enumerate(steps) for v in step.ins] + list(enumerate(ops))
    rows = np.arange(len(pairs))
    there, reads = (np.array(side) for side in zip(*pairs, strict=True))
    matrix = coo_array(
        (
            np.concatenate([np.ones(len(pairs)), -np.ones(len(pairs))]),
            (np.concatenate([rows, rows]), np.concatenate([there, count + reads])),
        ),
        shape=(len(pairs), count + len(steps)),
    )
    upper = np.full(len(pairs), np.inf)
    upper[-count:] = [np.inf if value.savable else 0.0 for value in values]
    constraints = [LinearConstraint(matrix.tocsr(), 0.0, upper)]
    if budget is not None:
        scale = sizes.max() or 1.0
        row = np.concatenate([sizes, -np.bincount(ops, sizes, minlength=len(steps))]) / scale
        constraints.append(LinearConstraint(row[None], -np.inf, budget / scale))
    least = np.zeros(count + len(steps))
    least[list(graph.needed)] = 1.0
    found = milp(
        costs,
        integrality=np.full(len(costs), 0 if budget is None else 1),
        bounds=Bounds(least, 1.0),
        constraints=constraints,
        options={"mip_rel_gap": 0.0},
    )
    if found.x is None:
        raise RuntimeError(f"the solver found no plan: {found.message}")
    whole = found.x > 0.5
    return frozenset(v for v in range(count) if whole[v] and not whole[count + ops[v]])
