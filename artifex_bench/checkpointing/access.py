"""Who may use a manager, and who may write to its directory: one thread at a time, one manager, no forked process."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import jax

from artifex_bench.checkpointing.directory_lock import DirectoryLock
from artifex_bench.checkpointing.disposal import remove_leftovers
from artifex_bench.checkpointing.errors import CheckpointError, DirectoryInUseError


class Access:
    """A manager's access to its directory: `exclusive` for a moment, `claim` to write until `release`."""

    def __init__(self, directory: Path, *, read_only: bool) -> None:
        self._directory = directory
        self._closed_to_writing = "is read-only" if read_only else ""
        self._turn = threading.RLock()
        self._process = os.getpid()
        self._lock = DirectoryLock(directory)
        self._changing = False
        self.claimed = False

    @property
    def forked(self) -> bool:
        """True in a process that was forked from the manager's."""
        return os.getpid() != self._process

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Make the manager's other threads wait. Raises CheckpointError in a process that was forked."""
        if self.forked:  # whose threads are gone, with whatever lock they held
            raise CheckpointError(
                f"this manager of {self._directory} belongs to process {self._process}, from which this one was "
                "forked: make another manager here with setup_checkpoint_manager"
            )
        with self._turn:
            yield

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """As `exclusive`, for a save, a move or a deletion. Raises CheckpointError inside another one of this thread.

        Only a signal handler gets there. Orbax would wait for the save that the handler interrupts, for ever.
        """
        with self.exclusive():
            if self._changing:
                raise CheckpointError(
                    f"this manager of {self._directory} is in the middle of a change that a signal interrupted: "
                    "let the signal handler set a flag, and save in the training loop"
                )
            self._changing = True
            try:
                yield
            finally:
                self._changing = False

    def claim(self) -> None:
        """Become the directory's one writer, and delete what killed writers left in it, where locks tell them apart.

        Every process of a job calls this; the primary one holds the lock.
        Raises DirectoryInUseError where another manager writes there, CheckpointError for a manager that may not write,
        and OSError where the directory cannot be written.
        """
        if self._closed_to_writing:
            raise CheckpointError(f"this manager of {self._directory} {self._closed_to_writing}: set up another one")
        if self.claimed:
            return
        refused: Exception | None = None
        if jax.process_index() == 0:
            try:
                self._lock.acquire()
                if self._lock.enforced:  # else another process may be at work on them
                    remove_leftovers(self._directory)
            except (CheckpointError, OSError) as error:
                refused = error
        if not primary_says(refused is None):
            raise refused or DirectoryInUseError(f"process 0 cannot write to {self._directory}: see its error")
        self.claimed = True

    def release(self) -> None:
        """Let others write."""
        self._closed_to_writing = self._closed_to_writing or "is closed"
        self.claimed = False
        self._lock.release()


def primary_says(value: bool) -> bool:
    """The primary process's answer, in every process of the job."""
    if jax.process_count() == 1:
        return value
    from jax.experimental import multihost_utils

    return bool(multihost_utils.broadcast_one_to_all(value))
