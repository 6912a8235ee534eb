"""What `remat_to_budget` is asked for, held against what can be planned: every refusal is one line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from artifex_bench.compat import is_traced, open_program
from artifex_bench.remat.planner.size import BudgetError
from artifex_bench.remat.planner.stacks import split

_ARRAYS = jax.Array | np.ndarray | np.generic | jax.ShapeDtypeStruct | int | float | complex


def kinds(function: Any, step: Any, keywords: Any) -> None:
    """Raise BudgetError for what is not of the kind that it must be."""
    for name, value, known, rule in (
        ("function", function, callable(function), "a function"),
        ("step", step, step is None or callable(step), "a function of the loss that gives the step"),
        ("keywords", keywords, keywords is None or isinstance(keywords, Mapping), "a mapping of arguments by name"),
    ):
        if not known:
            raise BudgetError(f"{name} {value!r}: must be {rule}")


def positions(name: str, numbers: Any, count: int, some: bool) -> tuple[int, ...]:
    """The arguments meant, none of them counted from the end. Raises BudgetError."""
    given: list[Any] = list(numbers) if isinstance(numbers, Sequence) else [numbers]
    known = all(_whole(i) and -count <= i < count for i in given)
    known = known and len({i % count for i in given}) == len(given)
    if not known or (some and not given):
        valid = f"from 0 to {count - 1}" if count else "and there is none"
        raise BudgetError(f"{name} {numbers!r}: must name arguments of the function, each once, {valid}")
    return tuple(int(i) % count for i in given)


def _whole(number: Any) -> bool:
    return isinstance(number, Integral) and not isinstance(number, bool)


def arrays(args: Sequence[Any]) -> None:
    """Raise BudgetError where an argument holds what is no array."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(tuple(args)):
        if not isinstance(leaf, _ARRAYS):
            raise BudgetError(f"{_named(path)} {leaf!r}: is no array: give it in keywords, or close over it")


def result(function: Callable[..., Any], args: Sequence[Any], keywords: Mapping[str, Any]) -> Any:
    """The shapes of what the function gives. Raises BudgetError where it is given, or closes over, what a
    transformation traces: that is no array yet.
    """
    given, fixed = split(keywords)

    def traced(args: Any, given: Any) -> Any:
        return function(*args, **fixed, **given)

    known: Sequence[Any] = jax.tree.leaves((args, given))
    if not any(map(is_traced, known)):
        program, shapes = jax.make_jaxpr(traced, return_shape=True)(tuple(args), given)
        _, known = open_program(program)
    if any(map(is_traced, known)):
        raise BudgetError("called within jit, grad or another transformation: plan before, with arrays or their shapes")
    return shapes


def differentiable(shapes: Any, args: Sequence[Any], argnums: Sequence[int]) -> None:
    """Raise BudgetError where a loss that gives those shapes is not one real number, or an argument that it is to be
    differentiated in has no derivative.
    """
    if not hasattr(shapes, "shape") or shapes.shape or not jnp.issubdtype(shapes.dtype, jnp.floating):
        shown = jax.tree.map(lambda leaf: f"{leaf.dtype}{list(leaf.shape)}", shapes)
        raise BudgetError(
            f"the function gives {shown}, and not one real number: give the step that differentiates it, "
            "such as step=lambda loss: jax.value_and_grad(loss, has_aux=True)"
        )
    for path, leaf in jax.tree_util.tree_leaves_with_path(tuple(args)):
        dtype = jax.dtypes.result_type(leaf)
        if path[0].idx in argnums and not jnp.issubdtype(dtype, jnp.inexact):
            raise BudgetError(
                f"{_named(path)}: {dtype} has no derivative: give the step that differentiates what else there is"
            )


def _named(path: Any) -> str:
    return f"argument {path[0].idx}{jax.tree_util.keystr(path[1:])}"
