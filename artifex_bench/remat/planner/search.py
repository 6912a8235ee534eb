"""Search: candidates are compiled, their true peaks correct the estimates, until the fastest that fits is found."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax

from artifex_bench.core.record import OWN
from artifex_bench.remat.planner.budget import Budget, BudgetError, format_bytes
from artifex_bench.remat.planner.cost_model import Candidate
from artifex_bench.remat.planner.layers import WHOLE_FUNCTION
from artifex_bench.remat.planner.trial import CompiledStep, Trial, estimates_to_json

# Compilations of a search at most. A choice: it was enough for all budgets in docs/memory-plans.md.
MAX_COMPILATIONS = 6
# Gain that is too small for another compilation, as a share of the seconds between the leanest and the fastest plan.
# A choice: half of `candidates.UNSURE`.
MIN_GAIN = 0.01
# Share of the budget by which a predicted peak may exceed it at first; it shrinks with every miss. A choice, small
# against the errors of predicted peaks: in results/reference-budget (CPU, jax 0.12.0.1) predictions were -1.1 to +3.8 %
# off for plans, 0 to +1.4 % for policies and -15 % for segments-2.
MARGIN = 0.002
# Share of the budget by which a named strategy may seem over it and is compiled all the same; a plan of the solver only
# as a last resort. A choice: between the errors of policies and of blocks above.
TOLERANCE = 0.1
# Share of a budget in bytes that is left free at most, for what a process takes besides its program. The measured peak
# of larger programs was at most 4.4 % above the compiled one (docs/figures.md, "Compiled against measured peak").
MAX_RESERVE = 0.04
# Named policies that are compiled for their few FLOPs, whatever the estimates say, if steps can be timed. A choice: a
# third of the compilations.
RIVALS = 2
# Timed runs of each candidate that fits. A choice. For scale: the minimum of 30 steps varied by 0.7 to 1.0 % between 8
# idle processes and by 8 to 30 % between contended ones, on 2 cores with jax 0.10.2.
RUNS = 10
# Seconds after which two timed runs are enough. A choice.
MAX_RACE_SECONDS = 5.0


@dataclass
class Search:
    """Compiles candidates one by one.

    Attributes:
        candidates: The candidates.
        build: Compiles a candidate.
        max_compilations: Number of compilations at most.
        capacity: Memory of the target in bytes.
        reserve: Bytes of a budget to leave free if possible.
        trials: The trials so far, in order.
        limit: The budget in bytes, once it is known.
        span: Estimated seconds between the leanest and the fastest candidate.
    """

    candidates: list[Candidate]
    build: Callable[[Candidate], CompiledStep]
    max_compilations: int = MAX_COMPILATIONS
    capacity: float = float("inf")
    reserve: float = 0.0
    trials: list[Trial] = field(default_factory=list)
    limit: float = 0.0
    span: float = 0.0

    def find_fastest(self, budget: Budget, lean: Candidate, plain: Candidate) -> Trial:
        """Find the fastest candidate within the budget.

        Args:
            budget: The budget.
            lean: The leanest plan: the peak of fraction 0. It is compiled first.
            plain: No rematerialization: the peak of fraction 1. It is compiled if the budget is a fraction.

        Returns:
            The fastest trial that fits: as measured if steps can be run, as estimated otherwise.

        Raises:
            BudgetError: No compiled candidate fits. The message names the lowest peak.
        """
        self.span = lean.seconds - min(c.seconds for c in self.candidates)
        least = self.compile_candidate(lean)
        if budget.fraction is not None:
            most = self.compile_candidate(plain)
            self.limit = least.peak + budget.fraction * max(0, most.peak - least.peak)
        else:
            self.limit = float(budget.bytes or 0)
        allowed = f"{format_bytes(self.limit)} is too small"
        if self.limit > self.capacity:
            self.limit = self.capacity
            allowed = f"{format_bytes(self.limit)}, the capacity of the device, is too small"
        free = 0.0 if budget.bytes is None else min(self.reserve, MAX_RESERVE * self.limit)
        self.limit -= free
        while len(self.trials) < self.max_compilations:
            following = self.choose_next()
            if following is None:
                break
            self.compile_candidate(following)
        if self.find_best() is None:  # meeting the budget without the reserve is better than not at all
            self.limit += free
            free = 0.0
        if self.find_best() is None:
            lowest = min(self.trials, key=lambda t: t.peak)
            raise BudgetError(
                f"budget {budget.text}: {allowed}: the lowest of {len(self.trials)} compiled peaks is "
                f"{format_bytes(lowest.peak)}; raise the budget"
            )
        self.time_fitting()
        best = self.find_best()
        assert best is not None
        self.limit += free
        return best

    def compile_candidate(self, one: Candidate) -> Trial:
        """Compile a candidate and append the trial to `trials`."""
        trial = Trial(one, self.predict_peak(one) if self.trials else None, self.build(one))
        self.trials.append(trial)
        return trial

    def time_fitting(self) -> None:
        """Time the trials that fit, in turn (A B C A B C), after a first run of each that does not count.

        A step that runs out of memory while the arrays of others are alive is left out.
        """
        runs = {i: t.step.run for i, t in enumerate(self.trials) if t.fits(self.limit) and t.step.run}
        seconds: dict[int, list[float]] = {i: [] for i in runs}
        began = time.perf_counter()
        for number in range(RUNS + 1):
            for i, run in list(runs.items()):
                try:
                    elapsed = run()
                except jax.errors.JaxRuntimeError:
                    del runs[i]
                    continue
                if number:
                    seconds[i].append(elapsed)
            if number >= 2 and time.perf_counter() - began > MAX_RACE_SECONDS:
                break
        for i in runs:
            self.trials[i] = replace(self.trials[i], seconds=tuple(seconds[i]))

    def find_best(self) -> Trial | None:
        """Return the fastest trial that fits: as measured if any was run, as estimated otherwise."""
        fitting = [t for t in self.trials if t.fits(self.limit)]
        timed = [t for t in fitting if t.seconds]
        return min(timed or fitting, key=_rank_by_speed, default=None)

    def predict_peak(self, one: Candidate) -> float:
        """Predict a peak: the estimate, corrected by the errors at the compiled candidates with the nearest residuals.

        The peak without rematerialization is not used, because what XLA keeps then is its own choice. The errors of
        blocks are not used for candidates that take each layer by itself, nor the other way round, if both are known.
        """
        some = [t for t in self.trials if t.candidate.label != "none"] or self.trials
        like = [t for t in some if t.candidate.in_blocks == one.in_blocks] or some
        points = sorted({t.candidate.saved: t.peak - t.candidate.bytes for t in like}.items())
        at = bisect_left([size for size, _ in points], one.saved)
        if at == 0 or at == len(points):
            return one.bytes + points[min(at, len(points) - 1)][1]
        (low, below), (high, above) = points[at - 1], points[at]
        return one.bytes + below + (above - below) * (one.saved - low) / (high - low)

    def find_undercutting(self, chosen: Trial) -> dict[str, Any] | None:
        """Find a candidate that recomputes less than the chosen one and has no higher peak.

        Returns:
            The one that recomputes least, as JSON values with its ``peak`` and whether it was ``compiled`` (the peak is
            predicted otherwise); None if there is none.
        """
        peaks = [(t.candidate, float(t.peak), True) for t in self.trials if not t.step.refused]
        tried = [t.candidate for t in self.trials]
        peaks += [(c, self.predict_peak(c), False) for c in self.candidates if c not in tried]
        less = [one for one in peaks if one[0].flops < chosen.candidate.flops * (1 - 1e-3) and one[1] <= chosen.peak]
        if not less:
            return None
        one, peak, compiled = min(less, key=lambda c: c[0].flops)
        return {**estimates_to_json(one), "peak": round(peak), "compiled": compiled}

    def choose_next(self) -> Candidate | None:
        """Choose what to compile next; None if nothing promises enough."""
        tried = [t.candidate for t in self.trials]
        left = [c for c in self.candidates if c not in tried]
        best = self.find_best()
        misses = sum(not t.fits(self.limit) for t in self.trials if t.candidate.label != "none")
        if best is None:  # the leanest that is left, because peaks do not quite rise with the estimates
            # recomputing parts of a function without layers may gain nothing
            plain = (c for c in left if c.label == "none" and WHOLE_FUNCTION in c.groups)
            return next(plain, None) or min(left, key=self.predict_peak, default=None)
        limit = self.limit * (1 + MARGIN * (1 - misses))
        named = [c for c in left if c.label not in OWN and self.predict_peak(c) <= limit * (1 + TOLERANCE)]
        rivals = self.list_rivals(named, best)
        if len(rivals) == self.max_compilations - len(self.trials):
            return rivals[0]
        enough = best.candidate.seconds - MIN_GAIN * self.span
        better = [c for c in left if c.seconds < enough]
        fitting = [c for c in better if self.predict_peak(c) <= limit or c in named]
        if fitting:
            return min(fitting, key=lambda c: c.seconds)
        if rivals:
            return rivals[0]
        near = [c for c in better if self.predict_peak(c) <= limit * (1 + TOLERANCE)]
        return min(near, key=self.predict_peak, default=None)

    def list_rivals(self, named: Sequence[Candidate], best: Trial) -> list[Candidate]:
        """List the named strategies with the fewest FLOPs that are still to be compiled and timed.

        They are compiled whatever the estimates say, because the timed runs decide.
        """
        if best.step.run is None:
            return []
        named = [one for one in named if one.label != "none"]
        left = RIVALS - sum(t.candidate.label not in (*OWN, "none") for t in self.trials)
        return sorted(named, key=lambda c: c.flops)[: max(0, min(left, self.max_compilations - len(self.trials)))]


def _rank_by_speed(one: Trial) -> tuple[float, ...]:
    """Rank by the fastest run, because interference only makes runs slower; then by the estimate, then by the peak."""
    return (min(one.seconds, default=0.0), one.candidate.seconds, one.peak)
