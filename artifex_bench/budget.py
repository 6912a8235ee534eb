"""`remat_to_budget`: rematerialization of your own function, chosen so that its compiled peak meets a budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax

from artifex_bench.case import ATTACHED
from artifex_bench.measure.budget import Target
from artifex_bench.measure.budget import target as found
from artifex_bench.remat.budget.loop import meet
from artifex_bench.remat.budget.plan import BudgetPlan, Built
from artifex_bench.remat.budget.size import BudgetError
from artifex_bench.remat.budget.size import budget as parse
from artifex_bench.remat.budget.stacks import planned, split
from artifex_bench.targets import stored


def remat_to_budget(
    function: Callable[..., Any],
    *args: Any,
    budget: float | int | str,
    target: str | Target = ATTACHED,
    argnums: int | Sequence[int] = 0,
    step: Callable[[Callable[..., Any]], Callable[..., Any]] | None = None,
    donate_argnums: int | Sequence[int] = (),
    keywords: Mapping[str, Any] | None = None,
) -> tuple[Callable[..., Any], BudgetPlan]:
    """(`function` with the same values and gradients, rematerialized to meet a memory budget, the plan).

    `function(*args, **keywords)` is a loss, differentiated in `argnums`; `args` are arrays or `jax.ShapeDtypeStruct`.
    Its layers are the bodies of its scans and the calls under `jax.checkpoint` or `nnx.remat` (their policy is chosen
    anew); a function that has neither is planned as a whole. `keywords` hold for planning: the function given back
    takes its own. It is for arguments with which the function has the layers that it had then: BudgetError else.

    `budget` is of the compiled peak of `step(function)`, which takes the same arguments (default:
    `jax.value_and_grad`), these included: bytes (``"120MiB"``, or a number of 1024 or more), or a fraction of the way
    from the leanest plan to no rematerialization. It holds for a step compiled with the plan's `compiler_options`: on a
    CPU, XLA merges recomputation away without them. `target` is where it is compiled: the attached device, or one that
    is not there by its name (``"tpu:v5e"``, ``"gpu:h100"``; in a process with JAX_PLATFORMS=cpu), or a `Target` of your
    own.

    At most six programs are compiled. Of those within the budget the fastest is given: as measured, where `args` are
    arrays and the device is attached; else by the target's rates.

    Raises BudgetError (a CaseError) when nothing fits, with the least peak found, when the budget is none, or when the
    function gives more than a number and there is no `step`; CaseError for a target or an argument number that there
    is not.
    """
    asked = parse(budget)
    chosen = _positions("argnums", argnums, len(args), some=True)
    donated = _positions("donate_argnums", donate_argnums, len(args), some=False)
    donated = (donated,) if isinstance(donated, int) else donated
    _check_traceable(function, args, keywords or {}, step)
    where = target if isinstance(target, Target) else found(stored(target))
    make = step or (lambda f: jax.value_and_grad(f, chosen))
    arrays, fixed = split(keywords or {})

    def given(*every: Any) -> Any:
        return function(*every[:-1], **fixed, **every[-1])

    def build(one: Callable[..., Any]) -> Built:
        def run(*every: Any) -> Any:
            return make(lambda *positional: one(*positional, every[-1]))(*every[:-1])

        return where.build(run, (*args, arrays), donated)

    rates, room = where.roofline.rates(), where.capacity
    groups, plan = meet(given, (*args, arrays), asked, rates, build, where.name, chosen, capacity=room)
    return planned(function, groups), replace(plan, compiler_options=dict(where.options))


def _check_traceable(function: Callable[..., Any], args: Any, keywords: Mapping[str, Any], step: Any) -> None:
    """Raise BudgetError within a transformation, whose arrays are none, and for a loss that only a `step` knows."""
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((args, keywords))):
        raise BudgetError("called within jit, grad or another transformation: plan before, with arrays or their shapes")
    arrays, fixed = split(keywords)
    result = jax.eval_shape(lambda args, arrays: function(*args, **fixed, **arrays), args, arrays)
    if step is None and (not hasattr(result, "shape") or result.shape):
        shapes = jax.tree.map(lambda leaf: leaf.shape, result)
        raise BudgetError(
            f"the function gives arrays of shapes {shapes}, and not one number: give the step that differentiates it, "
            "such as step=lambda loss: jax.value_and_grad(loss, has_aux=True)"
        )


def _positions(name: str, numbers: Any, count: int, some: bool) -> int | tuple[int, ...]:
    """The arguments meant, none of them counted from the end. Raises BudgetError."""
    alone = isinstance(numbers, int)
    given: list[Any] = [numbers] if alone else list(numbers) if isinstance(numbers, Sequence) else [None]
    known = all(isinstance(i, int) and not isinstance(i, bool) and -count <= i < count for i in given)
    known = known and len({i % count for i in given}) == len(given)
    if not known or (some and not given):
        valid = f"from 0 to {count - 1}" if count else "and there is none"
        raise BudgetError(f"{name} {numbers!r}: must name arguments of the function, each once, {valid}")
    found = tuple(i % count for i in given)
    return found[0] if alone else found
