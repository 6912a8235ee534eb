"""FLOPs, matrix products, residuals and tags of a traced program, read from its jaxpr before any compiler."""

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

# Operations that move, reshape or annotate values: no arithmetic.
_FREE = frozenset(
    [
        *("broadcast_in_dim", "reshape", "transpose", "squeeze", "expand_dims", "concatenate", "split", "pad", "rev"),
        *("slice", "dynamic_slice", "dynamic_update_slice", "gather", "select_n", "iota", "copy", "copy_p"),
        *("convert_element_type", "bitcast_convert_type", "reduce_precision", "stop_gradient", "optimization_barrier"),
        *("name", "device_put", "sharding_constraint"),
        "PrimalLeftTangentRight",  # inserted by JAX_REMAT3; the forward pass returns its first operand
        *("random_bits", "random_seed", "random_wrap", "random_unwrap", "random_split", "random_fold_in"),
        "threefry2x32",
    ]
)
# Operations whose result is their operand under another shape, name or sharding.
_VIEWS = frozenset(["reshape", "squeeze", "expand_dims", "copy", "name", "sharding_constraint"])
_LOOK_THROUGH = frozenset(["reduce_precision", *_VIEWS])


def count_flops(jaxpr: TracedProgram, loops_once: bool = False) -> float:
    """Count the floating-point operations of a program: 2 m n k per matrix product, else 1 per element.

    Dead code is left out. A `while` loop of unknown length counts once. The most expensive branch of a conditional
    counts.

    Args:
        jaxpr: The traced program.
        loops_once: Whether the body of a scan counts once, as in XLA's cost analysis, instead of once per trip.
    """
    return _count_flops(live_program(jaxpr), loops_once)


def _count_flops(jaxpr: Any, loops_once: bool) -> float:
    return sum(count_equation_flops(eqn, loops_once) for eqn in jaxpr.eqns)


def count_equation_flops(eqn: Any, loops_once: bool = False) -> float:
    """Count the FLOPs of one equation and the programs inside it, by the rules of `count_flops`."""
    inner = [_count_flops(sub, loops_once) for sub in inner_programs(eqn)]
    name = operation_name(eqn)
    if name == "cond":
        return max(inner, default=0.0)
    if inner and not name.startswith(("reduce", "scatter", "cum", "arg")):
        return sum(inner) * (eqn.params["length"] if name == "scan" and not loops_once else 1)
    return _count_operation_flops(eqn, name)


def _count_operation_flops(eqn: Any, name: str) -> float:
    if name in _FREE or not eqn.outvars:  # a print has none
        return 0.0
    out = math.prod(eqn.outvars[0].aval.shape) if hasattr(eqn.outvars[0].aval, "shape") else 0
    if name == "dot_general":
        (contracting, _), _ = eqn.params["dimension_numbers"]
        return 2.0 * out * math.prod(eqn.invars[0].aval.shape[d] for d in contracting)
    if name == "conv_general_dilated":
        return _count_convolution_flops(eqn)
    if name.startswith(("reduce", "arg", "cum")):
        return float(math.prod(eqn.invars[0].aval.shape))
    return float(out)


def _count_convolution_flops(eqn: Any) -> float:
    """Count 2 for each product of an input element and a kernel element, as XLA's cost analysis does.

    Products with padding, and with the zeros between the elements of a dilated input, are left out. The input gradient
    of a two-dimensional convolution with stride 2 has three such zeros per element.
    """
    params, numbers = eqn.params, eqn.params["dimension_numbers"]
    input_shape, kernel_shape = (var.aval.shape for var in eqn.invars)
    output_shape = eqn.outvars[0].aval.shape
    pairs = 1
    for axis, window in enumerate(
        zip(params["window_strides"], params["padding"], params["lhs_dilation"], params["rhs_dilation"], strict=True), 2
    ):
        sizes = (input_shape[numbers.lhs_spec[axis]], kernel_shape[numbers.rhs_spec[axis]])
        pairs *= _count_pairs(*sizes, output_shape[numbers.out_spec[axis]], *window)
    features = math.prod(kernel_shape[axis] for axis in numbers.rhs_spec[:2])
    batch = input_shape[numbers.lhs_spec[0]] // params["batch_group_count"]
    return 2.0 * batch * features * pairs


