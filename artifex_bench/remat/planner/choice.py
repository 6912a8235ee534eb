"""The choice: which values to save, so that least is lost within a number of bytes, by HiGHS through scipy.

For every value v, a_v says that it is there in the backward pass, and r_e that operation e is run again; v is saved
where it is there and its operation is not run again. What is needed must be there, and so must what a repeated
operation reads: a_v >= r_e. An operation counts once, however many chains lead through it. At a price for a byte and
no budget all conditions are differences, so that the linear program has a whole solution: a minimum cut. Those are the
plans of the lower hull of seconds against bytes; a budget in between makes it an integer program. Of several kinds of
layers the budget is one of each moment at which the peak may be (`Graph.moments`). A copy on the host stands in for a
saved value; what the host may be sent is a budget too, so that copies are chosen by the integer programs alone.

Exact where a search ends within `NODES`. A longer one gives the best plan found by then, of which there always is one:
to save nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array, csr_array

from artifex_bench.remat.planner.graph import Graph, Moment

Saved = frozenset[int]
ROUNDING, TRIES = 1e-12, 8
NODES = 100  # of a search that is cut off there: of 889 values of ten kinds, within 0.1 % of the least there can be


def optimum(graph: Graph, budget: float) -> Saved:
    """The values to save, with a peak of `budget` bytes at most, for the fewest seconds.

    The solver takes a plan that exceeds a limit by its tolerance (1e-6 of the largest value) for one that keeps it: the
    limits are then lowered by twice the excess. ROUNDING is what sums in another order may differ by.
    """
    bytes_left, host_left = budget, graph.host_limit
    for _ in range(TRIES):
        found = _solve(replace(graph, host_limit=host_left), budget=bytes_left)
        over, host_over = graph.peak(found) - budget, graph.on_host(found) - graph.host_limit
        if over <= ROUNDING * abs(budget) and host_over <= ROUNDING * graph.host_limit:
            return found
        bytes_left -= 2 * max(over, 0.0)
        host_left = max(host_left - 2 * max(host_over, 0.0), 0.0)
    raise RuntimeError(f"the solver found no plan within {budget:g} bytes: its plans exceed it by {over:g}")


def frontier(graph: Graph, known: Collection[Saved], between: int = 0) -> list[Saved]:
    """Those with the fewest seconds for their peak, of the plans `known` (the `hull`) and the optimum at `between`
    peaks evenly spaced from their least to that of the fastest.
    """
    low, fastest = min(map(graph.peak, known)), min(map(graph.seconds, known))
    high = min(graph.peak(p) for p in known if graph.seconds(p) <= fastest * (1 + 1e-9))
    found = {*known, *(optimum(graph, low + (high - low) * i / (between + 1)) for i in range(between + 1))}
    best: list[Saved] = []
    for plan in sorted(found, key=lambda p: (graph.peak(p), graph.seconds(p))):
        if not best or graph.seconds(plan) < graph.seconds(best[-1]) * (1 - 1e-9):
            best.append(plan)
    return best


def hull(graph: Graph) -> list[Saved]:
    """The plans of the lower hull of seconds against bytes (Eisner & Severance 1976), from the least to the fastest."""
    lean = least(graph)
    return sorted({lean, *_hull(graph, lean, _solve(graph))}, key=graph.bytes)


def least(graph: Graph) -> Saved:
    """Of all plans that save the fewest bytes (nothing but empty values), the fastest."""
    return optimum(replace(graph, moments=(), host_limit=0.0), 0.0)


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
    saved, repeats = _saved(graph), _repeats(graph)
    sizes = np.array([value.added for value in values], float)
    saving = np.array([value.save_seconds for value in values]) + price * sizes
    again = np.array([step.cost.seconds for step in steps])
    # in units in which the solver's tolerances are small
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
        most[[v for v, value in enumerate(values) if value.of is not None]] = 0.0
    else:
        on_host = np.array([value.on_host for value in values]) / scale
        constraints.append(LinearConstraint((on_host @ saved)[None], -np.inf, graph.host_limit / scale))
    if budget is not None:
        for moment in graph.moments or [Moment(0.0, (1.0,) * count)]:
            there = sizes * moment.shares / scale
            constraints.append(LinearConstraint((there @ saved)[None], -np.inf, (budget - moment.always) / scale))
    found = milp(
        costs,
        integrality=np.full(len(costs), 0 if budget is None else 1),
        bounds=Bounds(least, most),
        constraints=constraints,
        options={"mip_rel_gap": 0.0, "node_limit": NODES},
    )
    if found.x is None:
        raise RuntimeError(f"the solver found no plan: {found.message}")
    return frozenset(np.flatnonzero(saved @ (found.x > 0.5) > 0.5).tolist())


def _saved(graph: Graph) -> csr_array:
    """Row v says whether v is saved: it is there, its operation is not run again, and no copy stands in for it."""
    entries = [(v, v, 1.0) for v in range(len(graph.values))]
    for v, value in enumerate(graph.values):
        entries.append((v, len(graph.values) + value.op, -1.0) if value.of is None else (value.of, v, -1.0))
    return _matrix(entries, len(graph.values), graph)


def _repeats(graph: Graph) -> csr_array:
    """A row for each value that an operation reads: where that is run again, the value is there."""
    pairs = [(v, e) for e, step in enumerate(graph.steps) for v in step.ins]
    count = len(graph.values)
    entries = [(row, v, 1.0) for row, (v, _) in enumerate(pairs)]
    entries += [(row, count + e, -1.0) for row, (_, e) in enumerate(pairs)]
    return _matrix(entries, len(pairs), graph)


def _matrix(entries: list[tuple[int, int, float]], rows: int, graph: Graph) -> csr_array:
    """Columns: every value, then every operation."""
    shape = (rows, len(graph.values) + len(graph.steps))
    if not entries:
        return csr_array(shape)
    at, columns, factors = zip(*entries, strict=True)
    return coo_array((factors, (at, columns)), shape=shape).tocsr()
