"""How arrays lie on disk: FORMATS is the table of layouts, and `choose_format` the rule behind "auto".

What differs in speed is compression (zstd takes 3 to 5 times the time of writing float arrays plainly and saves a few
per cent) and the number of files: without OCDBT each array is a directory with its own files and is written in
parallel; with OCDBT all arrays share a few files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Format:
    """One layout. `chunk_bytes` bounds the size of a stored chunk; None stores each shard as one chunk."""

    ocdbt: bool
    zarr3: bool
    compression: bool
    chunk_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.chunk_bytes is not None and self.chunk_bytes < 1:
            raise ValueError(f"chunk_bytes {self.chunk_bytes}: must be 1 or more, or None for one chunk a shard")


FORMATS: dict[str, Format] = {
    "zarr2": Format(ocdbt=False, zarr3=False, compression=False),
    "zarr2-zstd": Format(ocdbt=False, zarr3=False, compression=True),
    "zarr3": Format(ocdbt=False, zarr3=True, compression=False),
    "zarr3-zstd": Format(ocdbt=False, zarr3=True, compression=True),
    "ocdbt": Format(ocdbt=True, zarr3=False, compression=False),
    "ocdbt-zstd": Format(ocdbt=True, zarr3=False, compression=True),  # what Orbax does when not told otherwise
    "ocdbt-zarr3": Format(ocdbt=True, zarr3=True, compression=False),
    "ocdbt-zarr3-zstd": Format(ocdbt=True, zarr3=True, compression=True),
}

# Up to this many arrays a directory for each is the faster layout; beyond it the files cost more than they bring
# (docs/figures.md: at 64 arrays either may be the faster, at 256 OCDBT is, at 1000 by half).
MANY_ARRAYS = 100
# A directory's name holds 255 bytes; longer array names need OCDBT, which keeps them inside its own files.
LONGEST_FILE_NAME = 200


def resolve_format(format: str | Format) -> Format | None:
    """The Format of that name, or None for "auto". Raises ValueError, with the valid names, for any other."""
    if isinstance(format, Format):
        return format
    if format == "auto":
        return None
    if format not in FORMATS:
        raise ValueError(f"unknown format {format!r}: valid are auto, {', '.join(FORMATS)}, or a Format")
    return FORMATS[format]


def choose_format(names: Sequence[str]) -> Format:
    """The layout for a training state with these array names: never compressed; many arrays share files (OCDBT).

    `artifex-bench run checkpoint` shows what each layout costs on a machine.
    """
    long = any(len(name.encode()) > LONGEST_FILE_NAME for name in names)
    return FORMATS["ocdbt" if long or len(names) > MANY_ARRAYS else "zarr2"]
