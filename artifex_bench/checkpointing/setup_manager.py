"""A manager for a directory, once the directory and every option are checked."""

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
    """A manager for the checkpoints in a directory, and the directory's absolute path.

    `retention` says which steps stay (the last 5), `format` is "auto", a name in FORMATS or a Format; `asynchronous`
    saves write in the background, and a failure of theirs is raised at the next call and by `close`: use the manager
    in a `with`. `read_only` managers save and delete nothing, and see what other processes save.
    `~` is expanded. Raises UnsupportedPathError for a URL or another path that is no local directory's,
    CheckpointNotFoundError where the directory is missing and may not be made, CheckpointPermissionError where it
    cannot be made or read, and ValueError for an unknown format or what is no Retention; nothing is made then.
    """
    resolve_format(format)
    if retention is not None and not isinstance(retention, Retention):
        raise ValueError(f"retention {retention!r}: must be a Retention")
    directory = open_directory(base_dir, create=create and not read_only)
    manager = CheckpointManager(
        directory,
        retention=retention or Retention(),
        format=format,
        asynchronous=asynchronous,
        read_only=read_only,
    )
    return manager, str(directory)
