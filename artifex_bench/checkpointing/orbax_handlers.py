"""Orbax checkpoint handlers: one writes a tree in a chosen format, one writes the digests of the step."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import xxhash

from artifex_bench.checkpointing.digests import (
    DIGESTS_ITEM,
    HASH_THREADS,
    MANIFEST_VERSION,
    Region,
    hash_array,
    list_owned_buffers,
)
from artifex_bench.checkpointing.formats import FORMATS, Format
from artifex_bench.checkpointing.step_info import StepInfo
from artifex_bench.checkpointing.tree_leaves import Leaf
from artifex_bench.compat import commit_future, finish_reads_of

# item -> (leaf, (region, its buffer or its digest) of each part that this process saves)
HeldBuffers = Mapping[str, Sequence[tuple[Leaf, list[tuple[Region, np.ndarray | str]]]]]


@dataclass
class TreeSave(ocp.args.PyTreeSave):
    """Orbax's PyTreeSave, with the format to write.

    Attributes:
        format: The format to write.
    """

    format: Format = field(default=FORMATS["zarr2"])


class TreeHandler(ocp.PyTreeCheckpointHandler):
    """Orbax's tree handler, which takes the format from each save instead of from its constructor."""

    def __init__(self) -> None:
        """Start without handlers. One is made for each format when it is first used."""
        super().__init__()
        self._by_format: dict[Format, ocp.PyTreeCheckpointHandler] = {}
        self._used: dict[str, Format] = {}  # by the name of the item's temporary directory

    async def async_save(self, directory: Any, args: TreeSave) -> Any:
        """Save as Orbax does, in the format of `args.format`.

        Args:
            directory: The item's temporary directory.
            args: The tree and its format.

        Returns:
            Orbax's futures, which end when the arrays are written.
        """
        self._used[Path(directory).name] = args.format
        if args.format not in self._by_format:
            self._by_format[args.format] = ocp.PyTreeCheckpointHandler(
                use_ocdbt=args.format.ocdbt,
                use_zarr3=args.format.zarr3,
                use_compression=args.format.compression,
            )
        plain = ocp.args.PyTreeSave(args.item, args.save_args, custom_metadata=args.custom_metadata)
        return await self._by_format[args.format].async_save(directory, args=plain)

    def finalize(self, directory: Any) -> None:
        """Merge the OCDBT files of all processes. Other formats have nothing to merge, and Orbax would warn about them.

        Args:
            directory: The item's temporary directory.
        """
        format = self._used.get(Path(directory).name)
        if format is None:
            super().finalize(directory)
        elif format.ocdbt:
            self._by_format[format].finalize(directory)


ocp.args.register_with_handler(TreeHandler, for_save=True)(TreeSave)


@dataclass
class DigestSave(ocp.args.CheckpointArgs):
    """Arguments of the digests item.

    Attributes:
        step: The step's number.
        items: The leaves of each item.
        info: The fields of the step's StepInfo.
    """

    step: int
    items: Mapping[str, Sequence[Leaf]]
    info: Mapping[str, Any] = field(default_factory=dict)


def add_step_info(args: ocp.args.Composite, step: int, info: StepInfo) -> ocp.args.Composite:
    """Add the StepInfo to the manifest of a step. A manifest is added if the items have none.

    Args:
        args: The items of the step.
        step: The step's number.
        info: The StepInfo to store.

    Returns:
        New arguments with the manifest.
    """
    items = dict(args.items())
    manifest = items.get(DIGESTS_ITEM, DigestSave(step, {}))
    items[DIGESTS_ITEM] = replace(manifest, info=asdict(info))
    return ocp.args.Composite(**items)


@dataclass
class DigestRestore(ocp.args.CheckpointArgs):
    """Arguments to read the text of each process's digest file, unverified."""


