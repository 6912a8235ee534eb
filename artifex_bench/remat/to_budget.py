"""remat_to_budget: rematerialization of your own function, chosen so that its compiled peak meets a budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax

from artifex_bench.core.case import LOCAL
from artifex_bench.remat.measure.budget import StepCompiler, make_step_compiler
from artifex_bench.remat.planner import argument_checks as checks
from artifex_bench.remat.planner.argument_checks import split_keywords
from artifex_bench.remat.planner.budget import parse_budget
from artifex_bench.remat.planner.plan import BudgetPlan
from artifex_bench.remat.planner.planning import plan_for_budget
from artifex_bench.remat.planner.rewrite import rewrite_function
from artifex_bench.remat.planner.trial import CompiledStep
from artifex_bench.targets import parse_target


def remat_to_budget(
    function: Callable[..., Any],
    *args: Any,
    budget: float | int | str,
    target: str | StepCompiler = LOCAL,
    argnums: int | Sequence[int] = 0,
    step: Callable[[Callable[..., Any]], Callable[..., Any]] | None = None,
    donate_argnums: int | Sequence[int] = (),
    keywords: Mapping[str, Any] | None = None,
) -> tuple[Callable[..., Any], BudgetPlan]:
    """Choose what each layer of a loss saves, so that the compiled peak of its step meets a memory budget.

    The layers are the bodies of the function's scans and its calls under `jax.checkpoint` or `nnx.remat`, whose own
    policy is replaced. A function without layers is planned as a whole. At most six programs are compiled. The chosen
    plan is the fastest of those that fit: as measured if `args` are arrays and the target is local, as estimated by the
    target's rates otherwise.

    Args:
        function: A loss, ``function(*args, **keywords)``.
        *args: Its positional arguments, as arrays or `jax.ShapeDtypeStruct`.
        budget: Limit of the compiled peak of ``step(function)``, its arguments included: bytes (``"120MiB"``, or a
            number of 1024 or more), or a fraction from 0 (the leanest plan) to 1 (no rematerialization).
        target: ``"local"``, the name of an AOT target (``"tpu:v5e"``, ``"gpu:h100"``) in a process with
            JAX_PLATFORMS=cpu, or a `Target` of your own.
        argnums: Positions of the arguments to differentiate in, if there is no `step`.
        step: Makes your training step from the loss; it takes the loss's arguments. Default: `jax.value_and_grad`.
        donate_argnums: Positions of the arguments that the step donates.
        keywords: Keyword arguments to plan with; arrays among them count towards the peak. The returned function takes
            its own.

    Returns:
        The function with the same values and gradients under the plan, and the plan. The peak holds for a step compiled
        with `plan.compiler_options`; they are empty except on a CPU before jax 0.11.1, where XLA would merge the
        recomputation away. The function takes other arguments too, as long as it has the same number of layers with
        them, and raises BudgetError otherwise.

    Raises:
        BudgetError: No compiled plan fits, the budget is invalid, or the function cannot be differentiated as asked.
            It is a CaseError.
        CaseError: The target is unknown or cannot be compiled for.
    """
    limit = parse_budget(budget)
    checks.check_types(function, step, keywords)
    positions = checks.check_positions("argnums", argnums, len(args), required=True)
    donated = checks.check_positions("donate_argnums", donate_argnums, len(args), required=False)
    checks.check_arrays(args)
    shapes = checks.trace_result(function, args, keywords or {})
    if step is None:
        checks.check_differentiable(shapes, args, positions)
    where = target if isinstance(target, StepCompiler) else make_step_compiler(parse_target(str(target)))
    differentiated = positions if isinstance(argnums, Sequence) else positions[0]  # of one, the gradient is no tuple
    make_step = step or (lambda loss: jax.value_and_grad(loss, differentiated))
    arrays, fixed = split_keywords(keywords or {})

    # array keywords are traced as a last positional argument, so that they count towards the peak
    def call_function(*args_and_arrays: Any) -> Any:
        return function(*args_and_arrays[:-1], **fixed, **args_and_arrays[-1])

    def make_step_with_arrays(loss: Callable[..., Any]) -> Callable[..., Any]:
        def run_step(*args_and_arrays: Any) -> Any:
            return make_step(lambda *positional: loss(*positional, args_and_arrays[-1]))(*args_and_arrays[:-1])

        return run_step

    def compile_loss(loss: Callable[..., Any]) -> CompiledStep:
        return where.build(make_step_with_arrays(loss), (*args, arrays), donated)

    groups, plan = plan_for_budget(
        call_function,
        (*args, arrays),
        limit,
        where.roofline.make_rates(),
        make_step_with_arrays,
        compile_loss,
        where.name,
        capacity=where.capacity,
        reserve=where.reserve,
    )
    return rewrite_function(function, groups), replace(plan, compiler_options=dict(where.options))
