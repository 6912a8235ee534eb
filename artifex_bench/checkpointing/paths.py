"""The directory that checkpoints go to: a local path that every library below writes to as it is given. No JAX.

TensorStore takes a backslash for a slash; Orbax takes `gs:` anywhere in a path for a bucket, and * ? [ for a pattern
when it merges the files of OCDBT. Arrays would land in another folder than their metadata, or in none: such paths are
refused before anything is written.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from artifex_bench.checkpointing.errors import (
    CheckpointError,
    CheckpointNotFoundError,
    CheckpointPermissionError,
    UnsupportedPathError,
    is_denied,
)

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")  # Path("s3://bucket") has the component "s3:"


def local_path(path: str | os.PathLike[str]) -> Path:
    """The absolute path, with `~` expanded. Raises UnsupportedPathError for what is no local path."""

    def refused(why: str) -> UnsupportedPathError:
        return UnsupportedPathError(f"directory {path!r} {why}: give the path of a local directory")

    try:
        text = os.fspath(path)
    except TypeError:
        raise refused("is no path") from None
    if not isinstance(text, str) or not text:
        raise refused("is no path" if text else "is empty")
    try:
        absolute = Path(text).expanduser().absolute()
    except RuntimeError:
        raise refused("names a home directory that is not known") from None
    if any(_SCHEME.fullmatch(part) for part in absolute.parts):
        raise refused("is a URL, or has a folder named like a URL's scheme; buckets are not supported")
    if "\\" in str(absolute):
        raise refused("has a backslash, which TensorStore takes for a slash")
    if any(c in "*?[" for c in str(absolute)):
        raise refused("has one of the characters * ? [, which Orbax takes for a pattern")
    if any(ord(c) < 32 or 0xD800 <= ord(c) <= 0xDFFF for c in str(absolute)):
        raise refused("has control characters, or is not in UTF-8")
    return absolute


def open_directory(path: str | os.PathLike[str], *, create: bool) -> Path:
    """The absolute path of a directory that can be listed; made, with its parents, where it is missing and `create`.

    Raises UnsupportedPathError, CheckpointNotFoundError where it is missing or no directory, CheckpointPermissionError
    where it may not be made or read, and CheckpointError for any other failure of the file system.
    """
    directory = local_path(path)
    try:
        if create:
            directory.mkdir(parents=True, exist_ok=True)
        os.scandir(directory).close()
    except FileNotFoundError as error:
        if create:
            raise CheckpointError(f"cannot make {directory}: {error.strerror}") from error
        raise CheckpointNotFoundError(
            f"{directory} does not exist: check the path; create=True makes it, unless read_only=True"
        ) from error
    except (NotADirectoryError, FileExistsError) as error:
        raise CheckpointNotFoundError(f"{directory} is no directory, or is below a file: give a directory") from error
    except OSError as error:
        failed = "read" if os.path.lexists(directory) else "make"
        if is_denied(error):
            raise CheckpointPermissionError(f"cannot {failed} {directory}: {error.strerror}", step=-1) from error
        raise CheckpointError(f"cannot {failed} {directory}: {error.strerror}") from error
    return directory
