"""Syncing a committed step to disk, so that it survives a power failure. Imports no JAX.

TensorStore syncs the arrays' data. Orbax does not sync its metadata, the directories, or the rename that commits.
"""

from __future__ import annotations

import os
from pathlib import Path


def sync_step(step_directory: Path) -> None:
    """Sync the small files and the directories of a committed step, and the rename that committed it.

    The directories of single arrays are left out. The file systems in use (ext4, xfs, btrfs) write changes to them, in
    order, when their parent is synced. A step that another process deletes meanwhile is ignored.

    Args:
        step_directory: The step's folder.

    Raises:
        OSError: If a file or directory cannot be synced.
    """
    try:
        items = [path for path in step_directory.iterdir() if path.is_dir()]
        files = [path for folder in (step_directory, *items) for path in folder.iterdir() if path.is_file()]
        files += [path for item in items for path in (item / "array_metadatas").glob("*")]
        for path in (*files, *items, step_directory, step_directory.parent):
            _fsync_path(path)
    except FileNotFoundError:
        return


def _fsync_path(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
