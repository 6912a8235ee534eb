"""The training states that are saved: trees of arrays from a seed, on the devices of the case; and raw files."""

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


def make(case: CheckpointCase | FaultCase) -> Tree:
    """{"params": {"000": array, ...}}, and Adam's "mu", "nu" and "count" where the case asks for them.

    Each array has size / arrays bytes, as rows of equal length, sharded over the devices by its first axis. Content:
    `random` normal; `trained` normal with a scale for each array, a fifth of the rows never touched (zero) and, in
    nu, the squares: what weights and moments look like after training; `zeros`.
    """
    devices = getattr(case, "devices", 1)
    content = getattr(case, "content", "random")
    rows = 8 * devices
    columns = max(1, case.size // case.arrays // DTYPES[case.dtype] // rows)
    rng = np.random.default_rng(case.seed)
    sharding = sharding_over(devices)

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


def sharding_over(devices: int) -> Any:
    """The first axis over so many devices; on one, that device."""
    found = jax.devices()[:devices]
    if devices == 1:
        return jax.sharding.SingleDeviceSharding(found[0])
    return NamedSharding(Mesh(np.array(found), ("shard",)), PartitionSpec("shard"))


def template(tree: Tree, case: CheckpointCase | FaultCase) -> Tree:
    """Where a restore puts what: as it was, onto half the devices, or the first half of each group's arrays."""
    restore = getattr(case, "restore", "same")
    devices = getattr(case, "devices", 1)
    sharding = sharding_over(devices // 2 if restore == "reshard" else devices)
    if restore == "partial":
        tree = {name: dict(list(group.items())[: -(-len(group) // 2)]) for name, group in tree.items()}
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding), tree)


def total_bytes(tree: Tree) -> int:
    """The bytes of all arrays."""
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


def same_bits(tree: Tree, host: Tree) -> bool:
    """Whether every array of the tree is, bit for bit, the one of that name in the host's copy."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        expected: Any = host
        for key in path:
            expected = expected[key.key]
        found: Any = np.asarray(leaf)
        if found.dtype != expected.dtype or found.shape != expected.shape or found.tobytes() != expected.tobytes():
            return False
    return True


def write_raw(path: Path, arrays: list[np.ndarray]) -> None:
    """One file of all bytes, on the disk when this returns: the least that a save has to do."""
    with path.open("wb", buffering=0) as file:
        for array in arrays:
            left = memoryview(array.reshape(-1).view(np.uint8).data)
            while left:
                left = left[file.write(left) :]
        os.fsync(file.fileno())
    sync_folder(path.parent)


def read_raw(path: Path, arrays: list[np.ndarray]) -> None:
    """All bytes of that file, into arrays that are there already: the least that a restore has to do."""
    with path.open("rb", buffering=0) as file:
        for array in arrays:
            left = memoryview(array.reshape(-1).view(np.uint8).data)
            while left:
                left = left[file.readinto(left) :]


def files(folder: Path) -> Iterator[Path]:
    """Every file below a folder."""
    return (path for path in folder.rglob("*") if path.is_file())


def sync(folder: Path) -> None:
    """Have every file and folder below on the disk: what no library does for all its files."""
    for path in files(folder):
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    for path in (folder, *(p for p in folder.rglob("*") if p.is_dir())):
        sync_folder(path)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def forget(folder: Path) -> None:
    """Have the kernel drop the files below from its page cache, so that they are read from the disk (cold)."""
    for path in files(folder):
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)
