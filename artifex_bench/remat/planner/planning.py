"""plan_for_budget: from a function and a budget to the choices for its layers and the memory plan."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax

from artifex_bench.remat.planner.budget import Budget, BudgetError
from artifex_bench.remat.planner.candidates import disable_remat, find_leanest, list_candidates
from artifex_bench.remat.planner.choices import NoRemat, SaveNamed
from artifex_bench.remat.planner.cost_model import Candidate
from artifex_bench.remat.planner.graph import Rates
from artifex_bench.remat.planner.inlined_program import InlinedProgram
from artifex_bench.remat.planner.layer_choice import Groups
from artifex_bench.remat.planner.layer_kinds import LayerKind, build_kind
from artifex_bench.remat.planner.layers import Stack, find_stacks
from artifex_bench.remat.planner.plan import BudgetPlan, drop_estimated_seconds, make_plan
from artifex_bench.remat.planner.rewrite import rewrite_function
from artifex_bench.remat.planner.search import MAX_COMPILATIONS, Search
from artifex_bench.remat.planner.trial import CompiledStep

LayerJvps = dict[int | None, tuple[str, InlinedProgram]]  # {number of the layer: (prefix of the names, inlined JVP)}


def plan_for_budget(
    function: Callable[..., Any],
    args: Sequence[Any],
    budget: Budget,
    rates: Rates,
    step: Callable[[Callable[..., Any]], Callable[..., Any]],
    build: Callable[[Callable[..., Any]], CompiledStep],
    target: str,
    max_compilations: int = MAX_COMPILATIONS,
    capacity: float = math.inf,
    reserve: float = 0.0,
) -> tuple[Mapping[str, Groups], BudgetPlan]:
    """Plan the rematerialization of a function to meet a budget.

    Args:
        function: A loss, which ``step(function)(*args)`` differentiates.
        args: Its arguments, as arrays or shapes.
        budget: The budget of the step's compiled peak.
        rates: Costs of the target.
        step: Makes the training step from the loss.
        build: Compiles the training step of a loss. It is called `max_compilations` times at most.
        target: Name of the target.
        max_compilations: Number of compilations at most.
        capacity: Memory of the target in bytes. No budget is above it.
        reserve: Bytes of a budget to leave free if possible.

    Returns:
        The choices of each stack, for `rewrite_function`, and the memory plan. The chosen candidate is the fastest
        compiled one that fits: as measured if the steps can be run, as estimated by the rates otherwise.

    Raises:
        BudgetError: No compiled candidate fits, or the step differentiates no layer.
    """
    stacks = find_stacks(function, *args)
    jvps = trace_jvps(function, args, stacks, step)
    kinds = [kind for stack in stacks for kind in list_kinds(stack, jvps.get(stack.name, {}), rates)]
    if not kinds:
        raise BudgetError("nothing to plan: the step differentiates no layer of the function")
    planned = {kind.stack.name for kind in kinds}
    untouched = {stack.name: ((stack.depth, NoRemat()),) for stack in stacks if stack.name not in planned}
    candidates = list_candidates(kinds)

    def build_candidate(candidate: Candidate) -> CompiledStep:
        return build(rewrite_function(function, {**untouched, **candidate.groups}))

    search = Search(candidates, build_candidate, max_compilations, capacity, reserve)
    chosen = search.find_fastest(budget, find_leanest(candidates), disable_remat(kinds))
    plan = make_plan(chosen, search.trials, search.limit, budget, target, kinds)
    plan = replace(plan, undercut_by=search.find_undercutting(chosen))
    if unknown := _find_unrated_dtypes(jvps, rates):
        plan = drop_estimated_seconds(plan, unknown)
    return {**untouched, **chosen.candidate.groups}, plan


def trace_jvps(
    function: Callable[..., Any],
    args: Sequence[Any],
    stacks: Sequence[Stack],
    step: Callable[[Callable[..., Any]], Callable[..., Any]],
) -> dict[str, LayerJvps]:
    """Trace the step with every layer recomputed, and return the inlined JVPs of each stack's layers.

    JAX traces a scan's JVP several times until it knows which carries are differentiated; the last one counts.
    """
    jvps: dict[str, LayerJvps] = {}

    def observe(stack: str, layer: int | None, prefix: str, jvp: InlinedProgram) -> None:
        jvps.setdefault(stack, {})[layer] = prefix, jvp

    nothing_saved = {stack.name: ((stack.depth, SaveNamed(frozenset())),) for stack in stacks}
    jax.make_jaxpr(step(rewrite_function(function, nothing_saved, observe)))(*args)
    return jvps


def list_kinds(stack: Stack, jvps: LayerJvps, rates: Rates) -> Iterator[LayerKind]:
    """Yield the kinds of layers of a stack: layers that are differentiated in different inputs are of different kinds.

    Args:
        stack: The stack.
        jvps: Inlined JVPs of its layers; one with the number None for a scan.
        rates: Costs of the target.
    """
    for prefix, jvp in dict(jvps.values()).items() if stack.depth else ():
        layers = [layer for layer, (other, _) in jvps.items() if other == prefix]
        numbers = range(stack.depth) if layers == [None] else sorted(n for n in layers if n is not None)
        yield build_kind(stack, tuple(numbers), prefix, jvp, rates)


def _find_unrated_dtypes(jvps: Mapping[str, LayerJvps], rates: Rates) -> list[str]:
    """Return the dtypes of matrix products whose rate is unknown."""
    programs = (jvp for layers in jvps.values() for _, jvp in layers.values())
    dtypes = (rates.unknown_dtype(equation.eqn) for program in programs for equation in program.equations)
    return sorted({dtype for dtype in dtypes if dtype})
