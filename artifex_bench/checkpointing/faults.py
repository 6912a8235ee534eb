"""Damage to stored files, reproducible: FAULTS is the table, for checkpoints of any library. No JAX.

A fault takes one file and a seeded generator, changes the file, and says what it did. It never leaves a file as it was.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

Fault = Callable[[Path, random.Random], str]

BLOCK = 4096  # bytes: what a bad sector or a page that never reached the disk takes away


def files(root: Path) -> list[Path]:
    """Every file below a folder (or the file itself) that has bytes to damage, in a fixed order."""
    if root.is_file():
        return [root] if root.stat().st_size else []
    return sorted(path for path in root.rglob("*") if path.is_file() and path.stat().st_size)


def flip_bit(path: Path, chance: random.Random) -> str:
    """One bit turned over, anywhere."""
    size = path.stat().st_size
    at, bit = chance.randrange(size), chance.randrange(8)
    with path.open("r+b") as file:
        file.seek(at)
        old = file.read(1)[0]
        file.seek(at)
        file.write(bytes([old ^ (1 << bit)]))
    return f"bit {bit} of byte {at} of {size}"


def zero_block(path: Path, chance: random.Random) -> str:
    """A block of zeros in place of what was there: aligned, or the part of it that the file has."""
    data = path.read_bytes()
    spots = [s for s in range(0, len(data), BLOCK) if any(data[s : s + BLOCK])]
    if not spots:  # nothing but zeros: there is no block to lose
        return flip_bit(path, chance)
    start = chance.choice(spots)
    end = min(start + BLOCK, len(data))
    with path.open("r+b") as file:
        file.seek(start)
        file.write(bytes(end - start))
    return f"bytes {start} to {end} of {len(data)} set to zero"


def truncate(path: Path, chance: random.Random) -> str:
    """The end cut off, at a random place."""
    size = path.stat().st_size
    kept = chance.randrange(size)
    os.truncate(path, kept)
    return f"cut from {size} to {kept} bytes"


def delete(path: Path, chance: random.Random) -> str:
    """The file gone."""
    path.unlink()
    return "deleted"


FAULTS: dict[str, Fault] = {
    "flip_bit": flip_bit,
    "zero_block": zero_block,
    "truncate": truncate,
    "delete": delete,
}


def inject(root: Path, fault: str, seed: int, *, by_size: bool = False) -> tuple[Path, str]:
    """Do one fault to one file below `root`; gives the file and what was done.

    The file is chosen evenly, or in proportion to its size with `by_size` (as bad sectors fall). Equal seeds do equal
    damage to equal files. Raises ValueError for an unknown fault or a folder without files.
    """
    if fault not in FAULTS:
        raise ValueError(f"unknown fault {fault!r}: valid are {', '.join(FAULTS)}")
    found = files(root)
    if not found:
        raise ValueError(f"{root} has no file with bytes in it: nothing to damage")
    chance = random.Random(f"{fault}:{seed}")
    weights = [path.stat().st_size for path in found] if by_size else None
    path = chance.choices(found, weights)[0]
    return path, FAULTS[fault](path, chance)


def trials(root: Path, count: int, seed: int = 0) -> Iterator[tuple[str, int]]:
    """(fault, seed) of `count` trials of every fault in the table."""
    for fault in FAULTS:
        for number in range(count):
            yield fault, seed * 1_000_003 + number
