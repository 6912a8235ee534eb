"""Evaluate jaxprs in numpy, one operation at a time.

This checks the result of autodiff before any compiler. About 150 programs take seconds instead of minutes. Nothing is
fused or reordered, so recomputed values are equal bit for bit. JAX runs the operations that the tables do not have.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from artifex_bench.compat import Literal, checkpoint_call, checkpoint_name, open_program, scan_inputs

_ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "add": operator.add,
    "add_any": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": np.divide,
    "max": np.maximum,
    "min": np.minimum,
    "neg": np.negative,
    "sign": np.sign,
    "abs": np.abs,
    "square": np.square,
    "gt": np.greater,
    "ge": np.greater_equal,
    "lt": np.less,
    "le": np.less_equal,
    "eq": np.equal,
    "ne": np.not_equal,
    "exp": np.exp,
    "log": np.log,
    "log1p": np.log1p,
    "tanh": np.tanh,
    "sqrt": np.sqrt,
    "is_finite": np.isfinite,
    "copy": np.asarray,
    "stop_gradient": np.asarray,
    "and": np.bitwise_and,
    "rsqrt": lambda x: (1 / np.sqrt(x)).astype(x.dtype),
    "select_n": lambda which, *cases: np.where(which, cases[1], cases[0]),
}


def _broadcast(x: Any, shape: Any, broadcast_dimensions: Any) -> Any:
    kept = dict(zip(broadcast_dimensions, np.shape(x), strict=True))
    return np.broadcast_to(np.reshape(x, [kept.get(d, 1) for d in range(len(shape))]), shape)


def _dot(a: Any, b: Any, dimension_numbers: Any) -> Any:
    (contracting, other), (batch, other_batch) = dimension_numbers
    names_a = list(range(a.ndim))
    names_b = list(range(a.ndim, a.ndim + b.ndim))
    for mine, theirs in ((contracting, other), (batch, other_batch)):
        for i, j in zip(mine, theirs, strict=True):
            names_b[j] = names_a[i]
    out = [names_a[i] for i in batch]
    out += [n for i, n in enumerate(names_a) if i not in (*contracting, *batch)]
    out += [n for j, n in enumerate(names_b) if j not in (*other, *other_batch)]
    wide = np.float32 if a.dtype.itemsize < 4 else a.dtype
    return np.einsum(a.astype(wide), names_a, b.astype(wide), names_b, out).astype(a.dtype)


_MOVES: dict[str, Callable[..., Any]] = {
    "broadcast_in_dim": lambda x, p: _broadcast(x, p["shape"], p["broadcast_dimensions"]),
    "reshape": lambda x, p: np.reshape(x, p["new_sizes"]),
    "transpose": lambda x, p: np.transpose(x, p["permutation"]),
    "squeeze": lambda x, p: np.squeeze(x, p["dimensions"]),
    "convert_element_type": lambda x, p: np.asarray(x).astype(p["new_dtype"]),
    "reduce_precision": lambda x, p: x,  # to the precision that its type has
    "integer_pow": lambda x, p: (x ** p["y"]).astype(x.dtype),
    "reduce_sum": lambda x, p: np.sum(x, p["axes"], dtype=np.asarray(x).dtype),
    "reduce_max": lambda x, p: np.max(x, p["axes"]),
    "slice": lambda x, p: x[tuple(map(slice, p["start_indices"], p["limit_indices"], p["strides"] or [1] * x.ndim))],
}


def evaluate(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return function(*arguments), evaluated from its jaxpr."""
    closed, shape = jax.make_jaxpr(function, return_shape=True)(*arguments)
    values = _evaluate(*open_program(closed), [np.asarray(leaf) for leaf in jax.tree.leaves(arguments)])
    return jax.tree.unflatten(jax.tree.structure(shape), values)


def _evaluate(jaxpr: Any, consts: Any, arguments: Any) -> list[Any]:
    known: dict[Any, Any] = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *arguments), strict=True))

    def read(atom: Any) -> Any:
        return np.asarray(atom.val, atom.aval.dtype) if isinstance(atom, Literal) else known[atom]

    for eqn in jaxpr.eqns:
        values = [read(atom) for atom in eqn.invars]
        results = _apply(eqn, eqn.primitive.name, values)
        for var, result in zip(eqn.outvars, results, strict=True):
            assert np.shape(result) == var.aval.shape and result.dtype == var.aval.dtype, eqn
        known.update(zip(eqn.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _apply(eqn: Any, name: str, values: list[Any]) -> list[Any]:
    if name in _ELEMENTWISE:
        return [np.asarray(_ELEMENTWISE[name](*values))]
    if name in _MOVES:
        return [np.asarray(_MOVES[name](*values, eqn.params))]
    if name == "dot_general":
        return [_dot(*values, eqn.params["dimension_numbers"])]
    if name == "scan":
        return _scan(eqn.params, values)
    if checkpoint_name(eqn) is not None:
        return values
    if (call := checkpoint_call(eqn)) is not None:
        return _evaluate(*open_program(call.program), values)
    if (inner := eqn.params.get("jaxpr", eqn.params.get("call_jaxpr"))) is not None:  # jit, custom rules
        return _evaluate(*open_program(inner), values)
    results = eqn.primitive.bind(*values, **eqn.params)
    return [np.asarray(result) for result in (results if eqn.primitive.multiple_results else [results])]


def _scan(params: dict[str, Any], values: list[Any]) -> list[Any]:
    constants, carries = scan_inputs(params)
    consts, carry, xs = values[:constants], values[constants : constants + carries], values[constants + carries :]
    body, steps = params["jaxpr"], range(params["length"])
    outputs: dict[int, list[Any]] = {}
    for i in reversed(steps) if params["reverse"] else steps:
        results = _evaluate(*open_program(body), [*consts, *carry, *(x[i] for x in xs)])
        carry, outputs[i] = results[:carries], results[carries:]
    return [*carry, *(np.stack(ys) for ys in zip(*(outputs[i] for i in steps), strict=True))]
