"""A program over a mesh of devices: along which axis of the mesh each of its arrays is split.

What is said here is where parameters, optimizer state and batch lie, and that what goes from layer to layer is split by
batch alone; XLA partitions the program accordingly (GSPMD, Xu et al. 2021, arXiv:2105.04663).

``data`` splits the batch. ``fsdp`` splits the batch, and parameters and optimizer state (Rajbhandari 2020,
arXiv:1910.02054). ``tensor`` splits the weight matrices that a model's attribute `tensor` names (Shoeybi 2019,
arXiv:1909.08053).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from artifex_bench import models
from artifex_bench.core.case import CaseError, RematCase, mesh_axes


@dataclass(frozen=True)
class Layout:
    """The mesh of a case, and what decides how an array of its program lies on it."""

    case: RematCase
    mesh: Mesh
    tensor: Mapping[str, str]  # module -> "column" or "row"

    def shardings(self, arrays: tuple[Any, Any]) -> tuple[Any, Any]:
        """Where (state, batch) lie: trees like theirs. Raises CaseError for what cannot be split as it must be."""
        state, batch = arrays
        return jax.tree_util.tree_map_with_path(self._of_state, state), self._by_batch(batch, "its batch")

    def results(self, state: Any) -> tuple[Any, Any]:
        """Where what is timed returns its results: the new state, or the gradients, as that state lies."""
        lie = jax.tree.map(lambda leaf: leaf.sharding, state)
        return (lie, None) if self.case.step == "train" else (None, lie["params"])

    def hold(self, x: Any) -> Any:
        """What goes from layer to layer, split by batch alone."""
        return jax.lax.with_sharding_constraint(x, self._by_batch(x, "what goes from layer to layer"))

    def place(self, arrays: tuple[Any, Any]) -> tuple[Any, Any]:
        """Arrays, or their shapes, where they lie."""

        def placed(leaf: Any, sharding: NamedSharding) -> Any:
            if isinstance(leaf, jax.ShapeDtypeStruct):
                return leaf.update(sharding=sharding)
            return jax.device_put(leaf, sharding)

        return jax.tree.map(placed, arrays, self.shardings(arrays))

    def _by_batch(self, tree: Any, what: str) -> Any:
        axes = tuple(axis for axis in ("data", "fsdp") if axis in self.mesh.shape)
        size = self.case.batch

        def batched(leaf: Any) -> bool:
            return bool(leaf.ndim) and leaf.shape[0] == size

        if axes and not any(map(batched, jax.tree.leaves(tree))):
            raise CaseError(
                f"mesh {self.case.mesh!r}: splits the batch, and in {what} no array has it, {size}, as its first "
                "dimension: shape it so, or use the axis tensor"
            )
        split, whole = NamedSharding(self.mesh, PartitionSpec(axes)), NamedSharding(self.mesh, PartitionSpec())
        return jax.tree.map(lambda leaf: split if axes and batched(leaf) else whole, tree)

    def _of_state(self, path: tuple[Any, ...], leaf: Any) -> NamedSharding:
        keys = [str(key.key) for key in path if isinstance(key, jax.tree_util.DictKey)]
        dims = list(range(leaf.ndim)) if keys[0] != "rest" else []
        if self.case.layers == "scan" and "stacks" in keys:
            dims = dims[1:]  # not the one that counts layers: a device holds its part of each
        axes: dict[int, str] = {}
        role = next((self.tensor[key] for key in keys if key in self.tensor), None)
        if "tensor" in self.mesh.shape and dims and (role == "column" or (role == "row" and len(dims) > 1)):
            dim = dims.pop(-1 if role == "column" else 0)
            self._check_divides(".".join(keys), leaf.shape[dim])
            axes[dim] = "tensor"
        divisible = [dim for dim in dims if leaf.shape[dim] % self.mesh.shape.get("fsdp", math.inf) == 0]
        if divisible:
            axes[max(divisible, key=lambda dim: leaf.shape[dim])] = "fsdp"
        return NamedSharding(self.mesh, PartitionSpec(*(axes.get(dim) for dim in range(leaf.ndim))))

    def _check_divides(self, name: str, size: int) -> None:
        if size % self.mesh.shape["tensor"]:
            raise CaseError(
                f"mesh {self.case.mesh!r}: {name} has {size} to split, which tensor={self.mesh.shape['tensor']} does "
                "not divide: choose a size that does"
            )


def layout(case: RematCase, devices: Sequence[Any]) -> Layout:
    """The layout of a case over the first of the devices.

    Raises CaseError where there are too few, or the model does not say what tensor parallelism splits.
    """
    sizes = mesh_axes(case.mesh)
    if len(devices) < case.devices:
        raise CaseError(f"mesh {case.mesh!r}: takes {case.devices} devices, and there are {len(devices)} here")
    grid = mesh_utils.create_device_mesh(tuple(sizes.values()), devices[: case.devices], allow_split_physical_axes=True)
    mesh = Mesh(grid, tuple(sizes), axis_types=(AxisType.Auto,) * len(sizes))
    return Layout(case, mesh, models.tensor(case.model) if "tensor" in sizes else {})


def per_device_bytes(shapes: Any) -> int:
    """The bytes of a device's part of all arrays of a pytree of shapes; whole where they are on no mesh."""
    leaves = jax.tree.leaves(shapes)
    parts = (leaf.shape if leaf.sharding is None else leaf.sharding.shard_shape(leaf.shape) for leaf in leaves)
    return sum(math.prod(part) * leaf.dtype.itemsize for part, leaf in zip(parts, leaves, strict=True))
