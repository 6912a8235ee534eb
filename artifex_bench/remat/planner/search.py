"""The closed loop: plans are compiled, true peaks read, estimates mended, until the fastest that fits is found."""

from __future__ import annotations

import math
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax

from artifex_bench.core.record import OWN
from artifex_bench.remat.planner.estimate import Candidate
from artifex_bench.remat.planner.flat import Flat
from artifex_bench.remat.planner.graph import Rates
from artifex_bench.remat.planner.kinds import Kind, kind_of
from artifex_bench.remat.planner.plan import BudgetPlan, Built, Tried, describe, estimates, without_seconds
from artifex_bench.remat.planner.pool import leanest, pool, without
from artifex_bench.remat.planner.size import Budget, BudgetError, readable
from artifex_bench.remat.planner.stacks import WHOLE, Fine, Groups, Plain, Stack, planned, stacks_of

COMPILES = 6
CLOSE = 0.01  # of the seconds between the leanest and the fastest plan: less is not worth another compilation
MARGIN = 0.002  # of the budget, that much over it at first, and less after every miss: estimates are not quite exact
RESERVED = 0.04  # of a budget at most, for what a process takes beside its program: 1 to 4 % in docs/figures.md
ODD = 0.1  # what seems this much over the budget may fit all the same: a named policy at once, a plan as a last resort
RIVALS = 2  # named policies that are compiled for their few FLOPs, whatever the rates say, where steps can be timed
RUNS, LONG = 10, 5.0  # of each of those that fit, in turn; two will do once all of them together took so many seconds


def meet(
    function: Callable[..., Any],
    args: Sequence[Any],
    budget: Budget,
    rates: Rates,
    step: Callable[[Callable[..., Any]], Callable[..., Any]],
    build: Callable[[Callable[..., Any]], Built],
    target: str,
    compiles: int = COMPILES,
    capacity: float = math.inf,
    reserve: float = 0.0,
) -> tuple[Mapping[str, Groups], BudgetPlan]:
    """(the choices for `stacks.planned` of the fastest found whose compiled peak is within the budget, that plan).

    `function(*args)` is a loss that `step(function)(*args)` differentiates; `args` are arrays, or shapes.
    `build(function)` compiles what is to be run with it; it is called `compiles` times at most. Where it can be run,
    those that fit are timed, and the one with the fastest run is taken; else it is the fastest by the rates. No budget
    is above the `capacity` of the target. Up to `reserve` of a budget's bytes are left free if that is possible.

    Raises BudgetError when nothing that was compiled fits; it names the least found.
    """
    stacks = stacks_of(function, *args)
    derivatives: dict[str, dict[int | None, tuple[str, Flat]]] = {}  # of a stack's layers, each with its prefix

    def told(stack: str, layer: int | None, prefix: str, derivative: Flat) -> None:
        derivatives.setdefault(stack, {})[layer] = prefix, derivative  # of those of a loop the last: the fixpoint

    nothing = {stack.name: ((stack.depth, Fine(frozenset())),) for stack in stacks}
    jax.make_jaxpr(step(planned(function, nothing, told)))(*args)
    kinds = [kind for stack in stacks for kind in _kinds(stack, derivatives.get(stack.name, {}), rates)]
    planned_for = {kind.stack.name for kind in kinds}
    untouched = {stack.name: ((stack.depth, Plain()),) for stack in stacks if stack.name not in planned_for}
    if not kinds:
        raise BudgetError("nothing to plan: no layer of the function is differentiated in the step")
    candidates = pool(kinds)

    def built(plan: Candidate) -> Built:
        return build(planned(function, {**untouched, **plan.groups}))

    search = _Search(candidates, built, compiles, capacity, reserve)
    found = search.run(budget, leanest(candidates), without(kinds))
    plan = describe(found, search.tried, search.limit, budget, target, kinds)
    plan = replace(plan, undercut_by=search.undercutting(found))
    equations = (op.eqn for layers in derivatives.values() for _, flat in layers.values() for op in flat.ops)
    if unknown := sorted({dtype for eqn in equations if (dtype := rates.unknown_dtype(eqn))}):
        plan = without_seconds(plan, unknown)
    return {**untouched, **found.candidate.groups}, plan


def _kinds(stack: Stack, found: Mapping[int | None, tuple[str, Flat]], rates: Rates) -> Iterator[Kind]:
    """The stack's layers, those apart that are differentiated in other inputs. A loop's are told of once, for all."""
    for prefix, derivative in dict(found.values()).items() if stack.depth else ():
        layers = [layer for layer, (other, _) in found.items() if other == prefix]
        numbers = range(stack.depth) if layers == [None] else sorted(n for n in layers if n is not None)
        yield kind_of(stack, tuple(numbers), prefix, derivative, rates)


