"""A lock that lets one manager at a time write to a directory, across processes and threads. Imports no JAX.

The lock is `flock` on a file. The kernel releases it when the process ends, even if the process is killed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import gc
import logging
import os
import socket
import weakref
from collections.abc import Callable
from pathlib import Path

from artifex_bench.checkpointing.errors import DirectoryInUseError

log = logging.getLogger(__name__)

LOCK_FILE = ".artifex_bench.lock"
_held: weakref.WeakSet[DirectoryLock] = weakref.WeakSet()


class DirectoryLock:
    """The right to write to a directory, from `acquire` until `release`, garbage collection or the end of the process.

    Attributes:
        enforced: True if the lock is held and keeps others out. False on a file system without locks, where other
            processes may write too.
    """

    def __init__(self, directory: Path) -> None:
        """Prepare the lock, without acquiring it.

        Args:
            directory: The directory of the checkpoints.
        """
        self._directory = directory
        self._file: int | None = None
        self.enforced = False

    def acquire(self) -> None:
        """Acquire the lock, or do nothing if this object holds it already.

        A file system without locks (as some network ones are) is used without a lock, with a warning in the log.

        Raises:
            DirectoryInUseError: If another manager holds the lock.
            OSError: If the directory is not writable.
        """
        if self._file is not None:
            return
        path = self._directory / LOCK_FILE
        if (opened := _open_locked(path)) is None:
            gc.collect()  # an unreachable manager of this process may still hold the lock
            opened = _open_locked(path)
        if opened is None:
            raise _make_in_use_error(self._directory)
        self._file, self.enforced = opened
        _held.add(self)
        with contextlib.suppress(OSError):  # on a full disk: only messages need the name
            # Padded, so that the file has the same size whichever process writes it.
            path.write_text(f"{os.getpid()} {socket.gethostname()}".ljust(80))

    def release(self) -> None:
        """Release the lock if it is held, and clear the name of its process from the file."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                os.truncate(self._directory / LOCK_FILE, 0)
            self.close_file()

    def close_file(self) -> None:
        """Close the file and leave its contents alone. In a forked process the parent then still holds the lock."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        """Release the lock of a manager that was not closed."""
        if self._file is not None:
            close(self._file)  # `os` itself may be gone when Python ends


def _open_locked(path: Path) -> tuple[int, bool] | None:
    """Open the lock file and lock it.

    The file is opened for reading, because an administrator cannot remount a disk read-only while a file on it is open
    for writing.

    Returns:
        (the open file, whether it is locked), or None if another manager has locked it.
    """
    file = os.open(path, os.O_RDONLY | os.O_CREAT, 0o666)
    refused = _try_flock(file)
    if refused == errno.EBADF:  # NFS locks only files that are open for writing
        os.close(file)
        file = os.open(path, os.O_RDWR)
        refused = _try_flock(file)
    if refused in (errno.EAGAIN, errno.EACCES):
        os.close(file)
        return None
    if refused:
        log.warning("cannot lock %s (%s): let only one process write at a time", path, os.strerror(refused))
    return file, not refused


def _try_flock(file: int) -> int:
    """Lock an open file without waiting; return 0 or the errno."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno or errno.EIO
    return 0


def _make_in_use_error(directory: Path) -> DirectoryInUseError:
    """Make the error for a directory that another manager has locked. The lock file names its process."""
    try:
        process, _, host = (directory / LOCK_FILE).read_text().strip().partition(" ")
    except (OSError, ValueError):
        process = host = ""
    who = f"process {process} on {host}" if host else "another process"
    remedy = "wait until it ends, or choose another directory"
    if (process, host) == (str(os.getpid()), socket.gethostname()):
        who, remedy = "another manager of this process", "close that one first"
    return DirectoryInUseError(
        f"{who} writes to {directory}, and only one manager may: {remedy}",
        directory=str(directory),
        process=int(process) if process.isdecimal() else None,
        host=host,
    )


def _close_inherited_locks() -> None:
    for lock in list(_held):
        lock.close_file()


# Else a forked child that outlives its parent would keep the parent's lock.
os.register_at_fork(after_in_child=_close_inherited_locks)
