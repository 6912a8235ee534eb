"""Reproducible damage to stored files: the table FAULTS, for checkpoints of any library. Imports no JAX.

A fault takes a file and a seeded generator, changes the file, and returns a description. It always changes something.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

from artifex_bench.checkpointing.errors import make_unknown_name_error

Fault = Callable[[Path, random.Random], str]

BLOCK = 4096  # bytes that are lost with a bad sector, or with a page that never reached the disk


def list_files(root: Path) -> list[Path]:
    """List the files below a folder that have bytes to damage.

    Args:
        root: A folder, or one file.

    Returns:
        The files, sorted by path. For a file, the file itself.
    """
    if root.is_file():
        return [root] if root.stat().st_size else []
    return sorted(path for path in root.rglob("*") if path.is_file() and path.stat().st_size)


def flip_bit(path: Path, chance: random.Random) -> str:
    """Flip one random bit.

    Args:
        path: The file, of 1 byte or more.
        chance: The random numbers.

    Returns:
        The bit's position in words.
    """
    size = path.stat().st_size
    at, bit = chance.randrange(size), chance.randrange(8)
    with path.open("r+b") as file:
        file.seek(at)
        old = file.read(1)[0]
        file.seek(at)
        file.write(bytes([old ^ (1 << bit)]))
    return f"bit {bit} of byte {at} of {size}"


def zero_block(path: Path, chance: random.Random) -> str:
    """Overwrite one random aligned block of BLOCK bytes with zeros. If all bytes are zero, flip a bit instead.

    Args:
        path: The file, of 1 byte or more.
        chance: The random numbers.

    Returns:
        The range of bytes in words.
    """
    data = path.read_bytes()
    spots = [s for s in range(0, len(data), BLOCK) if any(data[s : s + BLOCK])]
    if not spots:  # zeroing a block of zeros would change nothing
        return flip_bit(path, chance)
    start = chance.choice(spots)
    end = min(start + BLOCK, len(data))
    with path.open("r+b") as file:
        file.seek(start)
        file.write(bytes(end - start))
    return f"bytes {start} to {end} of {len(data)} set to zero"


def truncate_file(path: Path, chance: random.Random) -> str:
    """Cut the file off at a random place.

    Args:
        path: The file, of 1 byte or more.
        chance: The random numbers.

    Returns:
        Both sizes in words.
    """
    size = path.stat().st_size
    kept = chance.randrange(size)
    os.truncate(path, kept)
    return f"cut from {size} to {kept} bytes"


def delete_file(path: Path, chance: random.Random) -> str:
    """Delete the file.

    Args:
        path: The file.
        chance: Unused.

    Returns:
        "deleted".
    """
    path.unlink()
    return "deleted"


FAULTS: dict[str, Fault] = {
    "flip_bit": flip_bit,
    "zero_block": zero_block,
    "truncate": truncate_file,
    "delete": delete_file,
}


def inject_fault(root: Path, fault: str, seed: int, *, by_size: bool = False) -> tuple[Path, str]:
    """Apply one fault to one file below a folder. Equal seeds do equal damage to equal files.

    Args:
        root: A folder, or one file.
        fault: A name in FAULTS.
        seed: The seed of the random choices.
        by_size: Choose the file in proportion to its size, as bad sectors do, rather than evenly.

    Returns:
        (the damaged file, the damage in words).

    Raises:
        ValueError: If the fault is unknown, or no file has bytes to damage.
    """
    if fault not in FAULTS:
        raise make_unknown_name_error("fault", fault, FAULTS)
    files = list_files(root)
    if not files:
        raise ValueError(f"{root} has no file with bytes to damage: choose the folder of a checkpoint")
    chance = random.Random(f"{fault}:{seed}")
    weights = [path.stat().st_size for path in files] if by_size else None
    path = chance.choices(files, weights)[0]
    return path, FAULTS[fault](path, chance)


def list_trials(count: int, seed: int = 0) -> Iterator[tuple[str, int]]:
    """Iterate over trials of every fault in the table.

    Args:
        count: Number of trials per fault.
        seed: Seed of the whole series.

    Yields:
        (fault, seed) for `inject_fault`.
    """
    for fault in FAULTS:
        for number in range(count):
            yield fault, seed * 1_000_003 + number