@dataclass
class _Search:
    """Compiles candidates one by one; `tried` holds what came of each, in order."""

    candidates: list[Candidate]
    build: Callable[[Candidate], Built]
    compiles: int
    capacity: float = math.inf
    reserve: float = 0.0
    tried: list[Tried] = field(default_factory=list)
    limit: float = 0.0
    span: float = 0.0  # seconds between the leanest and the fastest, as estimated

    def run(self, budget: Budget, lean: Candidate, plain: Candidate) -> Tried:
        """The fastest within the budget."""
        self.span = lean.seconds - min(c.seconds for c in self.candidates)
        least = self.compile(lean)
        if budget.fraction is not None:
            most = self.compile(plain)
            self.limit = least.peak + budget.fraction * max(0, most.peak - least.peak)
        else:
            self.limit = float(budget.bytes or 0)
        allowed = f"{readable(self.limit)} is not enough"
        if self.limit > self.capacity:
            self.limit = self.capacity
            allowed = f"{readable(self.limit)}, the capacity of the device, is not enough"
        free = 0.0 if budget.bytes is None else min(self.reserve, RESERVED * self.limit)
        self.limit -= free
        while len(self.tried) < self.compiles:
            following = self.following()
            if following is None:
                break
            self.compile(following)
        if self.best() is None:  # better without the reserve than not at all
            self.limit += free
            free = 0.0
        if self.best() is None:
            lowest = min(self.tried, key=lambda t: t.peak)
            raise BudgetError(
                f"budget {budget.text}: {allowed}: the least peak found in "
                f"{len(self.tried)} compilations is {readable(lowest.peak)}"
            )
        self.race()
        best = self.best()
        assert best is not None
        self.limit += free
        return best

    def compile(self, one: Candidate) -> Tried:
        done = Tried(one, self.predicted(one) if self.tried else None, self.build(one))
        self.tried.append(done)
        return done

    def race(self) -> None:
        """Time those that fit, in turn (A B C A B C), after a first run of each that does not count. What runs out of
        memory while others' arrays are there is left out.
        """
        runs = {i: t.built.run for i, t in enumerate(self.tried) if t.fits(self.limit) and t.built.run}
        seconds: dict[int, list[float]] = {i: [] for i in runs}
        began = time.perf_counter()
        for number in range(RUNS + 1):
            for i, run in list(runs.items()):
                try:
                    taken = run()
                except jax.errors.JaxRuntimeError:
                    del runs[i]
                    continue
                if number:
                    seconds[i].append(taken)
            if number >= 2 and time.perf_counter() - began > LONG:
                break
        for i in runs:
            self.tried[i] = replace(self.tried[i], seconds=tuple(seconds[i]))

    def best(self) -> Tried | None:
        """Of those that fit the fastest: as measured where they were run, else as estimated."""
        fitting = [t for t in self.tried if t.fits(self.limit)]
        timed = [t for t in fitting if t.seconds]
        return min(timed or fitting, key=_fastest, default=None)

    def predicted(self, one: Candidate) -> float:
        """Peak: the estimate, mended by what the estimates of the nearest compiled plans were off by. What XLA keeps
        without rematerialization is its own choice, and says nothing of the others; blocks say nothing of plans that
        take each layer by itself, nor these of blocks, where both are known.
        """
        some = [t for t in self.tried if t.candidate.label != "none"] or self.tried
        like = [t for t in some if t.candidate.in_blocks == one.in_blocks] or some
        points = sorted({t.candidate.saved: t.peak - t.candidate.bytes for t in like}.items())
        at = bisect_left([size for size, _ in points], one.saved)
        if at == 0 or at == len(points):
            return one.bytes + points[min(at, len(points) - 1)][1]
        (low, below), (high, above) = points[at - 1], points[at]
        return one.bytes + below + (above - below) * (one.saved - low) / (high - low)

    def undercutting(self, found: Tried) -> dict[str, Any] | None:
        """The candidate that computes the least again of those with less of it and no more peak than what was found.

        Peaks of candidates that were not compiled are predicted.
        """
        peaks = [(t.candidate, float(t.peak), True) for t in self.tried if not t.built.refused]
        tried = [t.candidate for t in self.tried]
        peaks += [(c, self.predicted(c), False) for c in self.candidates if c not in tried]
        less = [one for one in peaks if one[0].flops < found.candidate.flops * (1 - 1e-3) and one[1] <= found.peak]
        if not less:
            return None
        one, peak, compiled = min(less, key=lambda c: c[0].flops)
        return {**estimates(one), "peak": round(peak), "compiled": compiled}

    def following(self) -> Candidate | None:
        """What to compile next, or None when nothing promises more."""
        tried = [t.candidate for t in self.tried]
        left = [c for c in self.candidates if c not in tried]
        best = self.best()
        over = sum(not t.fits(self.limit) for t in self.tried if t.candidate.label != "none")
        if best is None:  # the leanest that is left: peaks are not quite monotone
            plain = (c for c in left if c.label == "none" and WHOLE in c.groups)  # a whole function may gain nothing
            return next(plain, None) or min(left, key=self.predicted, default=None)
        limit = self.limit * (1 + MARGIN * (1 - over))
        named = [c for c in left if c.label not in OWN and self.predicted(c) <= limit * (1 + ODD)]
        rivals = self.rivals(named, best)
        if len(rivals) == self.compiles - len(self.tried):
            return rivals[0]
        enough = best.candidate.seconds - CLOSE * self.span
        better = [c for c in left if c.seconds < enough]
        fitting = [c for c in better if self.predicted(c) <= limit or c in named]
        if fitting:
            return min(fitting, key=lambda c: c.seconds)
        if rivals:
            return rivals[0]
        near = [c for c in better if self.predicted(c) <= limit * (1 + ODD)]
        return min(near, key=self.predicted, default=None)

    def rivals(self, named: Sequence[Candidate], best: Tried) -> list[Candidate]:
        """Named policies that compute little again, whatever the rates say of them: a race will tell."""
        if best.built.run is None:
            return []
        named = [one for one in named if one.label != "none"]
        left = RIVALS - sum(t.candidate.label not in (*OWN, "none") for t in self.tried)
        return sorted(named, key=lambda c: c.flops)[: max(0, min(left, self.compiles - len(self.tried)))]


def _fastest(one: Tried) -> tuple[float, ...]:
    """By the least of its runs, for what else goes on in the machine only adds to them; else by the estimate."""
    return (min(one.seconds, default=0.0), one.candidate.seconds, one.peak)
