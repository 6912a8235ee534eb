"""Compare the time to save and load a checkpoint: this library, its formats, Orbax's defaults, one raw write and fsync.

    python examples/save_speed.py --dir checkpoints --megabytes 512 --arrays 16 --repeat 5

All ways save the same bytes (float32 noise). They take turns (A B C A B C …), so that other load on the machine affects
all of them. The time of a save ends when the bytes are committed. Ratios are to the raw write or read of the same
round. The table shows their median and range over the rounds. Loads find the file in the page cache, so they show the
cost of reading and verifying, and not of the disk.
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
Way = tuple[Callable[[Path, Tree], None], Callable[[Path, Tree], None]]  # (save, load)


def write_raw(folder: Path, tree: Tree) -> None:
    """Write the arrays into one file without a copy, and fsync it: the machine's limit."""
    with (folder / "raw").open("wb", buffering=0) as file:
        for array in tree.values():
            view = memoryview(np.asarray(array)).cast("B")
            while view:
                view = view[file.write(view) :]
        os.fsync(file.fileno())


def read_raw(folder: Path, tree: Tree) -> None:
    """Read the file of `write_raw` into memory."""
    with (folder / "raw").open("rb", buffering=0) as file:
        for array in tree.values():
            file.readinto(np.empty(array.shape, array.dtype))


def make_library_way(format: str) -> Way:
    """Return (save, load) of this library in a format. Loads are verified."""

    def save(folder: Path, tree: Tree) -> None:
        manager, _ = setup_checkpoint_manager(folder, format=format)
        with manager:
            save_tree(manager, 1, tree)

    def load(folder: Path, tree: Tree) -> None:
        manager, _ = setup_checkpoint_manager(folder, read_only=True)
        with manager:
            jax.block_until_ready(load_tree(manager, tree, verify=True)[0])

    return save, load


def make_orbax_way(asynchronous: bool) -> Way:
    """Return (save, load) of Orbax with its default options."""
    options = ocp.CheckpointManagerOptions(enable_async_checkpointing=asynchronous)

    def save(folder: Path, tree: Tree) -> None:
        with ocp.CheckpointManager(folder, options=options) as manager:
            manager.save(1, args=ocp.args.StandardSave(tree))

    def load(folder: Path, tree: Tree) -> None:
        with ocp.CheckpointManager(folder, options=options) as manager:
            jax.block_until_ready(manager.restore(1, args=ocp.args.StandardRestore(tree)))

    return save, load


WAYS = {
    "raw write+fsync": (write_raw, read_raw),
    "artifex (auto)": make_library_way("auto"),
    "orbax, sync": make_orbax_way(False),
    "orbax, async": make_orbax_way(True),
}


def time_call(function: Callable[[Path, Tree], None], folder: Path, tree: Tree) -> float:
    """Return the seconds that one call takes."""
    start = time.perf_counter()
    function(folder, tree)
    return time.perf_counter() - start


def main() -> None:
    """Measure all ways and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", default=None, help="folder to write in (default: the system's temporary folder)")
    parser.add_argument("--megabytes", type=int, default=512, help="size of the checkpoint in MiB")
    parser.add_argument("--arrays", type=int, default=16, help="number of arrays")
    parser.add_argument("--repeat", type=int, default=5, help="number of rounds")
    parser.add_argument("--formats", nargs="*", default=[], choices=list(FORMATS), help="more formats to measure")
    options = parser.parse_args()

    size = options.megabytes * 2**20 // 4 // options.arrays
    generator = np.random.default_rng(0)
    tree = {f"w{i:04}": jax.numpy.asarray(generator.standard_normal(size, np.float32)) for i in range(options.arrays)}
    ways = {**WAYS, **{f"artifex ({name})": make_library_way(name) for name in options.formats}}
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory(dir=options.dir) as root:
        for round in range(-1, options.repeat):  # round -1 warms up and is not counted
            for name, (save, load) in ways.items():
                folder = Path(root) / "work"
                folder.mkdir()
                os.sync()  # else the bytes of the previous way would slow this one down
                pair = time_call(save, folder, tree), time_call(load, folder, tree)
                shutil.rmtree(folder)
                if round >= 0:
                    seconds[name].append(pair)

    print(
        f"{options.megabytes} MiB in {options.arrays} arrays, {options.repeat} rounds; "
        "ratio to raw: median (minimum-maximum), median seconds"
    )
    for name, pairs in seconds.items():
        cells = []
        for phase in (0, 1):
            ratios = [pair[phase] / raw[phase] for pair, raw in zip(pairs, seconds["raw write+fsync"], strict=True)]
            median = statistics.median(pair[phase] for pair in pairs)
            cells.append(f"{statistics.median(ratios):6.2f} ({min(ratios):.2f}-{max(ratios):.2f}) {median:7.3f} s")
        print(f"{name:24} save {cells[0]:32} load {cells[1]}")
    for name in ("orbax, sync", "orbax, async"):
        ratios = [orbax[0] / auto[0] for orbax, auto in zip(seconds[name], seconds["artifex (auto)"], strict=True)]
        print(
            f"{name} takes {statistics.median(ratios):.2f} x as long to save as artifex (auto) "
            f"({min(ratios):.2f}-{max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
