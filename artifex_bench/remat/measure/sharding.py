"""A program over a mesh of devices: along which axes of the mesh each of its arrays is split.

Only the shardings of parameters, optimizer state, batch and activations between layers are given here. XLA partitions
the program accordingly (GSPMD, Xu et al. 2021, arXiv:2105.04663).

``data`` splits the batch. ``fsdp`` splits the batch, the parameters and the optimizer state (Rajbhandari 2020,
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
    """How the arrays of a case are split over its mesh.

    Attributes:
        case: The case.
        mesh: Its mesh.
        tensor: {name of a module: ``column`` or ``row``}, as `models.load_tensor_split` returns it.
    """

    case: RematCase
    mesh: Mesh
    tensor: Mapping[str, str]

    def find_shardings(self, arrays: tuple[Any, Any]) -> tuple[Any, Any]:
        """Return the shardings of (state, batch), as trees like theirs.

        Raises:
            CaseError: The mesh does not divide an array that it must split.
        """
        state, batch = arrays
        return jax.tree_util.tree_map_with_path(self._shard_state, state), self._shard_batch(batch, "its batch")

    def find_result_shardings(self, state: Any) -> tuple[Any, Any]:
        """Return the shardings of a timed function's results, the new state or the gradients, from those of a state."""
        shardings = jax.tree.map(lambda leaf: leaf.sharding, state)
        return (shardings, None) if self.case.step == "train" else (None, shardings["params"])

    def constrain_activations(self, x: Any) -> Any:
        """Return the activations between two layers, split by batch alone."""
        return jax.lax.with_sharding_constraint(x, self._shard_batch(x, "the activations between layers"))

    def place_arrays(self, arrays: tuple[Any, Any]) -> tuple[Any, Any]:
        """Return (state, batch), or their shapes, with their shardings. Raises as `find_shardings`."""

        def place_leaf(leaf: Any, sharding: NamedSharding) -> Any:
            if isinstance(leaf, jax.ShapeDtypeStruct):
                return leaf.update(sharding=sharding)
            return jax.device_put(leaf, sharding)

        return jax.tree.map(place_leaf, arrays, self.find_shardings(arrays))

    def _shard_batch(self, tree: Any, what: str) -> Any:
        axes = tuple(axis for axis in ("data", "fsdp") if axis in self.mesh.shape)
        size = self.case.batch

        def has_batch(leaf: Any) -> bool:
            return bool(leaf.ndim) and leaf.shape[0] == size

        if axes and not any(map(has_batch, jax.tree.leaves(tree))):
            raise CaseError(
                f"mesh {self.case.mesh!r}: splits the batch, but no array of {what} has its size, {size}, as first "
                "dimension: shape it so, or use the axis tensor"
            )
        split, whole = NamedSharding(self.mesh, PartitionSpec(axes)), NamedSharding(self.mesh, PartitionSpec())
        return jax.tree.map(lambda leaf: split if axes and has_batch(leaf) else whole, tree)

    def _shard_state(self, path: tuple[Any, ...], leaf: Any) -> NamedSharding:
        keys = [str(key.key) for key in path if isinstance(key, jax.tree_util.DictKey)]
        dims = list(range(leaf.ndim)) if keys[0] != "rest" else []
        if self.case.layers == "scan" and "stacks" in keys:
            dims = dims[1:]  # the first dimension counts layers: each device holds its part of every layer
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
        split = self.mesh.shape["tensor"]
        if size % split:
            raise CaseError(
                f"mesh {self.case.mesh!r}: the size of {name}, {size}, is not divisible by tensor={split}: choose a "
                "multiple"
            )


def make_layout(case: RematCase, devices: Sequence[Any]) -> Layout:
    """Make the layout of a case over the first of the devices.

    Raises:
        CaseError: There are too few devices, or the model does not say what tensor parallelism splits.
    """
    sizes = mesh_axes(case.mesh)
    if len(devices) < case.devices:
        raise CaseError(f"mesh {case.mesh!r}: needs {case.devices} devices, and this target has {len(devices)}")
    grid = mesh_utils.create_device_mesh(tuple(sizes.values()), devices[: case.devices], allow_split_physical_axes=True)
    mesh = Mesh(grid, tuple(sizes), axis_types=(AxisType.Auto,) * len(sizes))
    return Layout(case, mesh, models.load_tensor_split(case.model) if "tensor" in sizes else {})


def count_device_bytes(shapes: Any) -> int:
    """Count the bytes of one device's part of a pytree of shapes; all of them if they have no sharding."""
    leaves = jax.tree.leaves(shapes)
    parts = (leaf.shape if leaf.sharding is None else leaf.sharding.shard_shape(leaf.shape) for leaf in leaves)
    return sum(math.prod(part) * leaf.dtype.itemsize for part, leaf in zip(parts, leaves, strict=True))
