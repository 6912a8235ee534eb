"""Saving of a step through Orbax: commit it, sync it, and then delete the steps that the Retention does not keep.

In an asynchronous save, everything after Orbax's own write happens in the background.
"""

from __future__ import annotations

import atexit
import functools
import logging
import weakref
from collections.abc import Callable, Mapping
from concurrent import futures
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from artifex_bench.checkpointing.access import ManagerAccess, broadcast_from_primary
from artifex_bench.checkpointing.deletion import Deleter, delete_step, delete_unfinished_save
from artifex_bench.checkpointing.durability import sync_step
from artifex_bench.checkpointing.errors import (
    CheckpointNotFoundError,
    SaveFailedError,
    StepExistsError,
    make_missing_step_error,
)
from artifex_bench.checkpointing.failure_causes import make_change_error, make_save_error
from artifex_bench.checkpointing.orbax_handlers import add_step_info
from artifex_bench.checkpointing.orbax_metadata import MARK
from artifex_bench.checkpointing.retention import Retention
from artifex_bench.checkpointing.step_info import StepInfo, check_custom_metadata
from artifex_bench.checkpointing.steps import list_steps
from artifex_bench.compat import before_threads_stop

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OrbaxSave:
    """The calls that make one save by Orbax.

    Attributes:
        write: Starts the save, and returns True if Orbax accepted it.
        wait: Returns when the step is committed.
        settle: Returns when Orbax writes nothing more of a failed save.
    """

    write: Callable[[], bool]
    wait: Callable[[], None]
    settle: Callable[[], None]


class Saver:
    """Runs the saves and deletions of a manager, one after the other.

    The caller must be inside `ManagerAccess.changing`.

    Attributes:
        lost: The error of the last failed save, or None once a later save succeeded.
    """

    def __init__(self, directory: Path, retention: Retention, access: ManagerAccess, *, asynchronous: bool) -> None:
        """Start the background thread, and make sure that a save in progress ends before the program does.

        Args:
            directory: The directory of the checkpoints.
            retention: The steps to keep.
            access: The manager's access to the directory.
            asynchronous: Write saves in the background.
        """
        self._directory = directory
        self._access = access
        self._deleter = Deleter(directory, retention)
        self._asynchronous = asynchronous
        self._thread = futures.ThreadPoolExecutor(1, "checkpoint")
        self._pending: futures.Future[None] | None = None
        self.lost: SaveFailedError | None = None  # the last failure, until a later save succeeds
        before_threads_stop(functools.partial(_finish_pending_save, weakref.ref(self)))
        atexit.register(_raise_last_failure, weakref.ref(self))

    def save(self, step: int, orbax: OrbaxSave) -> None:
        """Save a step. A failure in the background is raised by the next `wait`.

        Args:
            step: The step's number.
            orbax: The calls that make the save.

        Raises:
            StepExistsError: If the step exists or is older than the newest one.
            DirectoryInUseError: If another manager writes to the directory.
            SaveFailedError: If the step did not commit.
            CheckpointError: If the manager is closed.
        """
        try:
            self._access.claim()
            _check_is_new(step, self._directory)
        except (OSError, CheckpointNotFoundError) as error:  # the directory is not writable, or was deleted
            raise self._record_failure(step, error, orbax) from error
        self._deleter.forget(step)
        try:
            accepted = orbax.write()
        except Exception as error:
            raise self._record_failure(step, error, orbax) from error
        if not accepted:
            raise SaveFailedError(f"step {step} is not saved: Orbax refused it; save another step", step=step)
        self.lost = None
        if self._asynchronous:
            self._pending = self._thread.submit(self._finish, step, orbax)
        else:
            self._finish(step, orbax)

    def _finish(self, step: int, orbax: OrbaxSave) -> None:
        """Wait for the commit, sync the step, and delete older steps."""
        folder = self._directory / str(step)
        try:
            orbax.wait()
            if not folder.is_dir():
                raise SaveFailedError(
                    f"step {step} is not saved: Orbax reported no error, but {folder} does not exist; save it again",
                    step=step,
                )
        except Exception as error:
            raise self._record_failure(step, error, orbax) from error
        if jax.process_index() == 0:
            try:
                sync_step(folder)
            except OSError as error:
                log.warning("step %d is saved, but may not survive a power failure: %s", step, error)
            self._deleter.delete_expired()

    def _record_failure(self, step: int, error: Exception, orbax: OrbaxSave) -> SaveFailedError:
        """Make the error of a failed save, log it, and delete the files that the save wrote."""
        self.lost = failure = make_save_error(error, step, self._directory)
        log.error("%s", failure)
        orbax.settle()
        if self._access.claimed and jax.process_index() == 0:
            delete_unfinished_save(self._directory, step)
        return failure

    @property
    def in_progress(self) -> bool:
        """True until the step is committed and synced, and older steps are deleted."""
        pending = self._pending  # read once: another thread may set it to None
        return pending is not None and not pending.done()

    @property
    def ended(self) -> bool:
        """True if a background save ended and nobody has waited for it yet."""
        pending = self._pending
        return pending is not None and pending.done()

    def wait(self) -> None:
        """Wait until no save is in progress.

        Raises:
            SaveFailedError: If a background save failed and was not raised yet.
        """
        if self._pending is not None:
            try:
                self._pending.result()
            finally:
                if self.ended:  # False if Ctrl-C ended the wait
                    self._pending = None

    def delete(self, step: int) -> None:
        """Delete a committed step.

        Args:
            step: The step's number.

        Raises:
            CheckpointNotFoundError: If the step does not exist.
            DirectoryInUseError: If another manager writes to the directory.
            CheckpointPermissionError: If a permission to delete it is missing.
            CheckpointError: If the step cannot be deleted for another reason.
        """
        try:
            self._access.claim()
            steps = list_steps(self._directory)
            if not broadcast_from_primary(step in steps):
                raise make_missing_step_error(step, self._directory, steps)
            if jax.process_index() == 0:
                delete_step(self._directory / str(step))
        except OSError as error:
            whole = (self._directory / str(step)).exists()
            what = f"step {step} is not deleted" if whole else f"step {step} is deleted, but some of its files are left"
            raise make_change_error(error, what, step) from error
        broadcast_from_primary(True)  # the other processes wait here until the step is deleted

    def close(self) -> None:
        """End the background thread, and let other managers write."""
        self._thread.shutdown()
        self._access.release()


