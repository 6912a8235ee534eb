"""A committed step made to outlive a power failure. No JAX.

TensorStore syncs the arrays' data; Orbax syncs neither its metadata nor the directories nor the rename that commits.
"""

from __future__ import annotations

import os
from pathlib import Path


def make_durable(step_directory: Path) -> None:
    """Sync the small files and the directories of a committed step, and the rename that committed it.

    The directories of single arrays are left out: the file systems in use (ext4, xfs, btrfs) put what was done to them
    on disk, in order, with the sync of their parent. A step that was deleted meanwhile is left alone.
    """
    try:
        items = [path for path in step_directory.iterdir() if path.is_dir()]
        files = [path for folder in (step_directory, *items) for path in folder.iterdir() if path.is_file()]
        files += [path for item in items for path in (item / "array_metadatas").glob("*")]
        for path in (*files, *items, step_directory, step_directory.parent):
            _sync(path)
    except FileNotFoundError:
        return


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
