"""The containers of a pytree (dicts, lists, tuples, None and other nodes) as JAX takes them apart."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from artifex_bench.checkpointing.errors import UnsupportedLeafError

_DISTINCT = ("dict", "list", "tuple", "NoneType")
_LIKE_DICT = ("OrderedDict", "defaultdict", "FrozenDict", "State")  # of collections and Flax: they load as each other
MAX_DEPTH = 100  # nested containers: Orbax restores by recursion, which Python stops at 1000 calls


def list_leaf_containers(treedef: Any, outer: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """List the containers around each leaf of a tree.

    Args:
        treedef: The tree's structure (a `jax.tree_util.PyTreeDef`).
        outer: The containers around the whole tree.

    Returns:
        For each leaf its containers, outermost first, each in the words of `classify_container`.
    """
    node = treedef.node_data()
    if node is None:
        return [outer]
    inner = (*outer, classify_container(node[0].__name__))
    return [around for child in treedef.children() for around in list_leaf_containers(child, inner)]


def classify_container(type_name: str) -> str:
    """Classify a container type. A template's container must be of the same class as the saved one.

    Args:
        type_name: The type's `__name__`.

    Returns:
        "dict" (for dict-like types of collections and Flax too), "list", "tuple", "NoneType", or "node" for others.
    """
    if type_name in _LIKE_DICT:
        return "dict"
    return type_name if type_name in _DISTINCT else "node"


def is_empty_container(node: Any) -> bool:
    """Check whether a node is a container without children. None is one.

    Args:
        node: Any node or leaf of a tree.

    Returns:
        True for an empty container. `{"a": {}}` is not empty, although it has no leaves.
    """
    children = _list_children(node)
    return children is not None and not children


def _list_children(node: Any) -> list[Any] | None:
    """List the children of a container, or return None for a leaf."""
    if isinstance(node, (jax.Array, np.ndarray)):
        return None
    level = jax.tree_util.default_registry.flatten_one_level(node)
    return None if level is None else list(level[0])


def check_depth(tree: Any) -> None:
    """Check that a tree is not too deep and does not contain itself.

    JAX stops at Python's recursion limit too, but then leaves its count of nested calls raised for good.

    Args:
        tree: The tree to be saved, or a template.

    Raises:
        UnsupportedLeafError: If more than MAX_DEPTH containers are nested.
    """
    stack = [(tree, 0)]
    while stack:
        node, depth = stack.pop()
        if depth > MAX_DEPTH:
            raise UnsupportedLeafError(
                f"the tree contains itself or nests more than {MAX_DEPTH} containers: flatten it before saving"
            )
        stack += [(child, depth + 1) for child in _list_children(node) or ()]
