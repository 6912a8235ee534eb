"""`remat_to_budget`: rematerialization of your own function, chosen so that its compiled peak meets a budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax

from artifex_bench.measure.budget import Target, attached_target
from artifex_bench.remat.budget.loop import meet
from artifex_bench.remat.budget.plan import BudgetPlan
from artifex_bench.remat.budget.size import budget as parse


def remat_to_budget(
    function: Callable[..., Any],
    *args: Any,
    budget: float | int | str,
    target: Target | None = None,
    argnums: int | Sequence[int] = 0,
    step: Callable[[Callable[..., Any]], Callable[..., Any]] | None = None,
    donate_argnums: tuple[int, ...] = (),
) -> tuple[Callable[..., Any], BudgetPlan]:
    """(`function` with the same values and gradients, rematerialized to meet a memory budget, the plan).

    `function(*args)` is a loss, differentiated in `argnums`; `args` are arrays or `jax.ShapeDtypeStruct`. Its layers
    are the bodies of its scans and the calls under `jax.checkpoint` or `nnx.remat` (their policy is chosen anew); a
    function that has neither is planned as a whole.

    `budget` is of the compiled peak of `step(function)` at `args` (default: `jax.value_and_grad`), arguments
    included: bytes (``"120MiB"``, or a number above 1), or a fraction of the way from the leanest plan to no
    rematerialization. `target` is where it is compiled (default: the attached device).

    At most six programs are compiled; of those within the budget the fastest by the target's rates is given.
    Raises BudgetError (a CaseError) when nothing fits, with the least peak found, or when the budget is none.
    """
    target = target or attached_target()
    make = step or (lambda f: jax.value_and_grad(f, argnums))
    asked = parse(budget)
    return meet(
        function,
        args,
        asked,
        target.roofline.rates(),
        lambda planned: target.peak(make(planned), args, donate_argnums),
        target.name,
        argnums,
    )
