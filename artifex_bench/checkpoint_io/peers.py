"""Savers of other libraries: one process, host memory. Each is written as the library's documentation shows it."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import jax
import numpy as np


def _copy_to_host(tree: Any) -> dict[str, np.ndarray]:
    """Return {path: array in host memory}. On a CPU device an array is a view of the device's buffer."""
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _place_on_devices(arrays: dict[str, Any], template: Any) -> Any:
    """Return the arrays as the template's tree, with its shardings. Raises ValueError if a shape or dtype differs."""
    leaves, treedef = jax.tree_util.tree_flatten_with_path(template)
    values = [np.asarray(arrays[jax.tree_util.keystr(path)]) for path, _ in leaves]
    for value, (path, leaf) in zip(values, leaves, strict=True):
        if (value.shape, value.dtype) != (leaf.shape, leaf.dtype):
            raise ValueError(
                f"{jax.tree_util.keystr(path)} is {value.dtype}{value.shape}, not {leaf.dtype}{leaf.shape}"
            )
    placed = [jax.device_put(v, leaf.sharding) for v, (_, leaf) in zip(values, leaves, strict=True)]
    return jax.tree_util.tree_unflatten(treedef, placed)


class _SyncSaver:
    """A saver of arrays in host memory. Its save is committed when the call returns."""

    file_name = "state"

    def __init__(self, case: Any, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / self.file_name

    def save(self, tree: Any) -> None:
        self.write_arrays(_copy_to_host(tree))

    def wait(self) -> None:
        """The save is committed already."""

    def done(self) -> bool:
        return True

    def restore(self, template: Any) -> Any:
        return _place_on_devices(self.read_arrays(template), template)

    def close(self) -> None:
        """Nothing is open."""

    def write_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        raise NotImplementedError

    def read_arrays(self, template: Any) -> dict[str, Any]:
        raise NotImplementedError


class Safetensors(_SyncSaver):
    """`safetensors.numpy`."""

    file_name = "state.safetensors"

    def write_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        from safetensors.numpy import save_file

        save_file({name: _as_bits(array) for name, array in arrays.items()}, self._path)

    def read_arrays(self, template: Any) -> dict[str, Any]:
        from safetensors.numpy import load_file

        return _from_bits(load_file(self._path), template)


class Npz(_SyncSaver):
    """`numpy.savez`."""

    file_name = "state.npz"

    def write_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        np.savez(self._path, **{name: _as_bits(array) for name, array in arrays.items()})  # type: ignore[arg-type]

    def read_arrays(self, template: Any) -> dict[str, Any]:
        with np.load(self._path) as stored:
            return _from_bits(dict(stored), template)


class Pickle(_SyncSaver):
    """`pickle`, protocol 5."""

    file_name = "state.pickle"

    def write_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        with self._path.open("wb") as file:
            pickle.dump(arrays, file, protocol=5)

    def read_arrays(self, template: Any) -> dict[str, Any]:
        with self._path.open("rb") as file:
            arrays: dict[str, Any] = pickle.load(file)
        return arrays


class Msgpack(_SyncSaver):
    """`flax.serialization`."""

    file_name = "state.msgpack"

    def write_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        from flax import serialization

        self._path.write_bytes(serialization.msgpack_serialize(arrays))

    def read_arrays(self, template: Any) -> dict[str, Any]:
        from flax import serialization

        arrays: dict[str, Any] = serialization.msgpack_restore(self._path.read_bytes())
        return arrays


class Torch(_SyncSaver):
    """`torch.save`."""

    file_name = "state.pt"

    def write_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        import torch

        torch.save(_to_tensors(arrays), self._path)

    def read_arrays(self, template: Any) -> dict[str, Any]:
        import torch

        stored = torch.load(self._path, weights_only=True)
        return _from_bits({name: tensor.numpy() for name, tensor in stored.items()}, template)


class TorchDcp(_SyncSaver):
    """`torch.distributed.checkpoint` in one process."""

    def write_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        import torch.distributed.checkpoint as dcp

        dcp.save(_to_tensors(arrays), checkpoint_id=str(self._path), no_dist=True)

    def read_arrays(self, template: Any) -> dict[str, Any]:
        import torch.distributed.checkpoint as dcp
        from torch.distributed.checkpoint.api import CheckpointException

        leaves = jax.tree_util.tree_leaves_with_path(template)
        blank = {jax.tree_util.keystr(path): np.empty(leaf.shape, leaf.dtype) for path, leaf in leaves}
        tensors = _to_tensors(blank)
        try:
            dcp.load(tensors, checkpoint_id=str(self._path), no_dist=True)
        except CheckpointException as error:  # a BaseException, which `except Exception` lets pass
            raise RuntimeError(f"torch DCP cannot read {self._path}") from error
        return _from_bits({name: tensor.numpy() for name, tensor in tensors.items()}, template)


def _to_tensors(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    import torch

    return {name: torch.from_numpy(_as_bits(array)) for name, array in arrays.items()}


def _as_bits(array: np.ndarray) -> np.ndarray:
    """Return a bfloat16 array as 16-bit integers, because numpy's file formats have no bfloat16; others unchanged."""
    return array.view(np.int16) if array.dtype.name == "bfloat16" else array


def _from_bits(arrays: dict[str, Any], template: Any) -> dict[str, Any]:
    """Return the arrays, those as bfloat16 that are bfloat16 in the template."""
    dtypes = {jax.tree_util.keystr(p): leaf.dtype for p, leaf in jax.tree_util.tree_leaves_with_path(template)}
    return {
        name: a.view(dtypes[name]) if dtypes.get(name) is not None and dtypes[name].name == "bfloat16" else a
        for name, a in arrays.items()
    }
