"""Trees to leaves that Orbax stores bit-exactly, and back.

A leaf has a `path` for people ("layers/0/kernel"), a `name` that is safe as a file name ("layers.0.kernel"), a `kind`
(what it was before it became an array, see `encoding`), the `containers` around it, and a `value`: a jax.Array, a numpy
array, a ShapeDtypeStruct in a template, or None where only the kind is stored (empty containers).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from artifex_bench.checkpointing.containers import check_depth, container, containers, is_empty
from artifex_bench.checkpointing.encoding import stored_form
from artifex_bench.checkpointing.errors import UnsupportedLeafError

_SAFE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
# Names that Orbax and TensorStore use for their own files beside the arrays.
_RESERVED = frozenset({"_METADATA", "_sharding", "array_metadatas", "checkpoint", "d", "manifest"})


@dataclass(frozen=True)
class Leaf:
    """One leaf in its stored form."""

    path: str
    name: str
    kind: str
    value: Any
    containers: tuple[str, ...] = ()

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
    if kind.partition(":")[0] == "array":
        return f"{dtype}[{','.join(map(str, shape))}]"
    if kind.startswith("key"):
        return f"{kind.partition(':')[0]}[{','.join(map(str, shape[:-1]))}]"
    return kind.replace("empty:", "empty ").replace("bigint", "int")


def flatten(tree: Any) -> tuple[list[Leaf], Any]:
    """(leaves, treedef) of a tree. Raises UnsupportedLeafError, with the path, for a leaf that cannot be stored."""
    try:
        check_depth(tree)
        entries, treedef = jax.tree_util.tree_flatten_with_path(tree, is_leaf=is_empty)
    except (TypeError, ValueError) as error:
        raise UnsupportedLeafError(f"JAX cannot flatten the tree: {error}: give each dict keys of one type") from error
    around = containers(treedef)
    leaves = [_encode(path, value, outer) for (path, value), outer in zip(entries, around, strict=True)]
    seen: dict[str, str] = {}
    for leaf in leaves:
        if leaf.name in seen:
            raise UnsupportedLeafError(f"{leaf.path} and {seen[leaf.name]} share the name {leaf.name}: rename one")
        seen[leaf.name] = leaf.path
    return leaves, treedef


def flatten_values(tree: Any) -> list[Leaf]:
    """The leaves of a tree to be saved. Raises UnsupportedLeafError as well for one without a value."""
    leaves, _ = flatten(tree)
    for leaf in leaves:
        if isinstance(leaf.value, jax.ShapeDtypeStruct):
            raise UnsupportedLeafError(f"{leaf.path or 'the tree'} is abstract: a checkpoint holds values")
        if isinstance(leaf.value, jax.Array) and leaf.value.is_deleted():
            raise UnsupportedLeafError(f"{leaf.path or 'the tree'} was deleted or donated: save what replaced it")
    return leaves


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
    if ours == "empty":
        return container(kind[6:]) == container(leaf.kind[6:])
    if ours in ("str", "bytes", "int"):
        return True  # their size is a matter of the value
    return tuple(shape) == leaf.shape and dtype == leaf.dtype


def path_name(path: tuple[Any, ...]) -> tuple[str, str]:
    """("layers/0/kernel", "layers.0.kernel"): a leaf's path for people, and its name that is safe as a file name."""
    parts = [_part(entry) for entry in path]
    name = ".".join(map(_safe, parts)) or "%"
    if name in _RESERVED or parts[:1] in (["manifest"], ["ocdbt"]):
        name = f"%{ord(name[0]):02X}{name[1:]}"
    shown = "/".join(parts)
    return shown if shown.isprintable() else repr(shown)[1:-1], name


def _encode(path: tuple[Any, ...], value: Any, around: tuple[str, ...]) -> Leaf:
    shown, name = path_name(path)
    kind, stored = stored_form(shown, value)
    return Leaf(shown, name, kind, stored, around)


def _part(entry: Any) -> str:
    for attribute in ("key", "idx", "name"):
        if hasattr(entry, attribute):
            return str(getattr(entry, attribute))
    return str(entry)


def _safe(part: str) -> str:
    """The part as a file name: everything but letters, digits, "_" and "-" as %XX; an empty part as a lone %."""
    return (
        "".join(c if c in _SAFE else "".join(f"%{b:02X}" for b in c.encode("utf-8", "surrogatepass")) for c in part)
        or "%"
    )
