"""`remat_to_budget`: rematerialization of your own function, chosen so that its compiled peak meets a budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax

from artifex_bench.core.case import LOCAL
from artifex_bench.remat.measure.budget import Target
from artifex_bench.remat.measure.budget import target as found
from artifex_bench.remat.planner import checks
from artifex_bench.remat.planner.loop import meet
from artifex_bench.remat.planner.plan import BudgetPlan, Built
from artifex_bench.remat.planner.size import budget as parse
from artifex_bench.remat.planner.stacks import planned, split
from artifex_bench.targets import parse_target


def remat_to_budget(
    function: Callable[..., Any],
    *args: Any,
    budget: float | int | str,
    target: str | Target = LOCAL,
    argnums: int | Sequence[int] = 0,
    step: Callable[[Callable[..., Any]], Callable[..., Any]] | None = None,
    donate_argnums: int | Sequence[int] = (),
    keywords: Mapping[str, Any] | None = None,
) -> tuple[Callable[..., Any], BudgetPlan]:
    """(`function` with the same values and gradients, rematerialized to meet a memory budget, the plan).

    `function(*args, **keywords)` is a loss, differentiated in `argnums`, or as your own `step` does it; `args` are
    arrays or `jax.ShapeDtypeStruct`. Its layers are the bodies of its scans and the calls under `jax.checkpoint` or
    `nnx.remat` (their policy is chosen anew); a function that has neither is planned as a whole. `keywords` hold for
    planning: the function given back takes its own. It is for arguments with which the function has the layers that it
    had then: BudgetError else.

    `budget` is of the compiled peak of `step(function)`, which takes the same arguments (default:
    `jax.value_and_grad`), these included: bytes (``"120MiB"``, or a number of 1024 or more), or a fraction of the way
    from the leanest plan to no rematerialization. It holds for a step compiled with the plan's `compiler_options`: on a
    CPU before jax 0.11.1, XLA merges recomputation away without them; elsewhere there are none. `target` is where it
    is compiled: the attached device, or one that is not there by its name (``"tpu:v5e"``, ``"gpu:h100"``; in a process
    with JAX_PLATFORMS=cpu), or a `Target` of your own.

    At most six programs are compiled. Of those within the budget the fastest is given: as measured, where `args` are
    arrays and the device is attached; else by the target's rates.

    Raises BudgetError (a CaseError) when nothing fits, with the least peak found, when the budget is none, or for what
    cannot be differentiated as asked; CaseError for a target or an argument number that there is not.
    """
    asked = parse(budget)
    checks.kinds(function, step, keywords)
    chosen = checks.positions("argnums", argnums, len(args), some=True)
    donated = checks.positions("donate_argnums", donate_argnums, len(args), some=False)
    checks.arrays(args)
    shapes = checks.result(function, args, keywords or {})
    if step is None:
        checks.differentiable(shapes, args, chosen)
    where = target if isinstance(target, Target) else found(parse_target(str(target)))
    alone = chosen if isinstance(argnums, Sequence) else chosen[0]  # then the gradients are no tuple
    make = step or (lambda f: jax.value_and_grad(f, alone))
    arrays, fixed = split(keywords or {})

    def given(*every: Any) -> Any:
        return function(*every[:-1], **fixed, **every[-1])

    def stepped(one: Callable[..., Any]) -> Callable[..., Any]:
        def run(*every: Any) -> Any:
            return make(lambda *positional: one(*positional, every[-1]))(*every[:-1])

        return run

    def build(one: Callable[..., Any]) -> Built:
        return where.build(stepped(one), (*args, arrays), donated)

    groups, plan = meet(
        given,
        (*args, arrays),
        asked,
        where.roofline.rates(),
        stepped,
        build,
        where.name,
        capacity=where.capacity,
        reserve=where.reserve,
    )
    return planned(function, groups), replace(plan, compiler_options=dict(where.options))
