"""Flattening of trees to leaves that Orbax stores bit-exactly, with the names they are stored under."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from artifex_bench.checkpointing.containers import (
    check_depth,
    is_empty_container,
    list_leaf_containers,
)
from artifex_bench.checkpointing.encoding import encode_leaf
from artifex_bench.checkpointing.errors import UnsupportedLeafError

_SAFE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
# Orbax and TensorStore give these names to their own files, which lie beside the arrays.
_RESERVED = frozenset({"_METADATA", "_sharding", "array_metadatas", "checkpoint", "d", "manifest"})


@dataclass(frozen=True)
class Leaf:
    """One leaf of a tree in its stored form.

    Attributes:
        path: The path for messages, such as "layers/0/kernel".
        name: The path as a safe file name, such as "layers.0.kernel".
        kind: What the leaf was before it became an array, see `encoding`.
        value: A jax.Array, a numpy array, a ShapeDtypeStruct in a template, or None for an empty container.
        containers: The containers around the leaf, outermost first.
    """

    path: str
    name: str
    kind: str
    value: Any
    containers: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Global shape of the stored array, () for an empty container."""
        return () if self.value is None else tuple(self.value.shape)

    @property
    def dtype(self) -> str:
        """Name of the stored array's dtype, "" for an empty container."""
        return "" if self.value is None else np.dtype(self.value.dtype).name

    @property
    def stored(self) -> bool:
        """True if there are bytes to store. Orbax refuses arrays without elements."""
        return self.value is not None and 0 not in self.shape

    def describe(self) -> str:
        """Describe the leaf in words for messages, as `describe_leaf` does.

        Returns:
            Text such as "float32[8,4]", "int" or "empty dict".
        """
        return describe_leaf(self.kind, self.shape, self.dtype)


def describe_leaf(kind: str, shape: Sequence[int], dtype: str) -> str:
    """Describe a leaf in words for messages.

    Args:
        kind: The leaf's kind.
        shape: The shape of its stored array.
        dtype: The name of its stored array's dtype.

    Returns:
        Text such as "float32[8,4]", "int", "key<fry>[]" or "empty dict".
    """
    if kind.partition(":")[0] == "array":
        return f"{dtype}[{','.join(map(str, shape))}]"
    if kind.startswith("key"):
        return f"{kind.partition(':')[0]}[{','.join(map(str, shape[:-1]))}]"
    return kind.replace("empty:", "empty ").replace("bigint", "int")


def flatten_tree(tree: Any) -> tuple[list[Leaf], Any]:
    """Flatten a tree or a template.

    Args:
        tree: Any tree. Empty containers count as leaves.

    Returns:
        (leaves, treedef).

    Raises:
        UnsupportedLeafError: If a leaf cannot be stored, two leaves share a name, or the tree is too deep.
    """
    try:
        check_depth(tree)
        entries, treedef = jax.tree_util.tree_flatten_with_path(tree, is_leaf=is_empty_container)
    except (TypeError, ValueError) as error:
        raise UnsupportedLeafError(f"JAX cannot flatten the tree ({error}): give each dict keys of one type") from error
    around = list_leaf_containers(treedef)
    leaves = [_make_leaf(path, value, outer) for (path, value), outer in zip(entries, around, strict=True)]
    seen: dict[str, str] = {}
    for leaf in leaves:
        if leaf.name in seen:
            raise UnsupportedLeafError(
                f"{leaf.path} and {seen[leaf.name]} are both stored as {leaf.name}, and names must differ: rename one",
                path=leaf.path,
            )
        seen[leaf.name] = leaf.path
    return leaves, treedef


def flatten_saved_tree(tree: Any) -> list[Leaf]:
    """Flatten a tree that is to be saved.

    Args:
        tree: Any tree of values.

    Returns:
        The leaves.

    Raises:
        UnsupportedLeafError: As `flatten_tree`, and if a leaf is abstract, deleted or donated.
    """
    leaves, _ = flatten_tree(tree)
    for leaf in leaves:
        shown = leaf.path or "the tree"
        if isinstance(leaf.value, jax.ShapeDtypeStruct):
            raise UnsupportedLeafError(
                f"{shown} is abstract, and a checkpoint holds values: save an array", path=leaf.path
            )
        if isinstance(leaf.value, jax.Array) and leaf.value.is_deleted():
            raise UnsupportedLeafError(
                f"{shown} was deleted or donated, and has no value: save the array that replaced it", path=leaf.path
            )
    return leaves


def nest_names(values: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Turn named values into nested dicts, the form in which Orbax's own readers show the tree.

    Args:
        values: (name, value) for each leaf, such as ("a.b", x).

    Returns:
        Nested dicts, such as {"a": {"b": x}}.
    """
    root: dict[str, Any] = {}
    for name, value in values:
        *parents, last = name.split(".")
        node = root
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    return root


def flatten_names(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Turn nested dicts into named values, as the inverse of `nest_names`.

    Args:
        tree: Nested dicts.
        prefix: The name of `tree` itself.

    Returns:
        The values by name.
    """
    if not isinstance(tree, dict):
        return {prefix: tree}
    values: dict[str, Any] = {}
    for key, value in tree.items():
        values.update(flatten_names(value, f"{prefix}.{key}" if prefix else str(key)))
    return values


def name_path(path: tuple[Any, ...]) -> tuple[str, str]:
    """Name a leaf by its path in a tree.

    Args:
        path: The keys of `jax.tree_util.tree_flatten_with_path`.

    Returns:
        (the path for messages, the name that is safe as a file name), such as ("layers/0/kernel", "layers.0.kernel").
    """
    parts = [_format_key(entry) for entry in path]
    name = ".".join(map(_escape_part, parts)) or "%"
    if name in _RESERVED or parts[:1] in (["manifest"], ["ocdbt"]):
        name = f"%{ord(name[0]):02X}{name[1:]}"
    shown = "/".join(parts)
    return shown if shown.isprintable() else repr(shown)[1:-1], name


def _make_leaf(path: tuple[Any, ...], value: Any, around: tuple[str, ...]) -> Leaf:
    shown, name = name_path(path)
    kind, stored = encode_leaf(shown, value)
    return Leaf(shown, name, kind, stored, around)


def _format_key(entry: Any) -> str:
    for attribute in ("key", "idx", "name"):
        if hasattr(entry, attribute):
            return str(getattr(entry, attribute))
    return str(entry)


def _escape_part(part: str) -> str:
    """Escape a key for use in a file name: all but letters, digits, "_" and "-" as %XX. An empty key becomes "%"."""
    return (
        "".join(c if c in _SAFE else "".join(f"%{b:02X}" for b in c.encode("utf-8", "surrogatepass")) for c in part)
        or "%"
    )