def _count_pairs(
    inputs: int, kernel: int, outputs: int, stride: int, padding: tuple[int, int], dilation: int, kernel_dilation: int
) -> int:
    """Count the (output, kernel) positions along one axis that meet an element of the input.

    Output o and kernel position k meet place stride o + kernel_dilation k - padding of the dilated input, which holds
    an element if `dilation` divides it. For each k these outputs are congruent to one number, and within two bounds.
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
    """A matrix product or convolution.

    Attributes:
        times: How often it runs.
        flops: FLOPs of one run.
        bytes: Bytes of its operands and its result.
        dtype: Dtype of its operands.
    """

    times: int
    flops: float
    bytes: int
    dtype: str


def find_products(jaxpr: TracedProgram) -> Iterator[Product]:
    """Yield every matrix product and convolution of a program, by the rules of `count_flops`."""
    return _find_products(live_program(jaxpr), 1)


def _find_products(jaxpr: Any, times: int) -> Iterator[Product]:
    for eqn in jaxpr.eqns:
        name = eqn.primitive.name
        if name in ("dot_general", "conv_general_dilated"):
            moved = sum(count_bytes(var.aval) for var in (*eqn.invars, *eqn.outvars))
            yield Product(times, _count_operation_flops(eqn, name), moved, str(eqn.invars[0].aval.dtype))
            continue
        inner = list(inner_programs(eqn))
        if name == "cond":
            inner = [max(inner, key=lambda branch: _count_flops(branch, loops_once=False))]
        for sub in inner:
            yield from _find_products(sub, times * (eqn.params["length"] if name == "scan" else 1))


def find_tags(jaxpr: TracedProgram) -> set[str]:
    """Return every name that `checkpoint_name` gives to a value of the program."""

    def walk_program(inner: Any) -> Iterator[str]:
        for eqn in inner.eqns:
            if (name := checkpoint_name(eqn)) is not None:
                yield name
            for sub in inner_programs(eqn):
                yield from walk_program(sub)

    return set(walk_program(open_program(jaxpr)[0]))


@dataclass(frozen=True)
class Residual:
    """A value that autodiff saves for the backward pass.

    Attributes:
        aval: Its abstract value, with shape and dtype.
        bytes: Its size.
        equations: The equation that computes it, after the loops and calls that contain it, outermost first.
        name: Its tag from `checkpoint_name`, or "".
    """

    aval: Any
    bytes: int
    equations: tuple[Any, ...]
    name: str


def count_residual_bytes(function: Callable[..., Any], differentiated: Any, *others: Any) -> int:
    """Count the bytes that autodiff saves for the backward pass, without arguments: those of `find_residuals`."""
    return sum(residual.bytes for residual in find_residuals(function, differentiated, *others))


def find_residuals(function: Callable[..., Any], differentiated: Any, *others: Any) -> list[Residual]:
    """Find the values that autodiff saves for the backward pass, without arguments.

    They are the values that the pullback of `jax.vjp` closes over, as `jax.ad_checkpoint.print_saved_residuals` prints
    them. A reshaped argument is still an argument, and a value that is saved twice counts once.

    Args:
        function: The function to differentiate, ``function(differentiated, *others)``.
        differentiated: Its first argument, a pytree of arrays or shapes.
        *others: Its other arguments, likewise.

    Returns:
        The residuals, in the order in which they are saved.
    """

    def list_saved(differentiated: Any, others: Any) -> Any:
        return jax.tree.leaves(jax.vjp(lambda d: function(d, *others), differentiated)[1])

    jaxpr, _ = open_program(jax.make_jaxpr(list_saved)(differentiated, others))
    arguments = {*jaxpr.invars, *jaxpr.constvars}
    for eqn in jaxpr.eqns:
        if operation_name(eqn) in _VIEWS and eqn.invars[0] in arguments:
            arguments.update(eqn.outvars)
    saved = dict.fromkeys(var for var in jaxpr.outvars if not isinstance(var, Literal) and var not in arguments)
    return [Residual(var.aval, count_bytes(var.aval), *_find_origin(jaxpr, var)) for var in saved]


def _find_origin(jaxpr: Any, var: Any) -> tuple[tuple[Any, ...], str]:
    """Return (equations, name) of a `Residual`. Operations that only move the value are passed over."""
    equations: list[Any] = []
    name = ""
    while True:
        eqn = next((eqn for eqn in jaxpr.eqns if var in eqn.outvars), None)
        if eqn is None:  # an input of this program: the loop or call around it makes the value
            return tuple(equations), name
        if operation_name(eqn) in _LOOK_THROUGH and not isinstance(eqn.invars[0], Literal):
            name = name or checkpoint_name(eqn) or ""
            var = eqn.invars[0]
            continue
        equations.append(eqn)
        inner = list(inner_programs(eqn)) if eqn.primitive.name not in ("while", "cond") else []
        if len(inner) != 1 or len(inner[0].outvars) != len(eqn.outvars):
            return tuple(equations), name
        jaxpr, var = inner[0], inner[0].outvars[eqn.outvars.index(var)]


def count_bytes(aval: Any) -> int:
    """Count the bytes of a value of a jaxpr; 0 for one without shape or dtype."""
    return math.prod(getattr(aval, "shape", ())) * int(getattr(getattr(aval, "dtype", None), "itemsize", 0))
