"""Trees to leaves that Orbax stores bit-exactly, and back.

A leaf has a `path` for people ("layers/0/kernel"), a `name` that is safe as a file name ("layers.0.kernel"), a `kind`
(what it was before it became an array), and a `value`: a jax.Array, a numpy array, a ShapeDtypeStruct in a template, or
None where only the kind is stored (empty containers). What Orbax would store differently or not at all (empty
containers, arrays without elements, PRNG keys, text, big integers) is told by the kind.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import tensorstore as ts

from artifex_bench.checkpointing.errors import UnsupportedLeafError

_SAFE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
# Names that Orbax and TensorStore use for their own files beside the arrays.
_RESERVED = frozenset({"_METADATA", "_sharding", "array_metadatas", "checkpoint", "d", "manifest"})
_EMPTY: dict[str, Any] = {"dict": {}, "list": [], "tuple": (), "NoneType": None}
_TEXT_KINDS = ("str", "bytes", "bigint")


@dataclass(frozen=True)
class Leaf:
    """One leaf in its stored form."""

    path: str
    name: str
    kind: str
    value: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """The stored array's global shape; () for an empty container."""
        return () if self.value is None else tuple(self.value.shape)

    @property
    def dtype(self) -> str:
        """The stored array's dtype name; "" for an empty container."""
        return "" if self.value is None else np.dtype(self.value.dtype).name

    @property
    def stored(self) -> bool:
        """True where there are bytes to store: Orbax refuses arrays without elements."""
        return self.value is not None and 0 not in self.shape

    def describe(self) -> str:
        """The leaf in words, for messages: ``float32[8,4]``, ``int``, ``empty dict``."""
        return describe(self.kind, self.shape, self.dtype)


def describe(kind: str, shape: Sequence[int], dtype: str) -> str:
    """A leaf in words: ``float32[8,4]``, ``int``, ``key<fry>``, ``empty dict``."""
    if kind == "array":
        return f"{dtype}[{','.join(map(str, shape))}]"
    if kind.startswith("key"):
        return f"{kind.partition(':')[0]}[{','.join(map(str, shape[:-1]))}]"
    return kind.replace("empty:", "empty ").replace("bigint", "int")


def flatten(tree: Any) -> tuple[list[Leaf], Any]:
    """(leaves, treedef) of a tree. Raises UnsupportedLeafError, with the path, for a leaf that cannot be stored."""
    entries, treedef = jax.tree_util.tree_flatten_with_path(tree, is_leaf=is_empty)
    leaves = [_encode(path, value) for path, value in entries]
    seen: dict[str, str] = {}
    for leaf in leaves:
        if leaf.name in seen:
            raise UnsupportedLeafError(f"{leaf.path} and {seen[leaf.name]} share the name {leaf.name}: rename one")
        seen[leaf.name] = leaf.path
    return leaves, treedef


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
    return value[()] if isinstance(like, np.generic) else value


def nested(values: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """{"a.b": x} as {"a": {"b": x}}: the tree as Orbax's own readers show it."""
    root: dict[str, Any] = {}
    for name, value in values:
        *parents, last = name.split(".")
        node = root
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    return root


def flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """The inverse of `nested`."""
    if not isinstance(tree, dict):
        return {prefix: tree}
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found.update(flat(value, f"{prefix}.{key}" if prefix else str(key)))
    return found


def same_leaf(kind: str, shape: Sequence[int], dtype: str, leaf: Leaf) -> bool:
    """True where what is stored (kind, shape, dtype) fits the template's leaf."""
    ours, theirs = (k.partition(":")[0].replace("bigint", "int") for k in (kind, leaf.kind))
    if ours != theirs:
        return False
    if ours in ("str", "bytes", "int", "empty"):
        return True  # their size is a matter of the value
    return tuple(shape) == leaf.shape and dtype == leaf.dtype


def is_empty(node: Any) -> bool:
    """True for a container with nothing in it, None included."""
    # One level only: {"a": {}} is not empty, its {} is.
    if isinstance(node, (jax.Array, np.ndarray)):
        return False
    level = jax.tree_util.default_registry.flatten_one_level(node)
    return level is not None and not list(level[0])


def _encode(path: tuple[Any, ...], value: Any) -> Leaf:
    parts = [_part(entry) for entry in path]
    shown = "/".join(parts)
    name = ".".join(map(_safe, parts)) or "%"
    if name in _RESERVED or parts[:1] in (["manifest"], ["ocdbt"]):
        name = f"%{ord(name[0]):02X}{name[1:]}"
    kind, stored = _stored_form(shown, value)
    return Leaf(shown, name, kind, stored)


def _part(entry: Any) -> str:
    for attribute in ("key", "idx", "name"):
        if hasattr(entry, attribute):
            return str(getattr(entry, attribute))
    return str(entry)


def _safe(part: str) -> str:
    """The part as a file name: everything but letters, digits, "_" and "-" as %XX; an empty part as a lone %."""
    return "".join(c if c in _SAFE else "".join(f"%{b:02X}" for b in c.encode()) for c in part) or "%"


def _stored_form(path: str, value: Any) -> tuple[str, Any]:
    if not isinstance(value, np.generic):  # a numpy float is a Python float as well, and is kept as an array
        if isinstance(value, bool):
            return "bool", np.array(value)
        if isinstance(value, int):
            fits = -(2**63) <= value < 2**63
            return ("int", np.array(value, np.int64)) if fits else ("bigint", _text(str(value).encode()))
        if isinstance(value, float):
            return "float", np.array(value, np.float64)
        if isinstance(value, complex):
            return "complex", np.array(value, np.complex128)
    if isinstance(value, str):
        return "str", _text(value.encode("utf-8", "surrogatepass"))
    if isinstance(value, bytes):
        return "bytes", _text(value)
    if is_empty(value):
        return f"empty:{type(value).__name__}", None
    dtype = getattr(value, "dtype", None)
    if dtype is not None and jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key):
        if isinstance(value, jax.Array):
            return f"{dtype.name}:{jax.random.key_impl(value)}", jax.random.key_data(value)
        return f"{dtype.name}:", jax.eval_shape(jax.random.key_data, jax.ShapeDtypeStruct(value.shape, dtype))
    if isinstance(value, (jax.Array, jax.ShapeDtypeStruct)) and _storable(np.dtype(value.dtype)):
        return "array", value
    if isinstance(value, (np.ndarray, np.generic)) and _storable(value.dtype):
        return "array", np.asarray(value, value.dtype.newbyteorder("="))
    raise UnsupportedLeafError(
        f"{path or 'the tree'} is a {type(value).__name__}{f' of {dtype}' if dtype is not None else ''}: a checkpoint "
        "holds arrays, numbers, text, PRNG keys and containers of them; convert it or leave it out"
    )


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
