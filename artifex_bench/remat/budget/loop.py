"""The closed loop: plans are compiled, true peaks read, estimates mended, until the fastest that fits is found."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax

from artifex_bench.remat.budget.flat import Flat
from artifex_bench.remat.budget.graph import Rates
from artifex_bench.remat.budget.plan import BudgetPlan, Tried, describe
from artifex_bench.remat.budget.pool import Candidate, kind_of, named_candidate, pool
from artifex_bench.remat.budget.size import Budget, BudgetError, readable
from artifex_bench.remat.budget.stacks import Fine, Plain, planned, stacks_of

COMPILES = 6
CLOSE = 0.01  # of the seconds between the leanest and the fastest plan: less is not worth another compilation
MARGIN = 0.002  # of the budget, more after every miss: peaks are not quite monotone in what is saved
ODD = 0.1  # a named policy may be compiled although it seems this much over the budget: its estimate is the roughest


def meet(
    function: Callable[..., Any],
    args: Sequence[Any],
    budget: Budget,
    rates: Rates,
    peak: Callable[[Callable[..., Any]], int],
    target: str,
    argnums: int | Sequence[int] = 0,
    compiles: int = COMPILES,
) -> tuple[Callable[..., Any], BudgetPlan]:
    """(the function under the fastest plan found whose compiled peak is within the budget, that plan).

    `function(*args)` is a loss that is differentiated in `argnums`; `args` are arrays, or shapes. `peak(function)`
    compiles what is to be run with it and gives the peak in bytes; it is called `compiles` times at most.

    Raises BudgetError when nothing that was compiled fits; it names the least found.
    """
    stacks = stacks_of(function, *args)
    derivatives: dict[str, tuple[str, Flat]] = {}

    def seen(name: str, derivative: Flat) -> None:
        stack, _, prefix = name.partition("/")
        derivatives[stack] = (prefix, derivative)  # of those of a loop the last: the fixpoint

    nothing = {stack.name: ((stack.depth, Fine(frozenset())),) for stack in stacks}
    jax.make_jaxpr(_differentiated(planned(function, nothing, seen), argnums))(*args)
    kinds = [kind_of(stack, *derivatives[stack.name], rates) for stack in stacks if stack.name in derivatives]
    untouched = {stack.name: ((stack.depth, Plain()),) for stack in stacks if stack.name not in derivatives}
    if not kinds:
        raise BudgetError("nothing to plan: no layer of the function is differentiated")
    search = _Search(pool(kinds), lambda plan: peak(planned(function, {**untouched, **plan.groups})), compiles)
    plain = named_candidate(kinds, Plain())
    found = search.run(budget, plain)
    groups = {**untouched, **found.candidate.groups}
    return planned(function, groups), describe(found, search.tried, search.limit, budget, target, kinds)


def _differentiated(function: Callable[..., Any], argnums: int | Sequence[int]) -> Callable[..., Any]:
    """The function, its derivative traced on the way: results of any form will do."""
    chosen = [argnums] if isinstance(argnums, int) else list(argnums)

    def run(*args: Any) -> Any:
        def of_chosen(*values: Any) -> Any:
            given = dict(zip(chosen, values, strict=True))
            return function(*(given.get(i, arg) for i, arg in enumerate(args)))

        return jax.vjp(of_chosen, *(args[i] for i in chosen))[0]

    return run


@dataclass
class _Search:
    """Compiles candidates one by one; `tried` holds what came of each, in order."""

    candidates: list[Candidate]
    peak: Callable[[Candidate], int]
    compiles: int
    tried: list[Tried] = field(default_factory=list)
    limit: float = 0.0

    def run(self, budget: Budget, plain: Candidate) -> Tried:
        """The fastest within the budget."""
        least = self.compile(self.candidates[0])
        if budget.fraction is not None:
            most = self.compile(plain)
            self.limit = least.peak + budget.fraction * max(0, most.peak - least.peak)
        else:
            self.limit = float(budget.bytes or 0)
        while len(self.tried) < self.compiles:
            following = self.following()
            if following is None:
                break
            self.compile(following)
        best = self.best()
        if best is None:
            lean = min(self.tried, key=lambda t: t.peak)
            raise BudgetError(
                f"budget {budget.text}: {readable(self.limit)} is not enough: the least peak found in "
                f"{len(self.tried)} compilations is {readable(lean.peak)}"
            )
        return best

    def compile(self, one: Candidate) -> Tried:
        done = Tried(one, self.predicted(one) if self.tried else None, self.peak(one))
        self.tried.append(done)
        return done

    def best(self) -> Tried | None:
        fitting = [t for t in self.tried if t.peak <= self.limit]
        return min(fitting, key=lambda t: (t.candidate.seconds, t.peak), default=None)

    def predicted(self, one: Candidate) -> float:
        """Peak: the estimate, mended by what the estimates of the nearest compiled plans were off by."""
        points = sorted({t.candidate.bytes: t.peak - t.candidate.bytes for t in self.tried}.items())
        at = bisect_left([size for size, _ in points], one.bytes)
        if at == 0 or at == len(points):
            return one.bytes + points[min(at, len(points) - 1)][1]
        (low, below), (high, above) = points[at - 1], points[at]
        return one.bytes + below + (above - below) * (one.bytes - low) / (high - low)

    def following(self) -> Candidate | None:
        """What to compile next, or None when nothing promises more."""
        tried = [t.candidate for t in self.tried]
        left = [c for c in self.candidates if c not in tried]
        best, over = self.best(), sum(t.peak > self.limit for t in self.tried)
        if best is None:  # the leanest that is left: peaks are not quite monotone
            return min(left, key=self.predicted, default=None)
        span = self.candidates[0].seconds - min(c.seconds for c in self.candidates)
        better = [c for c in left if c.seconds < best.candidate.seconds - CLOSE * span]
        limit = self.limit * (1 - MARGIN * over)
        fitting = [c for c in better if self.predicted(c) <= limit]
        if fitting:
            return min(fitting, key=lambda c: c.seconds)
        odd = [c for c in better if c.label not in ("plan", "mixture") and self.predicted(c) <= limit * (1 + ODD)]
        return min(odd, key=self.predicted, default=None)
