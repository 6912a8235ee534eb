"""What a tree is made of: dicts, lists, tuples, None, and nodes of other types, as JAX takes them apart."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from artifex_bench.checkpointing.errors import UnsupportedLeafError

_TOLD_APART = ("dict", "list", "tuple", "NoneType")
_LIKE_DICT = ("OrderedDict", "defaultdict", "FrozenDict", "State")  # of collections and Flax: they load as each other
DEEPEST = 100  # containers in each other: Orbax restores by recursion, which Python stops at 1000 calls


def containers(treedef: Any, outer: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The containers around each leaf, outermost first: "dict", "list", "tuple", or "node" for any other type."""
    node = treedef.node_data()
    if node is None:
        return [outer]
    inner = (*outer, container(node[0].__name__))
    return [found for child in treedef.children() for found in containers(child, inner)]


def container(type_name: str) -> str:
    """What templates are compared by: "dict" (and what is like one), "list", "tuple", "NoneType", or else "node"."""
    if type_name in _LIKE_DICT:
        return "dict"
    return type_name if type_name in _TOLD_APART else "node"


def is_empty(node: Any) -> bool:
    """True for a container with nothing in it, None included."""
    # One level only: {"a": {}} is not empty, its {} is.
    children = _children(node)
    return children is not None and not children


def _children(node: Any) -> list[Any] | None:
    """What a container holds; None for a leaf."""
    if isinstance(node, (jax.Array, np.ndarray)):
        return None
    level = jax.tree_util.default_registry.flatten_one_level(node)
    return None if level is None else list(level[0])


def check_depth(tree: Any) -> None:
    """Raise UnsupportedLeafError for a tree that is too deep, or holds itself.

    JAX stops at Python's limit of recursion as well, but leaves its count of calls raised for good.
    """
    stack = [(tree, 0)]
    while stack:
        node, depth = stack.pop()
        if depth > DEEPEST:
            raise UnsupportedLeafError(f"the tree is more than {DEEPEST} containers deep, or holds itself: flatten it")
        stack += [(child, depth + 1) for child in _children(node) or ()]
