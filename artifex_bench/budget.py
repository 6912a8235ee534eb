"""`remat_to_budget`: rematerialization of your own function, chosen so that its compiled peak meets a budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax

from artifex_bench.case import ATTACHED
from artifex_bench.measure.budget import Target
from artifex_bench.measure.budget import target as found
from artifex_bench.remat.budget.loop import meet
from artifex_bench.remat.budget.plan import BudgetPlan
from artifex_bench.remat.budget.size import BudgetError
from artifex_bench.remat.budget.size import budget as parse
from artifex_bench.remat.budget.stacks import planned
from artifex_bench.targets import stored


def remat_to_budget(
    function: Callable[..., Any],
    *args: Any,
    budget: float | int | str,
    target: str | Target = ATTACHED,
    argnums: int | Sequence[int] = 0,
    step: Callable[[Callable[..., Any]], Callable[..., Any]] | None = None,
    donate_argnums: tuple[int, ...] = (),
    keywords: Mapping[str, Any] | None = None,
) -> tuple[Callable[..., Any], BudgetPlan]:
    """(`function` with the same values and gradients, rematerialized to meet a memory budget, the plan).

    `function(*args, **keywords)` is a loss, differentiated in `argnums`; `args` are arrays or `jax.ShapeDtypeStruct`.
    Its layers are the bodies of its scans and the calls under `jax.checkpoint` or `nnx.remat` (their policy is chosen
    anew); a function that has neither is planned as a whole. `keywords` hold for planning: the function given back
    takes its own.

    `budget` is of the compiled peak of `step(function)` at `args` (default: `jax.value_and_grad`), arguments
    included: bytes (``"120MiB"``, or a number above 1), or a fraction of the way from the leanest plan to no
    rematerialization. `target` is where it is compiled: the attached device, or one that is not there by its name
    (``"tpu:v5e"``, ``"gpu:h100"``; in a process with JAX_PLATFORMS=cpu), or a `Target` of your own.

    At most six programs are compiled. Of those within the budget the fastest is given: as measured, where `args` are
    arrays and the device is attached; else by the target's rates.

    Raises BudgetError (a CaseError) when nothing fits, with the least peak found, or when the budget is none, and
    CaseError for a target or an argument number that there is not.
    """
    asked = parse(budget)
    chosen = _positions(argnums, len(args))
    where = target if isinstance(target, Target) else found(stored(target))
    make = step or (lambda f: jax.value_and_grad(f, chosen))
    given = partial(function, **(keywords or {}))
    groups, plan = meet(
        given,
        args,
        asked,
        where.roofline.rates(),
        lambda one: where.build(make(one), args, donate_argnums),
        where.name,
        chosen,
    )
    return planned(function, groups), plan


def _positions(argnums: int | Sequence[int], count: int) -> int | tuple[int, ...]:
    """The arguments meant, none of them counted from the end. Raises BudgetError."""
    given = [argnums] if isinstance(argnums, int) else list(argnums)
    if not given or not all(isinstance(i, int) and not isinstance(i, bool) and -count <= i < count for i in given):
        raise BudgetError(f"argnums {argnums!r}: must name arguments of the function, from 0 to {count - 1}")
    found = tuple(i % count for i in given)
    return found[0] if isinstance(argnums, int) else found
