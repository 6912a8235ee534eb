"""A leaf's value in the form that Orbax stores bit-exactly, and back.

The kind tells what Orbax would store differently or not at all: empty containers, PRNG keys, text, numbers of Python,
and weak types.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np
import tensorstore as ts

from artifex_bench.checkpointing.containers import is_empty
from artifex_bench.checkpointing.errors import UnsupportedLeafError
from artifex_bench.compat import is_traced

WEAK = "array:weak"
_EMPTY: dict[str, Any] = {"dict": {}, "list": [], "tuple": (), "NoneType": None}
_TEXT_KINDS = ("str", "bytes", "bigint")
_LARGEST_INT_BITS = 2048  # Python writes and reads 640 decimal digits under every setting


def stored_form(path: str, value: Any) -> tuple[str, Any]:
    """(kind, the array to store) of a leaf; the array is None for an empty container.

    Raises UnsupportedLeafError for what has no such form.
    """
    # Exact types: a subclass (an IntEnum, a MaskedArray, a Quantity) says more than the number or array that it holds.
    exact = type(value)
    if exact is bool:
        return "bool", np.array(value)
    if exact is int:
        if -(2**63) <= value < 2**63:
            return "int", np.array(value, np.int64)
        if value.bit_length() > _LARGEST_INT_BITS:
            raise UnsupportedLeafError(
                f"{path or 'the tree'} is an integer of {value.bit_length()} bits: the largest has {_LARGEST_INT_BITS}"
            )
        return "bigint", _text(str(value).encode())
    if exact is float:
        return "float", np.array(value, np.float64)
    if exact is complex:
        return "complex", np.array(value, np.complex128)
    if exact is str:
        return "str", _text(value.encode("utf-8", "surrogatepass"))
    if exact is bytes:
        return "bytes", _text(value)
    if is_empty(value):
        return f"empty:{exact.__name__}", None
    dtype = getattr(value, "dtype", None)
    if isinstance(value, (jax.Array, jax.ShapeDtypeStruct)) and not is_traced(value):
        if jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key):
            return _stored_key(value)
        if _storable(np.dtype(dtype)):
            weak = getattr(value, "weak_type", False) and _weak_number(dtype) is not None
            return WEAK if weak else "array", value
    if (exact in (np.ndarray, np.memmap) or isinstance(value, np.generic)) and _storable(value.dtype):
        return "array", np.asarray(value, value.dtype.newbyteorder("="))
    raise UnsupportedLeafError(
        f"{path or 'the tree'} is a {type(value).__name__}{f' of {dtype}' if dtype is not None else ''}: a checkpoint "
        "holds arrays, numbers, text, PRNG keys and containers of them; convert it or leave it out"
    )


def decode(kind: str, value: Any, like: Any = None) -> Any:
    """The leaf that was saved, from its stored form; `like` is the template's leaf where there is one."""
    if kind.startswith("empty:"):
        return like if like is not None else _EMPTY.get(kind[6:], {})
    if kind.startswith("key"):
        if jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):  # plain Orbax makes keys of its own
            return value
        return jax.random.wrap_key_data(value, impl=kind.partition(":")[2])
    if kind in _TEXT_KINDS:
        raw = np.asarray(value).tobytes()
        if kind == "str":
            return raw.decode("utf-8", "surrogatepass")
        return raw if kind == "bytes" else int(raw)
    if kind in ("bool", "int", "float", "complex"):
        return np.asarray(value).item()
    if kind == WEAK and isinstance(value, jax.Array):
        return _weak(value)
    return value[()] if isinstance(like, np.generic) else value


def _stored_key(key: Any) -> tuple[str, Any]:
    if isinstance(key, jax.Array):
        return f"{key.dtype.name}:{jax.random.key_impl(key)}", jax.random.key_data(key)
    implementation: list[Any] = []

    def data(traced: jax.Array) -> jax.Array:
        implementation.append(jax.random.key_impl(traced))
        return jax.random.key_data(traced)

    shape = jax.eval_shape(data, jax.ShapeDtypeStruct(key.shape, key.dtype))
    return f"{key.dtype.name}:{implementation[0]}", shape


def _weak_number(dtype: Any) -> type | None:
    """The type of Python's numbers that JAX makes weakly typed arrays of this dtype from; None where there is none."""
    return next((number for number in (int, float, complex) if jax.numpy.result_type(number) == dtype), None)


def _weak(array: jax.Array) -> jax.Array:
    """The array with a weak type, which decides the dtype of what is computed with it.

    Only Python's numbers make weakly typed arrays; an update in place keeps the type of what is updated.
    """
    number = _weak_number(array.dtype)
    if number is None:
        raise UnsupportedLeafError(
            f"a weakly typed array of {array.dtype} was saved, which JAX does not make under this jax_enable_x64: "
            "set it as it was, or load the array as numpy"
        )

    def filled(values: jax.Array) -> jax.Array:
        return jax.numpy.full(values.shape, number(0)).at[...].set(values)

    return jax.jit(filled, out_shardings=array.sharding)(array)


@functools.cache
def _storable(dtype: np.dtype[Any]) -> bool:
    """True for the numbers that TensorStore can hold: not objects, text, dates, records, nor uint4."""
    if dtype.kind not in "biufc" and dtype.num < 256:  # from 256 on: registered by ml_dtypes
        return False
    try:
        ts.dtype(dtype.name)
    except (TypeError, ValueError):
        return False
    return True


def _text(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.uint8)
