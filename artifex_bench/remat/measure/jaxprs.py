"""What a traced program holds: FLOPs, residual bytes, tags. Read from the jaxpr, before any compiler."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from artifex_bench.compat import (
    Literal,
    TracedProgram,
    checkpoint_name,
    inner_programs,
    live_program,
    open_program,
    operation_name,
)

# Moves, shapes and bookkeeping: no arithmetic.
_FREE = frozenset(
    [
        "broadcast_in_dim",
        "reshape",
        "transpose",
        "squeeze",
        "expand_dims",
        "slice",
        "dynamic_slice",
        "dynamic_update_slice",
        "concatenate",
        "pad",
        "rev",
        "gather",
        "iota",
        "convert_element_type",
        "bitcast_convert_type",
        "copy",
        "copy_p",
        "device_put",
        "stop_gradient",
        "optimization_barrier",
        "name",
        "PrimalLeftTangentRight",  # of JAX_REMAT3: its first operand, for the forward pass
        "sharding_constraint",
        "select_n",
        "split",
        "reduce_precision",
        "random_bits",
        "random_seed",
        "random_wrap",
        "random_unwrap",
        "random_split",
        "random_fold_in",
        "threefry2x32",
    ]
)
# the same bytes under another shape, or where they lie on a mesh
_VIEWS = frozenset(["reshape", "squeeze", "expand_dims", "copy", "name", "sharding_constraint"])
_LOOK_THROUGH = frozenset(["reduce_precision", *_VIEWS])


def flops(jaxpr: TracedProgram, loops_once: bool = False) -> float:
    """Floating-point operations of a program: 2 m n k for matrix products, 1 an element for other arithmetic.

    A scan's body counts as often as it runs (once with `loops_once`, as XLA's own cost analysis has it); a `while`
    of unknown length counts once; of a conditional's branches the dearest counts. Dead code is left out.
    """
    return _flops(live_program(jaxpr), loops_once)


def _flops(jaxpr: Any, loops_once: bool) -> float:
    return sum(equation_flops(eqn, loops_once) for eqn in jaxpr.eqns)


def equation_flops(eqn: Any, loops_once: bool = False) -> float:
    """Of one equation, with what is inside it, counted as `flops` does."""
    inner = [_flops(sub, loops_once) for sub in inner_programs(eqn)]
    name = operation_name(eqn)
    if name == "cond":
        return max(inner, default=0.0)
    if inner and not name.startswith(("reduce", "scatter", "cum", "arg")):
        return sum(inner) * (eqn.params["length"] if name == "scan" and not loops_once else 1)
    return _operation_flops(eqn, name)


def _operation_flops(eqn: Any, name: str) -> float:
    if name in _FREE or not eqn.outvars:  # a print has none
        return 0.0
    out = math.prod(eqn.outvars[0].aval.shape) if hasattr(eqn.outvars[0].aval, "shape") else 0
    if name == "dot_general":
        (contracting, _), _ = eqn.params["dimension_numbers"]
        return 2.0 * out * math.prod(eqn.invars[0].aval.shape[d] for d in contracting)
    if name == "conv_general_dilated":
        return _convolution_flops(eqn)
    if name.startswith(("reduce", "arg", "cum")):
        return float(math.prod(eqn.invars[0].aval.shape))
    return float(out)


def _convolution_flops(eqn: Any) -> float:
    """2 for each product of an input element and a kernel element, as XLA's cost analysis counts them.

    Products with padding, and with the zeros between the elements of a dilated input, are left out: the input gradient
    of a convolution with stride 2 has three of these zeros for each element in two dimensions.
    """
    params, numbers = eqn.params, eqn.params["dimension_numbers"]
    input_shape, kernel_shape = (var.aval.shape for var in eqn.invars)
    output_shape = eqn.outvars[0].aval.shape
    pairs = 1
    for axis, window in enumerate(
        zip(params["window_strides"], params["padding"], params["lhs_dilation"], params["rhs_dilation"], strict=True), 2
    ):
        sizes = (input_shape[numbers.lhs_spec[axis]], kernel_shape[numbers.rhs_spec[axis]])
        pairs *= _pairs(*sizes, output_shape[numbers.out_spec[axis]], *window)
    features = math.prod(kernel_shape[axis] for axis in numbers.rhs_spec[:2])
    batch = input_shape[numbers.lhs_spec[0]] // params["batch_group_count"]
    return 2.0 * batch * features * pairs


def _pairs(
    inputs: int, kernel: int, outputs: int, stride: int, padding: tuple[int, int], dilation: int, kernel_dilation: int
) -> int:
    """How many (output, kernel) positions along one axis meet an element of the input.

    Output o and kernel position k meet place stride o + kernel_dilation k - padding of the dilated input. It holds an
    element if `dilation` divides it: for each k, outputs that are congruent to one number, within two bounds.
    """
    offsets = kernel_dilation * np.arange(kernel, dtype=np.int64) - padding[0]
    shared = math.gcd(stride, dilation)
    period = dilation // shared
    first = (-offsets // shared) * pow(stride // shared, -1, period) % period
    low = np.maximum(0, -(offsets // stride))
    high = np.minimum(outputs - 1, ((inputs - 1) * dilation - offsets) // stride)
    count = (high - first) // period - (low - 1 - first) // period
    return int(np.where((offsets % shared == 0) & (high >= low), count, 0).sum())


@dataclass(frozen=True)
class Product:
    """A matrix product or convolution that runs `times` times: FLOPs of one, bytes of its operands and its result."""

    times: int
    flops: float
    bytes: int
    dtype: str


def products(jaxpr: TracedProgram) -> Iterator[Product]:
    """Every matrix product and convolution of a program, counted as `flops` counts."""
    return _products(live_program(jaxpr), 1)


def _products(jaxpr: Any, times: int) -> Iterator[Product]:
    for eqn in jaxpr.eqns:
        name = eqn.primitive.name
        if name in ("dot_general", "conv_general_dilated"):
            moved = sum(_bytes(var.aval) for var in (*eqn.invars, *eqn.outvars))
            yield Product(times, _operation_flops(eqn, name), moved, str(eqn.invars[0].aval.dtype))
            continue
        inner = list(inner_programs(eqn))
        if name == "cond":
            inner = [max(inner, key=lambda branch: _flops(branch, loops_once=False))]
        for sub in inner:
            yield from _products(sub, times * (eqn.params["length"] if name == "scan" else 1))


def tags(jaxpr: TracedProgram) -> set[str]:
    """Every name that `checkpoint_name` attaches in the program."""

    def walk(inner: Any) -> Iterator[str]:
        for eqn in inner.eqns:
            if (name := checkpoint_name(eqn)) is not None:
                yield name
            for sub in inner_programs(eqn):
                yield from walk(sub)

    return set(walk(open_program(jaxpr)[0]))


@dataclass(frozen=True)
class Residual:
    """A value that the forward pass keeps: its type, bytes, and the tag that `checkpoint_name` gives it (or "").

    `equations` is the one that makes it, after the loops and calls it lies in, the outermost first.
    """

    aval: Any
    bytes: int
    equations: tuple[Any, ...]
    name: str


def residual_bytes(function: Callable[..., Any], differentiated: Any, *others: Any) -> int:
    """Bytes that the forward pass keeps for the backward pass, arguments apart: those of `residuals`."""
    return sum(residual.bytes for residual in residuals(function, differentiated, *others))


def residuals(function: Callable[..., Any], differentiated: Any, *others: Any) -> list[Residual]:
    """What the forward pass keeps for the backward pass, arguments apart, in the order it is kept.

    `function(differentiated, *others)` is traced through `jax.vjp`; what its pullback closes over are the
    residuals (what `jax.ad_checkpoint.print_saved_residuals` prints). An argument that is only reshaped is still an
    argument; a value saved twice counts once.
    """

    def pullback(differentiated: Any, others: Any) -> Any:
        return jax.tree.leaves(jax.vjp(lambda d: function(d, *others), differentiated)[1])

    jaxpr, _ = open_program(jax.make_jaxpr(pullback)(differentiated, others))
    arguments = {*jaxpr.invars, *jaxpr.constvars}
    for eqn in jaxpr.eqns:
        if operation_name(eqn) in _VIEWS and eqn.invars[0] in arguments:
            arguments.update(eqn.outvars)
    saved = dict.fromkeys(var for var in jaxpr.outvars if not isinstance(var, Literal) and var not in arguments)
    return [Residual(var.aval, _bytes(var.aval), *_maker(jaxpr, var)) for var in saved]


def _maker(jaxpr: Any, var: Any) -> tuple[tuple[Any, ...], str]:
    """(equations, tag): into loops and calls, and before names and what only moves the value."""
    found: list[Any] = []
    name = ""
    while True:
        eqn = next((eqn for eqn in jaxpr.eqns if var in eqn.outvars), None)
        if eqn is None:  # an input of this program: what made it is the loop or call around it
            return tuple(found), name
        if operation_name(eqn) in _LOOK_THROUGH and not isinstance(eqn.invars[0], Literal):
            name = name or checkpoint_name(eqn) or ""
            var = eqn.invars[0]
            continue
        found.append(eqn)
        inner = list(inner_programs(eqn)) if eqn.primitive.name not in ("while", "cond") else []
        if len(inner) != 1 or len(inner[0].outvars) != len(eqn.outvars):
            return tuple(found), name
        jaxpr, var = inner[0], inner[0].outvars[eqn.outvars.index(var)]


def _bytes(aval: Any) -> int:
    dtype = aval.dtype
    itemsize = dtype.itemsize if hasattr(dtype, "itemsize") else np.dtype(dtype).itemsize
    return math.prod(aval.shape) * int(itemsize)
