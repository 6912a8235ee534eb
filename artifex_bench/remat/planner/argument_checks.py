"""Checks of the arguments of `remat_to_budget`: every rejection is a BudgetError of one line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from artifex_bench.compat import is_traced, open_program
from artifex_bench.remat.planner.budget import BudgetError

_ARRAYS = jax.Array | np.ndarray | np.generic | jax.ShapeDtypeStruct | int | float | complex


def check_types(function: Any, step: Any, keywords: Any) -> None:
    """Check that the function and the step are callable, and that the keywords are a mapping.

    Raises:
        BudgetError: One of them has another type.
    """
    for name, value, valid, rule in (
        ("function", function, callable(function), "a function"),
        ("step", step, step is None or callable(step), "a function that takes the loss and returns the step"),
        ("keywords", keywords, keywords is None or isinstance(keywords, Mapping), "a mapping of arguments by name"),
    ):
        if not valid:
            raise BudgetError(f"{name} {value!r}: must be {rule}")


def check_positions(name: str, numbers: Any, count: int, required: bool) -> tuple[int, ...]:
    """Return argument positions without negative numbers.

    Args:
        name: The option, for the error: ``argnums`` or ``donate_argnums``.
        numbers: One position or a sequence of them; negative ones count from the end.
        count: Number of positional arguments.
        required: Whether at least one position is needed.

    Raises:
        BudgetError: A position is no whole number, out of range or repeated, or none is given although one is required.
    """
    given: list[Any] = list(numbers) if isinstance(numbers, Sequence) else [numbers]
    valid = all(_is_whole(i) and -count <= i < count for i in given)
    valid = valid and len({i % count for i in given}) == len(given)
    if not valid or (required and not given):
        rule = f"from 0 to {count - 1}" if count else "but the function has none"
        raise BudgetError(f"{name} {numbers!r}: must name positional arguments of the function, each once, {rule}")
    return tuple(int(i) % count for i in given)


def _is_whole(number: Any) -> bool:
    return isinstance(number, Integral) and not isinstance(number, bool)


def check_arrays(args: Sequence[Any]) -> None:
    """Check that all leaves of the positional arguments are arrays, shapes or numbers.

    Raises:
        BudgetError: A leaf is something else.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(tuple(args)):
        if not isinstance(leaf, _ARRAYS):
            raise BudgetError(
                f"{_name_argument(path)} {leaf!r}: must be an array; pass it in keywords, or close over it"
            )


def split_keywords(keywords: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split keyword arguments into those that hold arrays alone, which are traced, and the others."""
    traced = jax.Array | np.ndarray | jax.ShapeDtypeStruct
    arrays = {k: v for k, v in keywords.items() if all(isinstance(leaf, traced) for leaf in jax.tree.leaves(v))}
    return arrays, {k: v for k, v in keywords.items() if k not in arrays}


def trace_result(function: Callable[..., Any], args: Sequence[Any], keywords: Mapping[str, Any]) -> Any:
    """Trace the function and return the shapes and dtypes of its result.

    Raises:
        BudgetError: The function takes, or closes over, a tracer of a transformation that is under way.
    """
    arrays, fixed = split_keywords(keywords)

    def call(args: Any, arrays: Any) -> Any:
        return function(*args, **fixed, **arrays)

    inputs: Sequence[Any] = jax.tree.leaves((args, arrays))
    if not any(map(is_traced, inputs)):
        program, shapes = jax.make_jaxpr(call, return_shape=True)(tuple(args), arrays)
        _, inputs = open_program(program)
    if any(map(is_traced, inputs)):
        raise BudgetError(
            "remat_to_budget was called inside jit, grad or another transformation: "
            "call it outside, with arrays or their shapes"
        )
    return shapes


def check_differentiable(shapes: Any, args: Sequence[Any], argnums: Sequence[int]) -> None:
    """Check that a loss can be differentiated by `jax.value_and_grad` without a step of the user's own.

    Args:
        shapes: Shapes and dtypes of the loss's result.
        args: The loss's positional arguments.
        argnums: Positions of the arguments to differentiate in.

    Raises:
        BudgetError: The result is not one real number, or an argument has an integer or boolean dtype.
    """
    if not hasattr(shapes, "shape") or shapes.shape or not jnp.issubdtype(shapes.dtype, jnp.floating):
        shown = jax.tree.map(lambda leaf: f"{leaf.dtype}{list(leaf.shape)}", shapes)
        raise BudgetError(
            f"the function returns {shown}, not one real number: pass a step that differentiates it, "
            "such as step=lambda loss: jax.value_and_grad(loss, has_aux=True)"
        )
    for path, leaf in jax.tree_util.tree_leaves_with_path(tuple(args)):
        dtype = jax.dtypes.result_type(leaf)
        if path[0].idx in argnums and not jnp.issubdtype(dtype, jnp.inexact):
            raise BudgetError(
                f"{_name_argument(path)}: {dtype} has no derivative; pass a step that differentiates the other leaves"
            )


def _name_argument(path: Any) -> str:
    return f"argument {path[0].idx}{jax.tree_util.keystr(path[1:])}"