def build_save_arguments(
    step: int, retention: Retention, keep: bool, mark: Any, given: Mapping[str, Any]
) -> dict[str, Any]:
    """Build the keyword arguments of Orbax's `save`, with the StepInfo in the step's manifest.

    Args:
        step: The step's number.
        retention: The rules, which may need a metric.
        keep: Pin the step.
        mark: This package's entry in Orbax's metadata, or None.
        given: The keyword arguments of the caller.

    Returns:
        The keyword arguments.

    Raises:
        ValueError: If the metrics or the custom metadata cannot be stored.
    """
    keep = bool(keep)  # `loss < best` may be a bool of NumPy or JAX, which JSON cannot hold
    metrics = retention.check_metrics(given.get("metrics"))
    info = StepInfo(keep, metrics, check_custom_metadata(given.get("custom_metadata")))
    arguments = {**given, "metrics": metrics}
    if isinstance(given.get("args"), ocp.args.Composite):
        arguments["args"] = add_step_info(given["args"], step, info)
    elif info != StepInfo(custom_metadata={}):
        raise ValueError(
            f"args of type {type(given.get('args')).__name__}: cannot hold a pin, metrics or custom metadata; "
            "pass args=ocp.args.Composite(name=…)"
        )
    # Earlier releases read the pin from the mark.
    arguments["custom_metadata"] = {**(info.custom_metadata or {}), MARK: {"pinned": keep, **(mark or {})}}
    return arguments


def _check_is_new(step: int, directory: Path) -> None:
    """Raise StepExistsError if the step exists or is older than the newest one."""
    newest = max(list_steps(directory), default=None)
    exists = (directory / str(step)).exists()
    if not exists and (newest is None or step > newest):
        return
    what = "already exists" if exists else f"is older than step {newest}, the newest,"
    raise StepExistsError(
        f"step {step} {what} in {directory}: save a later step, delete the steps from {step} on, "
        "or choose another directory",
        step=step,
        newest=newest,
    )


def _finish_pending_save(reference: weakref.ref[Saver]) -> None:
    """Wait for a save at the end of a program that did not close its manager, while its threads still run."""
    saver = reference()
    if saver is not None and saver._pending is not None and not saver._access.forked:
        futures.wait([saver._pending])


def _raise_last_failure(reference: weakref.ref[Saver]) -> None:
    """Raise a failed save at the end of a program that did not close its manager. Python prints it on stderr."""
    saver = reference()
    if saver is not None and not saver._access.forked:
        saver.wait()
