"""Solver: the residuals that cost the fewest seconds within a number of bytes, by HiGHS through scipy.

Variables: a_v is 1 if value v is available in the backward pass, r_e is 1 if operation e runs again. A value is saved
if it is available and its operation does not run again. Constraints: a needed value is available, and so is every value
that a repeated operation reads (a_v >= r_e). An operation counts once, however many values derive from it.

With a price per byte and no budget, every constraint is a difference of two variables, so the linear program has an
integral solution: a minimum cut. Its solutions over all prices are the lower hull of seconds against bytes. A budget
between them makes it an integer program. With several kinds of layers there is one budget constraint for each moment at
which the peak may be (`Graph.moments`). A copy in host memory stands in for a saved value; the bytes of all copies are
limited too, so only the integer programs choose copies.

A solution is optimal if the search ends within `NODES`. A longer search returns the best plan so far; there always is
one, which saves nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array, csr_array

from artifex_bench.remat.planner.graph import Graph, Moment, Saved

# Relative difference that two sums of the same numbers in another order may have: about 4,500 units in the last place
# of a float64 (2.2e-16). A choice with room to spare, not a measurement.
ROUNDING = 1e-12
# Attempts to meet a budget that the solver exceeds within its tolerance. A choice with room to spare: one attempt was
# enough in all of 1,000 problems (600 random graphs, 400 budgets of the transformer in `candidates`; scipy 1.18.1).
ATTEMPTS = 8
# Nodes of a search before it is cut off. On 889 values of ten kinds of layers (a ResNet-50) plans were within 0.1 % of
# the solver's bound then (docs/memory-plans.md).
NODES = 100


def solve_for_budget(graph: Graph, budget: float) -> Saved:
    """Choose the values to save within a budget.

    The solver accepts plans that exceed a limit by its tolerance (1e-6 of the largest value). The limits are then
    lowered by twice the excess, and the program is solved again.

    Args:
        graph: The graph.
        budget: Bytes of the estimated peak at most.

    Returns:
        The plan with the fewest estimated seconds.

    Raises:
        RuntimeError: The solver returned no plan within the budget in `ATTEMPTS` attempts.
    """
    bytes_left, host_left = budget, graph.host_limit
    for _ in range(ATTEMPTS):
        plan = _solve(replace(graph, host_limit=host_left), budget=bytes_left)
        excess, host_excess = graph.estimate_peak(plan) - budget, graph.count_host_bytes(plan) - graph.host_limit
        if excess <= ROUNDING * abs(budget) and host_excess <= ROUNDING * graph.host_limit:
            return plan
        bytes_left -= 2 * max(excess, 0.0)
        host_left = max(host_left - 2 * max(host_excess, 0.0), 0.0)
    raise RuntimeError(f"the solver returned no plan within {budget:g} bytes: its last one exceeds it by {excess:g}")


def solve_frontier(graph: Graph, hull: Collection[Saved], between: int = 0) -> list[Saved]:
    """Return plans such that a higher peak is always faster.

    Args:
        graph: The graph.
        hull: Plans of the lower hull, from `solve_hull`.
        between: Number of budgets, evenly spaced from the hull's lowest peak to that of its fastest plan, at which an
            optimum is added.

    Returns:
        The plans by rising peak and falling seconds.
    """
    low, fastest = min(map(graph.estimate_peak, hull)), min(map(graph.estimate_seconds, hull))
    high = min(graph.estimate_peak(p) for p in hull if graph.estimate_seconds(p) <= fastest * (1 + 1e-9))
    budgets = (low + (high - low) * i / (between + 1) for i in range(between + 1))
    plans = {*hull, *(solve_for_budget(graph, budget) for budget in budgets)}
    best: list[Saved] = []
    for plan in sorted(plans, key=lambda p: (graph.estimate_peak(p), graph.estimate_seconds(p))):
        if not best or graph.estimate_seconds(plan) < graph.estimate_seconds(best[-1]) * (1 - 1e-9):
            best.append(plan)
    return best


def solve_hull(graph: Graph) -> list[Saved]:
    """Return the plans of the lower hull of seconds against bytes (Eisner & Severance 1976), by rising bytes."""
    lean = solve_leanest(graph)
    return sorted({lean, *_split_hull(graph, lean, _solve(graph))}, key=graph.count_bytes)


def solve_leanest(graph: Graph) -> Saved:
    """Return the fastest of the plans that save the fewest bytes: nothing but empty values."""
    return solve_for_budget(replace(graph, moments=(), host_limit=0.0), 0.0)


def _split_hull(graph: Graph, low: Saved, high: Saved) -> Iterator[Saved]:
    """Yield the plans of the hull between two of it, found at the price at which both are equally good."""
    yield low
    yield high
    size = graph.count_bytes(high) - graph.count_bytes(low)
    gain = graph.estimate_seconds(low) - graph.estimate_seconds(high)
    if size <= 0 or gain <= 0:
        return
    price = gain / size
    middle = _solve(graph, price)

    def total(plan: Saved) -> float:
        return graph.estimate_seconds(plan) + price * graph.count_bytes(plan)

    if total(middle) < total(low) - 1e-9 * abs(total(low)):
        yield from _split_hull(graph, low, middle)
        yield from _split_hull(graph, middle, high)


def _solve(graph: Graph, price: float = 0.0, budget: float | None = None) -> Saved:
    """Solve the linear program at a price (seconds per byte), or the integer program of a budget."""
    values = graph.values
    if not values:
        return frozenset()
    count = len(values)
    saved, repeats = _saved_matrix(graph), _repeats_matrix(graph)
    sizes = np.array([value.added_bytes for value in values], float)
    saving = np.array([value.save_seconds for value in values]) + price * sizes
    again = np.array([operation.cost.seconds for operation in graph.operations])
    # costs are scaled to at most 1, because the solver's tolerances are absolute
    unit = float(np.concatenate([again, saving]).max()) or 1.0
    costs = (saving @ saved + np.concatenate([np.zeros(count), again])) / unit
    savable = np.array([value.savable for value in values])
    constraints = [LinearConstraint(saved, 0.0, np.where(savable, np.inf, 0.0))]
    if repeats.shape[0]:
        constraints.append(LinearConstraint(repeats, 0.0, np.inf))
    least, most = np.zeros(len(costs)), np.ones(len(costs))
    least[list(graph.needed)] = 1.0
    scale = sizes.max() or 1.0
    if budget is None or not graph.host_limit:
        most[[v for v, value in enumerate(values) if value.copy_of is not None]] = 0.0
    else:
        host_bytes = np.array([value.host_bytes for value in values]) / scale
        constraints.append(LinearConstraint((host_bytes @ saved)[None], -np.inf, graph.host_limit / scale))
    if budget is not None:
        for moment in graph.moments or [Moment(0.0, (1.0,) * count)]:
            in_memory = sizes * moment.shares / scale
            constraints.append(LinearConstraint((in_memory @ saved)[None], -np.inf, (budget - moment.always) / scale))
    solution = milp(
        costs,
        integrality=np.full(len(costs), 0 if budget is None else 1),
        bounds=Bounds(least, most),
        constraints=constraints,
        options={"mip_rel_gap": 0.0, "node_limit": NODES},
    )
    if solution.x is None:
        raise RuntimeError(f"the solver returned no plan: {solution.message}")
    return frozenset(np.flatnonzero(saved @ (solution.x > 0.5) > 0.5).tolist())


def _saved_matrix(graph: Graph) -> csr_array:
    """Return the matrix whose row v says whether v is saved.

    It is saved if it is available, its operation does not run again, and no copy stands in for it.
    """
    entries = [(v, v, 1.0) for v in range(len(graph.values))]
    for v, value in enumerate(graph.values):
        if value.copy_of is None:
            entries.append((v, len(graph.values) + value.operation, -1.0))
        else:
            entries.append((value.copy_of, v, -1.0))
    return _make_matrix(entries, len(graph.values), graph)


def _repeats_matrix(graph: Graph) -> csr_array:
    """Return the matrix with a row for each value that an operation reads: it is available if that runs again."""
    pairs = [(v, e) for e, operation in enumerate(graph.operations) for v in operation.inputs]
    count = len(graph.values)
    entries = [(row, v, 1.0) for row, (v, _) in enumerate(pairs)]
    entries += [(row, count + e, -1.0) for row, (_, e) in enumerate(pairs)]
    return _make_matrix(entries, len(pairs), graph)


def _make_matrix(entries: list[tuple[int, int, float]], rows: int, graph: Graph) -> csr_array:
    """Return a sparse matrix from (row, column, factor). Columns are all values, then all operations."""
    shape = (rows, len(graph.values) + len(graph.operations))
    if not entries:
        return csr_array(shape)
    row_indices, columns, factors = zip(*entries, strict=True)
    return coo_array((factors, (row_indices, columns)), shape=shape).tocsr()
