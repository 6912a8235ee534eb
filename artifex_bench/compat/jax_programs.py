"""JAX: traced programs (jaxprs) and their equations.

Tested on jax 0.10.2 (Python 3.11) and jax 0.12.0.1 (Python 3.13).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import jax
from jax.extend import core, source_info_util

# `jax.extend.core.Literal`: an operand that carries its value.
Literal = core.Literal
# What `jax.make_jaxpr` returns: a `ClosedJaxpr` before jax 0.11.0, a `Jaxpr` that holds its constants from then on.
TracedProgram = Any
# The argument of `jax.checkpoint`: for all inputs, or from jax 0.12 on for each input.
PreventCse = bool | tuple[bool, ...]


def open_program(traced: TracedProgram) -> tuple[Any, Sequence[Any]]:
    """Return the program and the constants of a traced program, or of a program inside an equation.

    Before jax 0.11.0 a `ClosedJaxpr` wraps the program. Later versions keep `.jaxpr` as an alias that is marked for
    removal. Fallback without it: the program itself.
    """
    return getattr(traced, "jaxpr", traced), getattr(traced, "consts", ())


def live_program(traced: TracedProgram) -> Any:
    """Return the program without dead code (`partial_eval.dce_jaxpr`)."""
    from jax.interpreters import partial_eval

    program, _ = open_program(traced)
    live, _ = partial_eval.dce_jaxpr(program, [True] * len(program.outvars))
    return live


def scan_inputs(params: Mapping[str, Any]) -> tuple[int, int]:
    """Return how many inputs of a scan equation are constants, and how many are carries.

    `num_consts` and `num_carry` before jax 0.11.0; the tree `ft_in` from then on. Also tested on jax 0.11.0.

    Args:
        params: The parameters of the equation.
    """
    if "num_carry" in params:
        return params["num_consts"], params["num_carry"]
    consts, carry, _ = params["ft_in"].unpack()
    return len(consts), len(carry)


@dataclass(frozen=True)
class CheckpointCall:
    """A call under `jax.checkpoint`.

    Attributes:
        program: The program inside.
        prevent_cse: Whether its CSE is prevented, per input or for all inputs.
    """

    program: TracedProgram
    prevent_cse: PreventCse


def checkpoint_call(eqn: Any) -> CheckpointCall | None:
    """Return the checkpoint call that an equation is, or None.

    Primitives `remat2` and `checkpoint`, and `RematTraced` under JAX_REMAT3 (jax 0.12.0.1). If a version renames them
    again, no call is recognized, and `tests/test_compat.py` fails.
    """
    if eqn.primitive.name in ("remat2", "checkpoint"):
        return CheckpointCall(eqn.params["jaxpr"], eqn.params["prevent_cse"])
    if _high_name(eqn) == "RematTraced":
        params = _parameters(eqn)
        return CheckpointCall(params["jaxpr"], params.get("prevent_cse", True))
    return None


def checkpoint_name(eqn: Any) -> str | None:
    """Return the name that an equation attaches to a value, or None.

    Primitive `name`, and `CheckpointName` and `CheckpointNameFwd` under JAX_REMAT3 (jax 0.12.0.1).
    """
    attaches = eqn.primitive.name == "name" or _high_name(eqn) in ("CheckpointName", "CheckpointNameFwd")
    return _parameters(eqn)["name"] if attaches else None


def operation_name(eqn: Any) -> str:
    """Return the name of an equation's primitive.

    Calls under `jax.checkpoint` are ``checkpoint`` and attached names are ``name``, whatever the version calls them.
    """
    if checkpoint_call(eqn) is not None:
        return "checkpoint"
    if checkpoint_name(eqn) is not None:
        return "name"
    return _high_name(eqn) or eqn.primitive.name


def _parameters(eqn: Any) -> Mapping[str, Any]:
    """Return the parameters of an equation, whether its primitive is of the older kind or a `HiPrim` (jax 0.12.0.1)."""
    return eqn.params["_prim"].params if _high_name(eqn) else eqn.params


def _high_name(eqn: Any) -> str:
    """Return the class name of the `HiPrim` that an equation calls, or an empty string."""
    return type(eqn.params["_prim"]).__name__ if eqn.primitive.name == "call_hi_primitive" else ""


def inner_programs(eqn: Any) -> Iterator[Any]:
    """Yield the programs inside an equation: of jit, scan, checkpoint, custom derivatives, each branch of a cond."""
    for value in _parameters(eqn).values():
        for item in value if isinstance(value, (tuple, list)) else (value,):
            inner, _ = open_program(item)
            if hasattr(inner, "eqns"):
                yield inner


@contextmanager
def as_traced(eqn: Any) -> Iterator[None]:
    """Give everything that is traced in the context the scopes, source line and settings of an equation."""
    names = source_info_util.current_name_stack() + eqn.source_info.name_stack
    with source_info_util.user_context(eqn.source_info.traceback, name_stack=names), eqn.ctx.manager:
        yield


def bind_again(eqn: Any, inputs: Sequence[Any]) -> list[Any]:
    """Return the outputs of an equation at other inputs."""
    outputs = eqn.primitive.bind(*inputs, **eqn.primitive.get_bind_params(eqn.params))
    return list(outputs) if eqn.primitive.multiple_results else [outputs]


def source_line(eqn: Any) -> str:
    """Return the user's line behind an equation: ``/path/file.py:12 (function)``."""
    return source_info_util.summarize(eqn.source_info)


def source_frames(eqn: Any) -> tuple[tuple[str, int], ...]:
    """Return (file, line) of every frame behind an equation, the innermost first; empty without a traceback."""
    traceback = eqn.source_info.traceback
    return tuple((frame.file_name, frame.line_num) for frame in traceback.frames) if traceback else ()


def scope_path(eqn: Any) -> str:
    """Return the named scopes around an equation, joined by slashes."""
    return str(eqn.source_info.name_stack)


def called_program(eqn: Any) -> TracedProgram | None:
    """Return the program that an equation calls unchanged, as a jit does, or None.

    JAX itself inserts some of these calls; `eval_jaxpr` is one of jax 0.12. Custom derivatives are not among them: a
    traced derivative holds those that are not differentiated. Fallback for a call under another name: None, so that
    the equation stays as it is.
    """
    if eqn.primitive.name not in ("jit", "pjit", "closed_call", "core_call", "eval_jaxpr"):
        return None
    return eqn.params.get("jaxpr") or eqn.params["call_jaxpr"]


def policy_saves(policy: Callable[..., Any], eqn: Any) -> bool:
    """Return whether a policy of the older `jax.checkpoint` saves the outputs of an equation."""
    return bool(policy(eqn.primitive, *(var.aval for var in eqn.invars), **eqn.params))


def is_traced(value: Any) -> bool:
    """Return whether a value is a tracer (`jax.core.Tracer`) of a transformation that is being traced."""
    return isinstance(value, jax.core.Tracer)
