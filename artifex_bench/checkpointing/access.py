"""Access to a manager and its directory: one thread at a time, one manager that writes, no forked process."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import jax

from artifex_bench.checkpointing.deletion import delete_leftovers
from artifex_bench.checkpointing.directory_lock import DirectoryLock
from artifex_bench.checkpointing.errors import CheckpointError, DirectoryInUseError


class ManagerAccess:
    """Who may use a manager now, and whether it may write to its directory.

    `exclusive` and `changing` give one thread its turn. `claim` makes the manager the directory's only writer, until
    `release`.

    Attributes:
        claimed: True while the manager is the directory's writer.
    """

    def __init__(self, directory: Path, *, read_only: bool) -> None:
        """Start without the right to write.

        Args:
            directory: The directory of the checkpoints.
            read_only: True if the manager may never write.
        """
        self._directory = directory
        self._why_not_writable = "is read-only" if read_only else ""
        self._turn = threading.RLock()
        self._process = os.getpid()
        self._lock = DirectoryLock(directory)
        self._changing = False
        self.claimed = False

    @property
    def forked(self) -> bool:
        """True in a process that was forked from the one that made the manager."""
        return os.getpid() != self._process

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Make the manager's other threads wait while the `with` block runs.

        Yields:
            None, once it is this thread's turn.

        Raises:
            CheckpointError: In a forked process.
        """
        if self.forked:  # the parent's threads do not exist here, but a lock that they held does
            raise CheckpointError(
                f"process {self._process} made the manager of {self._directory}, and a process forked from it must "
                "not use it: make another manager here with setup_checkpoint_manager"
            )
        with self._turn:
            yield

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """Make other threads wait, as `exclusive` does, around a save, a move or a deletion.

        Only a signal handler can enter this block while its own thread is already inside. Orbax would then wait
        forever for the save that the handler interrupts.

        Yields:
            None, once it is this thread's turn.

        Raises:
            CheckpointError: In a forked process, or if this thread is already inside such a block.
        """
        with self.exclusive():
            if self._changing:
                raise CheckpointError(
                    f"a signal interrupted this manager while it changed {self._directory}, and the signal handler "
                    "must not change it too: set a flag in the handler, and save in the training loop"
                )
            self._changing = True
            try:
                yield
            finally:
                self._changing = False

    def claim(self) -> None:
        """Become the directory's only writer, and delete what killed writers left unfinished.

        Without locks in the file system nothing is deleted, because another writer may still be at work on it. Every
        process of a job calls this. The primary process holds the lock.

        Raises:
            DirectoryInUseError: If another manager writes to the directory.
            CheckpointError: If the manager is read-only or closed.
            OSError: If the directory is not writable.
        """
        if self._why_not_writable:
            raise CheckpointError(
                f"the manager of {self._directory} {self._why_not_writable} and cannot write: "
                "make another one with setup_checkpoint_manager"
            )
        if self.claimed:
            return
        refused: Exception | None = None
        if jax.process_index() == 0:
            try:
                self._lock.acquire()
                if self._lock.enforced:
                    delete_leftovers(self._directory)
            except (CheckpointError, OSError) as error:
                refused = error
        if not broadcast_from_primary(refused is None):
            raise refused or DirectoryInUseError(
                f"process 0 of this job could not become the writer of {self._directory}: see the error of process 0",
                directory=str(self._directory),
            )
        self.claimed = True

    def release(self) -> None:
        """Let other managers write to the directory. This manager cannot write any more."""
        self._why_not_writable = self._why_not_writable or "is closed"
        self.claimed = False
        self._lock.release()


def broadcast_from_primary(value: bool) -> bool:
    """Send a value from the primary process to every process of the job.

    Args:
        value: The value. Only that of process 0 counts.

    Returns:
        The value of process 0, in every process.
    """
    if jax.process_count() == 1:
        return value
    from jax.experimental import multihost_utils

    return bool(multihost_utils.broadcast_one_to_all(value))