class DigestHandler(ocp.AsyncCheckpointHandler):
    """Orbax handler of the digests item, which Orbax renames and commits together with the arrays."""

    async def async_save(self, directory: Any, args: DigestSave) -> list[Any]:
        """Hold the buffers now, and hash them and write this process's file in the background.

        Args:
            directory: The item's temporary directory.
            args: What to write.

        Returns:
            One future, which ends when the file is synced.
        """
        for leaf in (leaf for leaves in args.items.values() for leaf in leaves):
            if isinstance(leaf.value, jax.Array):
                leaf.value.copy_to_host_async()
        held = _hold_all_buffers(args)

        async def write() -> None:
            await asyncio.to_thread(_write_digests, Path(directory), args, held)

        return [commit_future(write(), f"digests_{jax.process_index()}")]

    def save(self, directory: Any, args: DigestSave) -> None:
        """Write this process's file before returning.

        Args:
            directory: The item's temporary directory.
            args: What to write.
        """
        _write_digests(Path(directory), args, _hold_all_buffers(args))

    def restore(self, directory: Any, args: DigestRestore | None = None) -> dict[str, str]:
        """Read the digest files without verifying them.

        Args:
            directory: The item's directory.
            args: Unused.

        Returns:
            The text of each file by its name.
        """
        return {file.name: file.read_text() for file in sorted(Path(directory).glob("process_*"))}


ocp.args.register_with_handler(DigestHandler, for_save=True)(DigestSave)
ocp.args.register_with_handler(DigestHandler, for_restore=True)(DigestRestore)


def make_handler_registry() -> ocp.handlers.DefaultCheckpointHandlerRegistry:
    """Make the registry that a manager needs: this package's handlers beside Orbax's.

    Returns:
        The registry.
    """
    registry = ocp.handlers.DefaultCheckpointHandlerRegistry()
    trees, digests = finish_reads_of(TreeHandler()), DigestHandler()
    registry.add(None, TreeSave, trees)
    registry.add(None, ocp.args.PyTreeRestore, trees)
    registry.add(None, DigestSave, digests)
    registry.add(None, DigestRestore, digests)
    return registry


def _hold_all_buffers(args: DigestSave) -> HeldBuffers:
    return {item: [(leaf, _hold_buffers(leaf)) for leaf in leaves] for item, leaves in args.items.items()}


def _hold_buffers(leaf: Leaf) -> list[tuple[Region, np.ndarray | str]]:
    """Hold the buffers of a jax.Array, or hash those of a numpy array.

    The owner of a numpy array may change it as soon as an asynchronous save returns.
    """
    buffers = list_owned_buffers(leaf)
    if isinstance(leaf.value, jax.Array):
        return list(buffers)
    return [(region, hash_array(buffer)) for region, buffer in buffers]


def _write_digests(directory: Path, args: DigestSave, held: HeldBuffers) -> None:
    """Hash the held buffers in threads, and write and sync this process's file."""
    jobs = [buffer for rows in held.values() for _, regions in rows for _, buffer in regions]
    with ThreadPoolExecutor(HASH_THREADS) as pool:
        results = iter(list(pool.map(lambda b: b if isinstance(b, str) else hash_array(b), jobs)))
    items: dict[str, dict[str, Any]] = {}
    for item, rows in held.items():
        items[item] = {
            leaf.name: {
                "path": leaf.path,
                "kind": leaf.kind,
                "containers": leaf.containers,
                "shape": leaf.shape,
                "dtype": leaf.dtype,
                "stored": leaf.stored,
                "regions": [[region, next(results)] for region, _ in regions],
            }
            for leaf, regions in rows
        }
    document = {
        "info": dict(args.info),  # first, so that it can be read without the rest: see INFO_PREFIX
        "version": MANIFEST_VERSION,
        "step": args.step,
        "process": jax.process_index(),
        "processes": jax.process_count(),
        "items": items,
    }
    body = json.dumps(document, separators=(",", ":"))
    with (directory / f"process_{jax.process_index()}.txt").open("w") as file:
        file.write(f"xxh3_128 {xxhash.xxh3_128_hexdigest(body.encode())}\n{body}")
        file.flush()
        os.fsync(file.fileno())
