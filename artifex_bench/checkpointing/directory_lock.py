"""One writer at a time in a directory of checkpoints, whichever process or thread it belongs to. No JAX.

The lock is `flock` on a file: the kernel lets go of it when the process ends, however it ends.
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

LOCK = ".artifex_bench.lock"
_held: weakref.WeakSet[DirectoryLock] = weakref.WeakSet()


class DirectoryLock:
    """The right to write to a directory: from `acquire` until `release`, garbage collection or the process's end."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._file: int | None = None
        self.enforced = False  # False as well on a file system without locks, where there may be other writers

    def acquire(self) -> None:
        """Take the lock, or go on if it is held by this object already.

        Raises DirectoryInUseError where another writer has it, and OSError where the directory cannot be written. A
        file system without locks (some network ones) is written without one, which is logged: see `enforced`.
        """
        if self._file is not None:
            return
        path = self._directory / LOCK
        if (opened := _open_locked(path)) is None:
            gc.collect()  # a manager that nobody can reach any more may still have it
            opened = _open_locked(path)
        if opened is None:
            raise DirectoryInUseError(_in_use(self._directory))
        self._file, self.enforced = opened
        _held.add(self)
        with contextlib.suppress(OSError):  # a full disk: the name is for messages alone
            path.write_text(f"{os.getpid()} {socket.gethostname()}".ljust(80))  # the same size whoever writes

    def release(self) -> None:
        """Let go of the lock, if it is held."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                os.truncate(self._directory / LOCK, 0)
            self.forget()

    def forget(self) -> None:
        """Close the file and no more: a lock that a forked process shares stays its parent's."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        if self._file is not None:
            close(self._file)  # at the end of Python, when modules are gone


def _open_locked(path: Path) -> tuple[int, bool] | None:
    """(the open file, whether it is locked), or None where another writer has it locked.

    The file is open for reading: the disk can be remounted read-only.
    """
    file = os.open(path, os.O_RDONLY | os.O_CREAT, 0o666)
    refused = _flock(file)
    if refused == errno.EBADF:  # NFS locks only what is open for writing
        os.close(file)
        file = os.open(path, os.O_RDWR)
        refused = _flock(file)
    if refused in (errno.EAGAIN, errno.EACCES):
        os.close(file)
        return None
    if refused:
        log.warning("%s cannot be locked (%s): let one process write at a time", path, os.strerror(refused))
    return file, not refused


def _flock(file: int) -> int:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno or errno.EIO
    return 0


def _in_use(directory: Path) -> str:
    try:
        process, _, host = (directory / LOCK).read_text().strip().partition(" ")
    except (OSError, ValueError):
        process = host = ""
    if (process, host) == (str(os.getpid()), socket.gethostname()):
        return f"{directory} is written by another manager of this process: close that one first"
    who = f"process {process} on {host}" if host else "another process"
    return f"{directory} is written by {who}: wait until it ends, or choose another directory"


def _forget_all() -> None:
    for lock in list(_held):
        lock.forget()


# A child that outlives its parent would keep the parent's lock.
os.register_at_fork(after_in_child=_forget_all)
