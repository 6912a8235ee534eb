"""What saving costs here: this library, each of its formats and Orbax's defaults against one raw write+fsync.

    python examples/save_speed.py --dir checkpoints --megabytes 512 --arrays 16 --repeat 5

All ways save the same bytes (float32 noise), in turn (A B C A B C …), so that what else the machine does hits all of
them; seconds are from the call until the bytes are committed. A ratio is taken within each turn; its median and range
over the turns are printed. The page cache is warm for the loads: they show the cost of reading and verifying, not the
disk.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp

from artifex_bench.checkpointing import FORMATS, load_tree, save_tree, setup_checkpoint_manager

Tree = dict[str, jax.Array]


def raw_write(folder: Path, tree: Tree) -> None:
    """The machine's limit: one file, written from where the arrays lie, and fsynced."""
    with (folder / "raw").open("wb", buffering=0) as file:
        for array in tree.values():
            view = memoryview(np.asarray(array)).cast("B")
            while view:
                view = view[file.write(view) :]
        os.fsync(file.fileno())


def raw_read(folder: Path, tree: Tree) -> None:
    """The same file read into memory."""
    with (folder / "raw").open("rb", buffering=0) as file:
        for array in tree.values():
            file.readinto(np.empty(array.shape, array.dtype))


def here(format: str, verify: bool | None = None) -> tuple[Callable[[Path, Tree], None], Callable[[Path, Tree], None]]:
    """(save, load) of this library in a format; loads are verified unless told otherwise."""

    def save(folder: Path, tree: Tree) -> None:
        manager, _ = setup_checkpoint_manager(folder, format=format)
        with manager:
            save_tree(manager, 1, tree)

    def load(folder: Path, tree: Tree) -> None:
        manager, _ = setup_checkpoint_manager(folder, read_only=True)
        with manager:
            jax.block_until_ready(load_tree(manager, tree, verify=verify is not False)[0])

    return save, load


def orbax(asynchronous: bool) -> tuple[Callable[[Path, Tree], None], Callable[[Path, Tree], None]]:
    """(save, load) of Orbax as it is when not told otherwise."""
    options = ocp.CheckpointManagerOptions(enable_async_checkpointing=asynchronous)

    def save(folder: Path, tree: Tree) -> None:
        with ocp.CheckpointManager(folder, options=options) as manager:
            manager.save(1, args=ocp.args.StandardSave(tree))

    def load(folder: Path, tree: Tree) -> None:
        with ocp.CheckpointManager(folder, options=options) as manager:
            jax.block_until_ready(manager.restore(1, args=ocp.args.StandardRestore(tree)))

    return save, load


WAYS = {
    "raw write+fsync": (raw_write, raw_read),
    "here (auto)": here("auto"),
    "orbax, sync": orbax(False),
    "orbax, async": orbax(True),
}


def timed(function: Callable[[Path, Tree], None], folder: Path, tree: Tree) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    function(folder, tree)
    return time.perf_counter() - start


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", default=None, help="where to write (a temporary folder)")
    parser.add_argument("--megabytes", type=int, default=512, help="size of the state, in 2**20 bytes")
    parser.add_argument("--arrays", type=int, default=16, help="arrays it is split into")
    parser.add_argument("--repeat", type=int, default=5, help="turns")
    parser.add_argument("--formats", nargs="*", default=[], choices=list(FORMATS), help="formats to measure as well")
    options = parser.parse_args()

    size = options.megabytes * 2**20 // 4 // options.arrays
    chance = np.random.default_rng(0)
    tree = {f"w{i:04}": jax.numpy.asarray(chance.standard_normal(size, np.float32)) for i in range(options.arrays)}
    ways = {**WAYS, **{f"here ({name})": here(name) for name in options.formats}}
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory(dir=options.dir) as root:
        for turn in range(-1, options.repeat):  # the first turn is not counted: it warms up
            for name, (save, load) in ways.items():
                folder = Path(root) / "work"
                folder.mkdir()
                os.sync()  # nobody pays for the one before
                pair = timed(save, folder, tree), timed(load, folder, tree)
                shutil.rmtree(folder)
                if turn >= 0:
                    seconds[name].append(pair)

    print(
        f"{options.megabytes} MiB in {options.arrays} arrays, {options.repeat} turns; ratio to raw: median (least-most)"
    )
    for name, pairs in seconds.items():
        cells = []
        for which in (0, 1):
            ratios = [pair[which] / raw[which] for pair, raw in zip(pairs, seconds["raw write+fsync"], strict=True)]
            took = statistics.median(pair[which] for pair in pairs)
            cells.append(f"{statistics.median(ratios):6.2f} ({min(ratios):.2f}-{max(ratios):.2f}) {took:7.3f} s")
        print(f"{name:24} save {cells[0]:32} load {cells[1]}")
    for name in ("orbax, sync", "orbax, async"):
        ratios = [o[0] / h[0] for o, h in zip(seconds[name], seconds["here (auto)"], strict=True)]
        print(
            f"saving here is {statistics.median(ratios):.2f} x faster than {name} ({min(ratios):.2f}-{max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
