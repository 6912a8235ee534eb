"""Formats of arrays on disk: the table FORMATS, and the rule of format "auto".

Two things decide the speed. Compression with zstd takes 3 to 5 times as long as writing float arrays uncompressed, and
saves a few per cent of the bytes. Without OCDBT each array is a directory with files of its own, written in parallel;
with OCDBT all arrays share a few files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from artifex_bench.checkpointing.errors import make_unknown_name_error


@dataclass(frozen=True)
class Format:
    """One format of arrays on disk.

    Attributes:
        ocdbt: Store all arrays in a few shared files.
        zarr3: Use zarr version 3 instead of 2.
        compression: Compress with zstd.
        chunk_bytes: Largest size of a stored chunk in bytes. None stores each shard as one chunk.
    """

    ocdbt: bool
    zarr3: bool
    compression: bool
    chunk_bytes: int | None = None

    def __post_init__(self) -> None:
        """Check `chunk_bytes`.

        Raises:
            ValueError: If it is below 1.
        """
        if self.chunk_bytes is not None and self.chunk_bytes < 1:
            raise ValueError(f"chunk_bytes {self.chunk_bytes}: must be 1 or more, or None for one chunk per shard")


FORMATS: dict[str, Format] = {
    "zarr2": Format(ocdbt=False, zarr3=False, compression=False),
    "zarr2-zstd": Format(ocdbt=False, zarr3=False, compression=True),
    "zarr3": Format(ocdbt=False, zarr3=True, compression=False),
    "zarr3-zstd": Format(ocdbt=False, zarr3=True, compression=True),
    "ocdbt": Format(ocdbt=True, zarr3=False, compression=False),
    "ocdbt-zstd": Format(ocdbt=True, zarr3=False, compression=True),  # Orbax's default
    "ocdbt-zarr3": Format(ocdbt=True, zarr3=True, compression=False),
    "ocdbt-zarr3-zstd": Format(ocdbt=True, zarr3=True, compression=True),
}

# Up to this many arrays, one directory per array is faster. Beyond it, opening the files costs more than writing them
# in parallel saves (docs/figures.md: at 64 arrays either may be faster, at 256 OCDBT is, at 1000 by half).
MANY_ARRAYS = 100
# A directory's name holds 255 bytes. Longer array names need OCDBT, which keeps them inside its own files.
LONGEST_FILE_NAME = 200


def resolve_format(format: str | Format) -> Format | None:
    """Look up a format.

    Args:
        format: "auto", a name in FORMATS, or a Format.

    Returns:
        The Format, or None for "auto".

    Raises:
        ValueError: If the name is unknown.
    """
    if isinstance(format, Format):
        return format
    if format == "auto":
        return None
    if format not in FORMATS:
        raise make_unknown_name_error("format", format, ["auto", *FORMATS])
    return FORMATS[format]


def choose_format(names: Sequence[str]) -> Format:
    """Choose the format for "auto": uncompressed, and OCDBT for many arrays or long names.

    `artifex-bench run checkpoint` measures every format on your machine.

    Args:
        names: The stored names of the arrays.

    Returns:
        The "ocdbt" or the "zarr2" format.
    """
    long = any(len(name.encode()) > LONGEST_FILE_NAME for name in names)
    return FORMATS["ocdbt" if long or len(names) > MANY_ARRAYS else "zarr2"]
