"""A sketch of gradients: enough to hold those of two processes against each other, small enough for a record.

For each parameter (over all layers): its norm and 16 random sign projections. The mean square of the difference of
two projections is, in expectation, the square of the norm of the difference of the gradients (Johnson-Lindenstrauss;
Achlioptas 2003 for signs), so that a wrong value anywhere shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

PROJECTIONS = 16
_CHUNK = 1 << 20


def sketch(gradients: Any) -> dict[str, dict[str, Any]]:
    """{parameter: {"norm": float, "projections": [float]}}; scanned and unrolled layers give the same.

    Raises ValueError, naming the parameter, for gradients that are not finite: there is nothing to compare.
    """
    groups: dict[str, list[Any]] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
        groups.setdefault(_name(path), []).append(leaf)
    return {name: _project(name, leaves) for name, leaves in groups.items()}


def _name(path: tuple[Any, ...]) -> str:
    """``stacks.layers.up.kernel``: the keys of dictionaries, without a layer's position and nnx's own attributes."""
    return ".".join(str(key.key) for key in path if isinstance(key, jax.tree_util.DictKey))


def _project(name: str, leaves: list[Any]) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    square, projections = 0.0, np.zeros(PROJECTIONS)
    for chunk in _chunks(leaves):
        if not np.isfinite(chunk).all():
            raise ValueError(f"the gradients of {name} are not finite")
        bits = rng.integers(0, 256, size=(PROJECTIONS, -(-chunk.size // 8)), dtype=np.uint8)
        plus = np.unpackbits(bits, axis=1, count=chunk.size).astype(bool)
        square += float(chunk @ chunk)
        projections += 2 * np.where(plus, chunk, 0).sum(axis=1) - chunk.sum()
    return {"norm": square**0.5, "projections": [float(p) for p in projections]}


def _chunks(leaves: list[Any]) -> Iterator[np.ndarray]:
    """All values of the leaves as float64, in pieces that do not depend on how they are stacked."""
    rest = np.empty(0)
    for leaf in leaves:
        flat = np.asarray(leaf).reshape(-1)
        for start in range(0, flat.size, _CHUNK):
            rest = np.concatenate([rest, flat[start : start + _CHUNK].astype(np.float64)])
            while rest.size >= _CHUNK:
                yield rest[:_CHUNK]
                rest = rest[_CHUNK:]
    if rest.size:
        yield rest
