"""Training states to save: trees of arrays from a seed, on the devices of a case. Raw files, and the page cache."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from artifex_bench.core.case import DTYPES, CheckpointCase, FaultCase

Tree = dict[str, Any]


def make_state(case: CheckpointCase | FaultCase) -> Tree:
    """Return ``{"params": {"0000": array, ...}}``, with Adam's ``mu`` and ``nu`` if the case has an optimizer state.

    Each array has `size / arrays` bytes, as rows of equal length, sharded over the devices by its first axis. The
    content `random` is normal. `trained` imitates weights and moments after training: normal with a scale per array, a
    fifth of the rows zero, and squares in ``nu``.
    """
    devices = getattr(case, "devices", 1)
    content = getattr(case, "content", "random")
    rows = 8 * devices
    columns = max(1, case.size // case.arrays // DTYPES[case.dtype] // rows)
    rng = np.random.default_rng(case.seed)
    sharding = make_sharding(devices)

    def array(square: bool = False) -> Any:
        if content == "zeros":
            values = np.zeros((rows, columns), np.float32)
        else:
            values = rng.standard_normal((rows, columns), np.float32)
        if content == "trained":
            values *= np.float32(10 ** rng.uniform(-3, -1))
            values[rng.random(rows) < 0.2] = 0
        if square:
            values *= values
        return jax.device_put(values.astype(jnp.dtype(case.dtype)), sharding)

    def group(square: bool = False) -> Tree:
        return {f"{i:04d}": array(square) for i in range(case.arrays)}

    tree: Tree = {"params": group()}
    if getattr(case, "optimizer_state", False):
        tree |= {"mu": group(), "nu": group(square=True)}
    return jax.block_until_ready(tree)


def make_sharding(devices: int) -> Any:
    """Return the sharding of the first axis over that many devices."""
    mesh = jax.devices()[:devices]
    if devices == 1:
        return jax.sharding.SingleDeviceSharding(mesh[0])
    return NamedSharding(Mesh(np.array(mesh), ("shard",)), PartitionSpec("shard"))


def make_template(tree: Tree, case: CheckpointCase | FaultCase) -> Tree:
    """Return what to restore: the tree as it is, on half of the devices, or the first half of each group's arrays."""
    restore = getattr(case, "restore", "same")
    devices = getattr(case, "devices", 1)
    sharding = make_sharding(devices // 2 if restore == "reshard" else devices)
    if restore == "partial":
        tree = {name: dict(list(group.items())[: -(-len(group) // 2)]) for name, group in tree.items()}
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding), tree)


def count_bytes(tree: Tree) -> int:
    """Return the bytes of all arrays."""
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


def has_equal_bits(tree: Tree, host: Tree) -> bool:
    """Return whether every array of the tree equals the one of its name in the host's copy, bit for bit."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        expected: Any = host
        for key in path:
            expected = expected[key.key]
        array: Any = np.asarray(leaf)
        if array.dtype != expected.dtype or array.shape != expected.shape or array.tobytes() != expected.tobytes():
            return False
    return True


def write_raw(path: Path, arrays: list[np.ndarray]) -> None:
    """Write all bytes to one file and sync it: the least that a save has to do."""
    with path.open("wb", buffering=0) as file:
        for array in arrays:
            left = memoryview(array.reshape(-1).view(np.uint8).data)
            while left:
                left = left[file.write(left) :]
        os.fsync(file.fileno())
    _sync(path.parent)


def read_raw(path: Path, arrays: list[np.ndarray]) -> None:
    """Read that file into existing arrays: the least that a restore has to do."""
    with path.open("rb", buffering=0) as file:
        for array in arrays:
            left = memoryview(array.reshape(-1).view(np.uint8).data)
            while left:
                left = left[file.readinto(left) :]


def list_files(folder: Path) -> Iterator[Path]:
    """Yield every file below a folder."""
    return (path for path in folder.rglob("*") if path.is_file())


def sync_tree(folder: Path) -> None:
    """Write every file and folder below to the disk, because no library does so with all its files."""
    for path in (*list_files(folder), folder, *(p for p in folder.rglob("*") if p.is_dir())):
        _sync(path)


def _sync(path: Path) -> None:
    """Write a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def drop_from_page_cache(folder: Path) -> None:
    """Drop the files below from the kernel's page cache, so that they are read from the disk."""
    for path in list_files(folder):
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def load_into_page_cache(folder: Path) -> None:
    """Read the files below, so that the page cache holds them."""
    for path in list_files(folder):
        path.read_bytes()
