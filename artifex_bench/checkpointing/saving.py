"""Saving a step through Orbax: committed and made durable, or an exception; then what no Retention keeps is deleted.

All that follows Orbax's own writing happens in the background where the save is asynchronous.
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

from artifex_bench.checkpointing.access import Access, primary_says
from artifex_bench.checkpointing.disposal import Deleter, remove_step, remove_unfinished
from artifex_bench.checkpointing.durability import make_durable
from artifex_bench.checkpointing.errors import (
    CheckpointNotFoundError,
    SaveFailedError,
    StepExistsError,
    change_failure,
    missing_step,
    save_failure,
)
from artifex_bench.checkpointing.handlers import with_info
from artifex_bench.checkpointing.marks import MARK
from artifex_bench.checkpointing.names import list_steps
from artifex_bench.checkpointing.retention import Retention
from artifex_bench.checkpointing.step_info import StepInfo, checked_metadata
from artifex_bench.compat import before_threads_stop

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OrbaxSave:
    """One save by Orbax: `write` starts it and says whether it was accepted, `wait` ends with the commit.

    `settle` returns once Orbax writes nothing more of a save that failed.
    """

    write: Callable[[], bool]
    wait: Callable[[], None]
    settle: Callable[[], None]


class Saver:
    """The saves and deletions of a manager, one after the other: its caller holds `Access.changing`."""

    def __init__(self, directory: Path, retention: Retention, access: Access, *, asynchronous: bool) -> None:
        self._directory = directory
        self._access = access
        self._deleter = Deleter(directory, retention)
        self._asynchronous = asynchronous
        self._thread = futures.ThreadPoolExecutor(1, "checkpoint")
        self._pending: futures.Future[None] | None = None
        self.lost: SaveFailedError | None = None  # the last failure, until a later save succeeds
        before_threads_stop(functools.partial(_let_finish, weakref.ref(self)))
        atexit.register(_raise_last_failure, weakref.ref(self))

    def save(self, step: int, orbax: OrbaxSave) -> None:
        """Save a step; raises what `CheckpointManager.save` documents, in the background at the next `wait`."""
        try:
            self._access.claim()
            _check_is_new(step, self._directory)
        except (OSError, CheckpointNotFoundError) as error:  # the directory cannot be written, or is gone
            raise self._failure(step, error, orbax) from error
        self._deleter.forget(step)
        try:
            accepted = orbax.write()
        except Exception as error:
            raise self._failure(step, error, orbax) from error
        if not accepted:
            raise SaveFailedError(f"step {step} is not saved: Orbax's save policy refused it", step=step)
        self.lost = None
        if self._asynchronous:
            self._pending = self._thread.submit(self._finish, step, orbax)
        else:
            self._finish(step, orbax)

    def _finish(self, step: int, orbax: OrbaxSave) -> None:
        """Wait for the commit, and do what follows it."""
        folder = self._directory / str(step)
        try:
            orbax.wait()
            if not folder.is_dir():
                raise SaveFailedError(f"step {step} is not saved: it is not in {self._directory}", step=step)
        except Exception as error:
            raise self._failure(step, error, orbax) from error
        if jax.process_index() == 0:
            try:
                make_durable(folder)
            except OSError as error:
                log.warning("step %d is saved, but may not outlive a power failure: %s", step, error)
            self._deleter.delete_expired()

    def _failure(self, step: int, error: Exception, orbax: OrbaxSave) -> SaveFailedError:
        self.lost = failure = save_failure(error, step, self._directory)
        log.error("%s", failure)
        orbax.settle()
        if self._access.claimed and jax.process_index() == 0:
            remove_unfinished(self._directory, step)
        return failure

    @property
    def in_progress(self) -> bool:
        """True until the step is committed and what follows is done."""
        pending = self._pending  # another thread may take it away
        return pending is not None and not pending.done()

    @property
    def ended(self) -> bool:
        """True where a background save ended and nobody waited for it yet."""
        pending = self._pending
        return pending is not None and pending.done()

    def wait(self) -> None:
        """Return once nothing is being saved. Raises the failure of a background save that was not raised yet."""
        if self._pending is not None:
            try:
                self._pending.result()
            finally:
                if self.ended:  # not where Ctrl-C ended the waiting
                    self._pending = None

    def delete(self, step: int) -> None:
        """Delete a committed step; raises what `CheckpointManager.delete` documents."""
        try:
            self._access.claim()
            steps = list_steps(self._directory)
            if not primary_says(step in steps):
                raise missing_step(step, self._directory, steps)
            if jax.process_index() == 0:
                remove_step(self._directory / str(step))
        except OSError as error:
            whole = (self._directory / str(step)).exists()
            what = f"step {step} is not deleted" if whole else f"step {step} is deleted, but some of its files are left"
            raise change_failure(error, what, step) from error
        primary_says(True)  # the others wait

    def close(self) -> None:
        """End the background thread, and let others write."""
        self._thread.shutdown()
        self._access.release()


def save_arguments(step: int, retention: Retention, keep: bool, mark: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments of a save as Orbax takes them, with the step's StepInfo in its manifest.

    Raises ValueError for metrics and custom metadata that cannot be kept.
    """
    keep = bool(keep)  # `loss < best` of NumPy or JAX, which JSON does not hold
    metrics = retention.checked(given.get("metrics"))
    info = StepInfo(keep, metrics, checked_metadata(given.get("custom_metadata")))
    arguments = {**given, "metrics": metrics}
    if isinstance(given.get("args"), ocp.args.Composite):
        arguments["args"] = with_info(given["args"], step, info)
    elif info != StepInfo(custom_metadata={}):
        raise ValueError(f"step {step}: pins, metrics and custom metadata need args=ocp.args.Composite(name=…)")
    # Earlier releases look for the pin in the mark.
    arguments["custom_metadata"] = {**(info.custom_metadata or {}), MARK: {"pinned": keep, **(mark or {})}}
    return arguments


def _check_is_new(step: int, directory: Path) -> None:
    newest = max(list_steps(directory), default=None)
    exists = (directory / str(step)).exists()
    if not exists and (newest is None or step > newest):
        return
    what = "already exists" if exists else f"is older than the newest, {newest}"
    raise StepExistsError(
        f"step {step} {what} in {directory}: save a later step, delete the steps from {step} on, "
        "or choose another directory"
    )


def _let_finish(reference: weakref.ref[Saver]) -> None:
    """At the end of a program that did not close its manager: what is being saved needs threads to be saved."""
    saver = reference()
    if saver is not None and saver._pending is not None and not saver._access.forked:
        futures.wait([saver._pending])


def _raise_last_failure(reference: weakref.ref[Saver]) -> None:
    """At the end of a program that did not close its manager: a save that failed is printed by Python on stderr."""
    saver = reference()
    if saver is not None and not saver._access.forked:
        saver.wait()
