"""The directory of the checkpoints: a local path that every library reads the same way. Imports no JAX.

TensorStore reads a backslash as a slash. Orbax reads `gs:` anywhere in a path as a bucket, and * ? [ as a pattern when
it merges OCDBT files. Arrays would then land in another folder than their metadata, or in none. Such paths are rejected
before anything is written.
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
)
from artifex_bench.checkpointing.failure_causes import is_permission_denied

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")  # Path("s3://bucket") has the component "s3:"


def resolve_local_path(path: str | os.PathLike[str]) -> Path:
    """Make a path absolute and expand `~`.

    Args:
        path: A path of text.

    Returns:
        The absolute path.

    Raises:
        UnsupportedPathError: If it is not the path of a local directory.
    """

    def refused(why: str) -> UnsupportedPathError:
        return UnsupportedPathError(f"directory {path!r} {why}: pass the path of a local directory")

    try:
        text = os.fspath(path)
    except TypeError:
        raise refused("is not a path") from None
    if not isinstance(text, str) or not text:
        raise refused("is not a path of text" if text else "is empty")
    try:
        absolute = Path(text).expanduser().absolute()
    except RuntimeError:
        raise refused("names an unknown home directory") from None
    if any(_SCHEME.fullmatch(part) for part in absolute.parts):
        raise refused("is a URL, or has a folder named like a URL's scheme, and buckets are not supported")
    if "\\" in str(absolute):
        raise refused("has a backslash, which TensorStore reads as a slash")
    if any(c in "*?[" for c in str(absolute)):
        raise refused("has one of the characters * ? [, which Orbax reads as a pattern")
    if any(ord(c) < 32 or 0xD800 <= ord(c) <= 0xDFFF for c in str(absolute)):
        raise refused("has control characters, or characters that UTF-8 cannot encode")
    return absolute


def open_directory(path: str | os.PathLike[str], *, create: bool) -> Path:
    """Check that a directory exists and can be listed, or create it.

    Args:
        path: A path of text.
        create: Create the directory and its parents if it does not exist.

    Returns:
        The absolute path.

    Raises:
        UnsupportedPathError: If it is not the path of a local directory.
        CheckpointNotFoundError: If it does not exist or is not a directory.
        CheckpointPermissionError: If it is not readable, or a permission to create it is missing.
        CheckpointError: If the file system fails for another reason.
    """
    directory = resolve_local_path(path)
    try:
        if create:
            directory.mkdir(parents=True, exist_ok=True)
        os.scandir(directory).close()
    except FileNotFoundError as error:
        if create:
            raise CheckpointError(f"cannot create {directory} ({error.strerror}): check the path") from error
        raise CheckpointNotFoundError(
            f"{directory} does not exist: check the path, or create it with create=True and read_only=False"
        ) from error
    except (NotADirectoryError, FileExistsError) as error:
        raise CheckpointNotFoundError(f"{directory} is a file, or is below a file: pass a directory") from error
    except OSError as error:
        what = f"cannot {'read' if os.path.lexists(directory) else 'create'} {directory} ({error.strerror})"
        if is_permission_denied(error):
            raise CheckpointPermissionError(
                f"{what}: grant permission, or choose another directory", step=-1
            ) from error
        raise CheckpointError(f"{what}: check the path") from error
    return directory
