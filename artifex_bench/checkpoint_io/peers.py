"""Savers of other libraries: one process, one call, host memory. Each is written as its documentation shows it."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import jax
import numpy as np


def _flat(tree: Any) -> dict[str, np.ndarray]:
    """{path: array in host memory}: a view of the device's buffer where the device is the CPU."""
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _placed(arrays: dict[str, Any], template: Any) -> Any:
    """The arrays put where the template says, as its tree."""
    leaves, treedef = jax.tree_util.tree_flatten_with_path(template)
    values = [np.asarray(arrays[jax.tree_util.keystr(path)]) for path, _ in leaves]
    for value, (path, leaf) in zip(values, leaves, strict=True):
        if (value.shape, value.dtype) != (leaf.shape, leaf.dtype):
            raise ValueError(
                f"{jax.tree_util.keystr(path)} is {value.dtype}{value.shape}, not {leaf.dtype}{leaf.shape}"
            )
    placed = [jax.device_put(v, leaf.sharding) for v, (_, leaf) in zip(values, leaves, strict=True)]
    return jax.tree_util.tree_unflatten(treedef, placed)


class _OneCall:
    """What these savers share: a save is over when the call returns."""

    name = "state"

    def __init__(self, case: Any, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / self.name

    def save(self, tree: Any) -> None:
        self.write(_flat(tree))

    def wait(self) -> None:
        """Over already."""

    def done(self) -> bool:
        return True

    def restore(self, template: Any) -> Any:
        return _placed(self.read(template), template)

    def close(self) -> None:
        """Nothing is held open."""

    def write(self, arrays: dict[str, np.ndarray]) -> None:
        raise NotImplementedError

    def read(self, template: Any) -> dict[str, Any]:
        raise NotImplementedError


class Safetensors(_OneCall):
    name = "state.safetensors"

    def write(self, arrays: dict[str, np.ndarray]) -> None:
        from safetensors.numpy import save_file

        save_file({name: _as_bits(array) for name, array in arrays.items()}, self._path)

    def read(self, template: Any) -> dict[str, Any]:
        from safetensors.numpy import load_file

        return _from_bits(load_file(self._path), template)


class Npz(_OneCall):
    name = "state.npz"

    def write(self, arrays: dict[str, np.ndarray]) -> None:
        np.savez(self._path, **{name: _as_bits(array) for name, array in arrays.items()})  # type: ignore[arg-type]

    def read(self, template: Any) -> dict[str, Any]:
        with np.load(self._path) as stored:
            return _from_bits(dict(stored), template)


class Pickle(_OneCall):
    name = "state.pickle"

    def write(self, arrays: dict[str, np.ndarray]) -> None:
        with self._path.open("wb") as file:
            pickle.dump(arrays, file, protocol=5)

    def read(self, template: Any) -> dict[str, Any]:
        with self._path.open("rb") as file:
            found: dict[str, Any] = pickle.load(file)
        return found


class Msgpack(_OneCall):
    name = "state.msgpack"

    def write(self, arrays: dict[str, np.ndarray]) -> None:
        from flax import serialization

        self._path.write_bytes(serialization.msgpack_serialize(arrays))

    def read(self, template: Any) -> dict[str, Any]:
        from flax import serialization

        found: dict[str, Any] = serialization.msgpack_restore(self._path.read_bytes())
        return found


class Torch(_OneCall):
    name = "state.pt"

    def write(self, arrays: dict[str, np.ndarray]) -> None:
        import torch

        torch.save(_tensors(arrays), self._path)

    def read(self, template: Any) -> dict[str, Any]:
        import torch

        stored = torch.load(self._path, weights_only=True)
        return _from_bits({name: tensor.numpy() for name, tensor in stored.items()}, template)


class TorchDcp(_OneCall):
    def write(self, arrays: dict[str, np.ndarray]) -> None:
        import torch.distributed.checkpoint as dcp

        dcp.save(_tensors(arrays), checkpoint_id=str(self._path), no_dist=True)

    def read(self, template: Any) -> dict[str, Any]:
        import torch.distributed.checkpoint as dcp
        from torch.distributed.checkpoint.api import CheckpointException

        leaves = jax.tree_util.tree_leaves_with_path(template)
        blank = {jax.tree_util.keystr(path): np.empty(leaf.shape, leaf.dtype) for path, leaf in leaves}
        tensors = _tensors(blank)
        try:
            dcp.load(tensors, checkpoint_id=str(self._path), no_dist=True)
        except CheckpointException as error:  # no Exception: it would get past whoever handles those
            raise RuntimeError(f"torch DCP cannot read {self._path}") from error
        return _from_bits({name: tensor.numpy() for name, tensor in tensors.items()}, template)


def _tensors(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    import torch

    return {name: torch.from_numpy(_as_bits(array)) for name, array in arrays.items()}


def _as_bits(array: np.ndarray) -> np.ndarray:
    """bfloat16, which numpy's own formats do not know, as 16-bit integers; a copy where the array is read-only."""
    return array.view(np.int16) if array.dtype.name == "bfloat16" else array


def _from_bits(arrays: dict[str, Any], template: Any) -> dict[str, Any]:
    dtypes = {jax.tree_util.keystr(p): leaf.dtype for p, leaf in jax.tree_util.tree_leaves_with_path(template)}
    return {
        name: a.view(dtypes[name]) if dtypes.get(name) is not None and dtypes[name].name == "bfloat16" else a
        for name, a in arrays.items()
    }
