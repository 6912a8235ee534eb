"""A sketch of gradients: enough to compare those of two processes, small enough for a record.

For each parameter (over all layers): its norm and 16 projections on random signs. The mean square of the difference of
two projections is, in expectation, the square of the norm of the difference of the gradients (Johnson-Lindenstrauss;
Achlioptas 2003 for signs), so a wrong value anywhere changes the sketch.

Shapes: P projections, C values of a chunk.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

PROJECTIONS = 16
CHUNK = 1 << 20  # values: their signed copies are 16 x 2**20 float64, which is 128 MiB


def sketch_gradients(gradients: Any) -> dict[str, dict[str, Any]]:
    """Sketch a pytree of gradients.

    Args:
        gradients: Arrays under the keys of nested dictionaries and lists; layers are stacked or in a list.

    Returns:
        {parameter: {"norm": float, "projections": list of 16 floats}}, equal for scanned and unrolled layers.

    Raises:
        ValueError: A gradient is not finite. The message names the parameter.
    """
    groups: dict[str, list[Any]] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
        groups.setdefault(_name_parameter(path), []).append(leaf)
    return {name: _sketch_parameter(name, leaves) for name, leaves in groups.items()}


def _name_parameter(path: tuple[Any, ...]) -> str:
    """Return the keys of dictionaries, ``stacks.layers.up.kernel``: no layer's position, no attribute of nnx."""
    return ".".join(str(key.key) for key in path if isinstance(key, jax.tree_util.DictKey))


def _sketch_parameter(name: str, leaves: list[Any]) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    square, projections_P = 0.0, np.zeros(PROJECTIONS)
    for values_C in _split_values(leaves):
        if not np.isfinite(values_C).all():
            raise ValueError(f"the gradients of {name} are not finite")
        bits = rng.integers(0, 256, size=(PROJECTIONS, -(-values_C.size // 8)), dtype=np.uint8)
        is_plus_PC = np.unpackbits(bits, axis=1, count=values_C.size).astype(bool)
        square += float(values_C @ values_C)
        projections_P += 2 * np.where(is_plus_PC, values_C, 0).sum(axis=1) - values_C.sum()
    return {"norm": square**0.5, "projections": [float(p) for p in projections_P]}


def _split_values(leaves: list[Any]) -> Iterator[np.ndarray]:
    """Yield all values of the leaves as float64, in chunks that do not depend on how layers are stacked."""
    rest = np.empty(0)
    for leaf in leaves:
        flat = np.asarray(leaf).reshape(-1)
        for start in range(0, flat.size, CHUNK):
            rest = np.concatenate([rest, flat[start : start + CHUNK].astype(np.float64)])
            while rest.size >= CHUNK:
                yield rest[:CHUNK]
                rest = rest[CHUNK:]
    if rest.size:
        yield rest
