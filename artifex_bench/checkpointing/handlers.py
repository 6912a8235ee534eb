"""The two seams into Orbax: how a tree is written in a chosen layout, and how its digests are written with it."""

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

from artifex_bench.checkpointing.digests import ITEM, THREADS, VERSION, Region, digest, owned_buffers
from artifex_bench.checkpointing.formats import FORMATS, Format
from artifex_bench.checkpointing.leaves import Leaf
from artifex_bench.checkpointing.step_info import StepInfo
from artifex_bench.compat import commit_future, finish_reads_of


def handler(format: Format) -> ocp.PyTreeCheckpointHandler:
    """Orbax's handler that writes this layout (every one reads all layouts)."""
    return ocp.PyTreeCheckpointHandler(
        use_ocdbt=format.ocdbt, use_zarr3=format.zarr3, use_compression=format.compression
    )


@dataclass
class TreeSave(ocp.args.PyTreeSave):
    """Orbax's PyTreeSave with the layout to write."""

    format: Format = field(default=FORMATS["zarr2"])


class TreeHandler(ocp.PyTreeCheckpointHandler):
    """Orbax's tree handler, one for each layout, chosen by what is saved."""

    def __init__(self) -> None:
        super().__init__()
        self._by_format: dict[Format, ocp.PyTreeCheckpointHandler] = {}
        self._used: dict[str, Format] = {}  # by the name of the item's temporary directory

    async def async_save(self, directory: Any, args: TreeSave) -> Any:
        """Save as Orbax does, in the layout of `args.format`."""
        self._used[Path(directory).name] = args.format
        chosen = self._by_format.setdefault(args.format, handler(args.format))
        plain = ocp.args.PyTreeSave(args.item, args.save_args, custom_metadata=args.custom_metadata)
        return await chosen.async_save(directory, args=plain)

    def finalize(self, directory: Any) -> None:
        """Merge the OCDBT files of the processes; other layouts have nothing to merge (and Orbax would warn so)."""
        format = self._used.get(Path(directory).name)
        if format is None:
            super().finalize(directory)
        elif format.ocdbt:
            self._by_format[format].finalize(directory)


ocp.args.register_with_handler(TreeHandler, for_save=True)(TreeSave)


@dataclass
class DigestSave(ocp.args.CheckpointArgs):
    """What Orbax is asked to save as the digests item: the step, each item's leaves, and what its StepInfo says."""

    step: int
    items: Mapping[str, Sequence[Leaf]]
    info: Mapping[str, Any] = field(default_factory=dict)


def with_info(args: ocp.args.Composite, step: int, info: StepInfo) -> ocp.args.Composite:
    """The items of a step and its manifest, which holds the StepInfo whether the items have digests or not."""
    items = dict(args.items())
    manifest = items.get(ITEM, DigestSave(step, {}))
    items[ITEM] = replace(manifest, info=asdict(info))
    return ocp.args.Composite(**items)


@dataclass
class DigestRestore(ocp.args.CheckpointArgs):
    """Asks Orbax for the digests item; gives the text of each process's file, unverified."""


class DigestHandler(ocp.AsyncCheckpointHandler):
    """Orbax's seam for an item of one's own: written in the step's temporary directory, renamed with it."""

    async def async_save(self, directory: Any, args: DigestSave) -> list[Any]:
        """Take hold of the buffers now; hash them and write this process's file in the background."""
        for leaf in (leaf for leaves in args.items.values() for leaf in leaves):
            if isinstance(leaf.value, jax.Array):
                leaf.value.copy_to_host_async()
        held = {item: [(leaf, _hold(leaf)) for leaf in leaves] for item, leaves in args.items.items()}

        async def write() -> None:
            await asyncio.to_thread(_write, Path(directory), args, held)

        name = f"digests_{jax.process_index()}"
        return [commit_future(write(), name)]

    def save(self, directory: Any, args: DigestSave) -> None:
        """The same, waited for."""
        _write(Path(directory), args, {i: [(x, _hold(x)) for x in leaves] for i, leaves in args.items.items()})

    def restore(self, directory: Any, args: DigestRestore | None = None) -> dict[str, str]:
        """The files' text by name."""
        return {file.name: file.read_text() for file in sorted(Path(directory).glob("process_*"))}


ocp.args.register_with_handler(DigestHandler, for_save=True)(DigestSave)
ocp.args.register_with_handler(DigestHandler, for_restore=True)(DigestRestore)


def registry() -> ocp.handlers.DefaultCheckpointHandlerRegistry:
    """Orbax's handlers and ours."""
    found = ocp.handlers.DefaultCheckpointHandlerRegistry()
    trees, digests = finish_reads_of(TreeHandler()), DigestHandler()
    found.add(None, TreeSave, trees)
    found.add(None, ocp.args.PyTreeRestore, trees)
    found.add(None, DigestSave, digests)
    found.add(None, DigestRestore, digests)
    return found


def _hold(leaf: Leaf) -> list[tuple[Region, np.ndarray | str]]:
    buffers = owned_buffers(leaf)
    if isinstance(leaf.value, jax.Array):
        return list(buffers)
    # A numpy array may be changed by its owner as soon as an asynchronous save returns: hash it before.
    return [(region, digest(buffer)) for region, buffer in buffers]


def _write(directory: Path, args: DigestSave, held: Mapping[str, Sequence[tuple[Leaf, list[Any]]]]) -> None:
    jobs = [buffer for rows in held.values() for _, regions in rows for _, buffer in regions]
    with ThreadPoolExecutor(THREADS) as pool:
        results = iter(list(pool.map(lambda b: b if isinstance(b, str) else digest(b), jobs)))
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
        "info": dict(args.info),  # first: see INFO
        "version": VERSION,
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
