"""Encoding of a leaf as an array that Orbax stores bit-exactly, and decoding.

A leaf's kind records what Orbax would change or could not store: empty containers, PRNG keys, text, Python numbers and
weak types.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np
import tensorstore as ts

from artifex_bench.checkpointing.containers import is_empty_container
from artifex_bench.checkpointing.errors import UnsupportedLeafError
from artifex_bench.compat import is_traced

WEAK = "array:weak"
_EMPTY: dict[str, Any] = {"dict": {}, "list": [], "tuple": (), "NoneType": None}
_TEXT_KINDS = ("str", "bytes", "bigint")
_LARGEST_INT_BITS = 2048  # Python writes and reads 640 decimal digits under every setting


def encode_leaf(path: str, value: Any) -> tuple[str, Any]:
    """Encode a leaf for storage.

    Args:
        path: The leaf's path, for messages.
        value: An array, a number, a text, a PRNG key or an empty container, or a ShapeDtypeStruct in a template.

    Returns:
        (kind, array). The array is None for an empty container, and abstract for a ShapeDtypeStruct.

    Raises:
        UnsupportedLeafError: If the value has no exact form, such as an object, a MaskedArray or an IntEnum.
    """
    # Exact types only: a subclass (IntEnum, MaskedArray, Quantity) would lose its additions to the number or array.
    exact = type(value)
    if exact is bool:
        return "bool", np.array(value)
    if exact is int:
        if -(2**63) <= value < 2**63:
            return "int", np.array(value, np.int64)
        if value.bit_length() > _LARGEST_INT_BITS:
            raise UnsupportedLeafError(
                f"{path or 'the tree'} is an integer of {value.bit_length()} bits, and at most {_LARGEST_INT_BITS} are "
                "saved: save it as text",
                path=path,
            )
        return "bigint", _bytes_to_array(str(value).encode())
    if exact is float:
        return "float", np.array(value, np.float64)
    if exact is complex:
        return "complex", np.array(value, np.complex128)
    if exact is str:
        return "str", _bytes_to_array(value.encode("utf-8", "surrogatepass"))
    if exact is bytes:
        return "bytes", _bytes_to_array(value)
    if is_empty_container(value):
        return f"empty:{exact.__name__}", None
    dtype = getattr(value, "dtype", None)
    if isinstance(value, (jax.Array, jax.ShapeDtypeStruct)) and not is_traced(value):
        if jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key):
            return _encode_key(value)
        if _is_storable(np.dtype(dtype)):
            weak = getattr(value, "weak_type", False) and _find_weak_number_type(dtype) is not None
            return WEAK if weak else "array", value
    if (exact in (np.ndarray, np.memmap) or isinstance(value, np.generic)) and _is_storable(value.dtype):
        return "array", np.asarray(value, value.dtype.newbyteorder("="))
    raise UnsupportedLeafError(
        f"{path or 'the tree'} is a {type(value).__name__}{f' of {dtype}' if dtype is not None else ''}, and a "
        "checkpoint holds arrays, numbers, text, PRNG keys and containers of them: convert it or leave it out",
        path=path,
    )


def decode_leaf(kind: str, value: Any, like: Any = None) -> Any:
    """Decode a stored array to the leaf that was saved.

    Args:
        kind: The leaf's kind, as `encode_leaf` returned it.
        value: The restored array, or None for an empty container.
        like: The template's leaf, or None without a template.

    Returns:
        The leaf.

    Raises:
        UnsupportedLeafError: If the leaf has a weak type that JAX cannot make with the current `jax_enable_x64`.
    """
    if kind.startswith("empty:"):
        return like if like is not None else _EMPTY.get(kind[6:], {})
    if kind.startswith("key"):
        if jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):  # plain Orbax restores keys as keys
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
        return _make_weak(value)
    return value[()] if isinstance(like, np.generic) else value


def _encode_key(key: Any) -> tuple[str, Any]:
    """Encode a PRNG key, or a key in a template, as (kind with its implementation, its data)."""
    if isinstance(key, jax.Array):
        return f"{key.dtype.name}:{jax.random.key_impl(key)}", jax.random.key_data(key)
    implementation: list[Any] = []

    def data(traced: jax.Array) -> jax.Array:
        implementation.append(jax.random.key_impl(traced))
        return jax.random.key_data(traced)

    shape = jax.eval_shape(data, jax.ShapeDtypeStruct(key.shape, key.dtype))
    return f"{key.dtype.name}:{implementation[0]}", shape


def _find_weak_number_type(dtype: Any) -> type | None:
    """Find the Python number type from which JAX makes weakly typed arrays of a dtype, or return None."""
    return next((number for number in (int, float, complex) if jax.numpy.result_type(number) == dtype), None)


def _make_weak(array: jax.Array) -> jax.Array:
    """Make an array's type weak, which decides the dtype of results computed with it.

    Only Python numbers make weakly typed arrays, and an update in place keeps the weak type.
    """
    number = _find_weak_number_type(array.dtype)
    if number is None:
        raise UnsupportedLeafError(
            f"an array of {array.dtype} was saved with a weak type, which JAX cannot make with the current "
            "jax_enable_x64: set jax_enable_x64 as it was, or load the array as numpy"
        )

    def filled(values: jax.Array) -> jax.Array:
        return jax.numpy.full(values.shape, number(0)).at[...].set(values)

    return jax.jit(filled, out_shardings=array.sharding)(array)


@functools.cache
def _is_storable(dtype: np.dtype[Any]) -> bool:
    """Check whether TensorStore can hold a dtype. It cannot hold objects, text, dates, records or uint4."""
    if dtype.kind not in "biufc" and dtype.num < 256:  # ml_dtypes registers its types from 256 on
        return False
    try:
        ts.dtype(dtype.name)
    except (TypeError, ValueError):
        return False
    return True


def _bytes_to_array(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.uint8)
