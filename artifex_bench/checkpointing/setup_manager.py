"""The function that makes a manager, after it has checked the directory and every option."""

from __future__ import annotations

import os

from artifex_bench.checkpointing.formats import Format, resolve_format
from artifex_bench.checkpointing.manager import CheckpointManager
from artifex_bench.checkpointing.paths import open_directory
from artifex_bench.checkpointing.retention import Retention


def setup_checkpoint_manager(
    base_dir: str | os.PathLike[str],
    *,
    retention: Retention | None = None,
    format: str | Format = "auto",
    asynchronous: bool = False,
    create: bool = True,
    read_only: bool = False,
) -> tuple[CheckpointManager, str]:
    """Make a manager for the checkpoints in a directory.

    Args:
        base_dir: A local directory. `~` is expanded.
        retention: The steps to keep. None keeps the last 5.
        format: "auto", a name in FORMATS, or a Format.
        asynchronous: Write saves in the background. A failed save is raised at the next call and by `close`, so use the
            manager in a `with` statement.
        create: Create the directory if it does not exist.
        read_only: Never write, and never create the directory. The manager sees the steps that other processes save.

    Returns:
        (manager, absolute path of the directory).

    Raises:
        UnsupportedPathError: If the path is a URL, or otherwise not that of a local directory.
        CheckpointNotFoundError: If the directory does not exist and is not to be created.
        CheckpointPermissionError: If a permission to create or read the directory is missing.
        CheckpointError: If the directory cannot be created or read for another reason.
        ValueError: If the format is unknown or the retention is not a Retention. Nothing is created then.
    """
    resolve_format(format)
    if retention is not None and not isinstance(retention, Retention):
        raise ValueError(f"retention {retention!r}: must be a Retention or None")
    directory = open_directory(base_dir, create=create and not read_only)
    manager = CheckpointManager(
        directory,
        retention=retention or Retention(),
        format=format,
        asynchronous=asynchronous,
        read_only=read_only,
    )
    return manager, str(directory)
