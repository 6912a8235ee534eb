"""The manager: Orbax's CheckpointManager, made to tell what it does not tell by itself.

A save that failed in the background is raised at the next call and at the end; a step is reported once it is committed,
never before; saving an existing or older step, and metrics that nobody would read, are errors or kept, never dropped.

Orbax writes and commits a step. What follows is done here, in the background where the save is: the step is made
durable, and the steps that nothing keeps are deleted. What is there is listed from the directory, each time.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import logging
import os
import weakref
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from artifex_bench.checkpointing.access import Access, primary_says
from artifex_bench.checkpointing.disposal import Deleter, remove_step, remove_unfinished
from artifex_bench.checkpointing.durability import make_durable
from artifex_bench.checkpointing.errors import (
    CheckpointError,
    CheckpointNotFoundError,
    CheckpointPermissionError,
    CorruptCheckpointError,
    SaveFailedError,
    StepExistsError,
    change_failure,
    missing_step,
    save_failure,
)
from artifex_bench.checkpointing.formats import Format, resolve_format
from artifex_bench.checkpointing.handlers import registry, with_info
from artifex_bench.checkpointing.marks import MARK
from artifex_bench.checkpointing.names import Names, list_steps, whole_step
from artifex_bench.checkpointing.paths import open_directory
from artifex_bench.checkpointing.retention import Retention
from artifex_bench.checkpointing.step_info import StepInfo, checked_metadata, is_as_saved, known_info, read_info
from artifex_bench.compat import before_threads_stop, settle_failed_save

log = logging.getLogger(__name__)


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


class CheckpointManager(ocp.CheckpointManager):
    """See the module; made by `setup_checkpoint_manager`. Orbax's own methods keep their meaning.

    Threads may share a manager: they take turns. Only one manager writes to a directory, from its first save until it
    is closed or garbage collected. A forked process must make its own.
    """

    def __init__(
        self,
        directory: Path,
        *,
        retention: Retention,
        format: str | Format,
        asynchronous: bool,
        read_only: bool,
    ) -> None:
        self.retention = retention
        self.format = resolve_format(format)
        self.asynchronous = asynchronous
        self.read_only = read_only
        self._root = directory
        self._access = Access(directory, read_only=read_only)
        self._deleter = Deleter(directory, retention)
        self._background = futures.ThreadPoolExecutor(1, "checkpoint")
        self._pending: futures.Future[None] | None = None
        self._lost: SaveFailedError | None = None
        self._closed = False
        self._orbax_options = ocp.CheckpointManagerOptions(
            preservation_policy=policies.LatestN(None),  # all of them: the Deleter decides
            create=False,
            read_only=read_only,
            enable_async_checkpointing=asynchronous,
            # Made in the background, a directory that cannot be made leaves the writers waiting for it, for minutes.
            async_options=ocp.AsyncOptions(create_directories_asynchronously=False),
            save_interval_steps=0 if read_only else 1,
            step_name_format=Names(),
        )
        super().__init__(directory, options=self._orbax_options, handler_registry=registry())
        before_threads_stop(functools.partial(_let_finish, weakref.ref(self)))
        atexit.register(_last_word, weakref.ref(self))

    # What is there

    def step_directory(self, step: int) -> Path:
        """Where a committed step lies."""
        return self._root / str(step)

    def all_steps(self, read: bool = False) -> list[int]:
        """The committed steps, oldest first, listed anew: a step in the background's hands is not among them."""
        return list_steps(self._root)

    def latest_step(self) -> int | None:
        """The newest committed step, or None."""
        return max(self.all_steps(), default=None)

    def best_step(self) -> int | None:
        """The committed step that is best by the Retention's metric, or None where no step has it.

        Steps whose metrics are damaged are left out, which is logged.
        Raises CheckpointError where the Retention names no metric.
        """
        if self.retention.metric is None:
            raise CheckpointError("best_step needs Retention(metric='…'): this manager's Retention names none")
        return self.retention.best_of({step: self.metrics(step) for step in self.all_steps()})

    def metrics(self, step: int) -> dict[str, float] | None:
        """The metrics saved with a step, or None where there are none or they are damaged (which is logged)."""
        if not self.step_directory(step).is_dir():
            return None
        info = known_info(self.step_directory(step), step)
        return dict(info.metrics) if info is not None and info.metrics is not None else None

    def is_pinned(self, step: int) -> bool:
        """True for a step saved with `keep=True`, and, to be safe, for one whose manifest is damaged."""
        info = known_info(self.step_directory(step), step)
        return info is None or info.pinned

    def metadata(self, step: int | None = None) -> Any:
        """Orbax's metadata of a step, or of all.

        Raises CheckpointNotFoundError, and CorruptCheckpointError where a step's metrics or custom metadata are not
        what was saved.
        """
        if step is None:
            return super().metadata()
        if step not in self.all_steps():
            raise missing_step(step, self._root, self.all_steps())
        folder = self.step_directory(step)
        try:
            found = super().metadata(step)
            if is_as_saved(read_info(folder, step), found):
                return found
        except (ValueError, TypeError, KeyError, AttributeError):
            pass
        raise CorruptCheckpointError(
            f"step {step}: the metadata in {folder} is not what was saved", step=step, file=str(folder)
        )

    # Who may use it

    def exclusive(self) -> contextlib.AbstractContextManager[None]:
        """Make the manager's other threads wait meanwhile. Raises CheckpointError in a process that was forked."""
        return self._access.exclusive()

    def changing(self) -> contextlib.AbstractContextManager[None]:
        """As `exclusive`, around a save, a move or a deletion. Raises CheckpointError inside another one."""
        return self._access.changing()

    def claim(self) -> None:
        """Become the directory's one writer until closed, as saving and deleting do by themselves.

        Every process of a job calls this. Raises DirectoryInUseError where another manager writes there, and
        CheckpointError for a manager that is read-only or closed.
        """
        self._access.claim()

    # Saving

    def save(self, step: int, *args: Any, keep: bool = False, **kwargs: Any) -> bool:
        """Save as Orbax does; `keep=True` pins the step. True, or an exception: never a silent False.

        A step that is committed is saved: an older step that cannot be deleted is logged, and deleted by a later save.
        Raises the failure of an earlier background save, StepExistsError for an existing or older step, ValueError
        for metrics that are not numbers or are missing and for custom metadata that JSON does not hold,
        DirectoryInUseError where another manager writes, and DiskFullError, CheckpointPermissionError or
        SaveFailedError for a save that did not commit.
        """
        step = whole_step(step)
        self.check_writable(f"step {step} is not saved", step)
        with self.changing():
            self.wait_until_finished()
            try:
                self.claim()
                self._check_step(step)
            except (OSError, CheckpointNotFoundError) as error:  # the directory cannot be written, or is gone
                raise self._failed(step, error) from error
            self._save(step, *args, keep=keep, **kwargs)
            self._lost = None
            if self.asynchronous:
                self._pending = self._background.submit(self._finish, step)
            else:
                self._finish(step)
        return True

    def _save(self, step: int, *args: Any, keep: bool, mark: Any = None, **kwargs: Any) -> None:
        kwargs["metrics"] = metrics = self.retention.checked(kwargs.get("metrics"))
        info = StepInfo(keep, metrics, checked_metadata(kwargs.get("custom_metadata")))
        if isinstance(kwargs.get("args"), ocp.args.Composite):
            kwargs["args"] = with_info(kwargs["args"], step, info)
        elif info != StepInfo(custom_metadata={}):
            raise ValueError(f"step {step}: pins, metrics and custom metadata need args=ocp.args.Composite(name=…)")
        # Earlier releases look for the pin in the mark.
        kwargs["custom_metadata"] = {**(info.custom_metadata or {}), MARK: {"pinned": keep, **(mark or {})}}
        self._deleter.forget(step)
        # For other readers. Orbax drops metrics where it has no best_fn, and warns of their absence where it has one.
        self._orbax_options.best_fn = self.retention.score if metrics is not None else None
        try:
            done = super().save(step, *args, **kwargs)
        except Exception as error:
            raise self._failed(step, error) from error
        if not done:
            raise SaveFailedError(f"step {step} is not saved: Orbax's save policy refused it", step=step)

    def _finish(self, step: int) -> None:
        """Wait for the commit, and do what follows it."""
        try:
            super().wait_until_finished()
            if not self.step_directory(step).is_dir():
                raise SaveFailedError(f"step {step} is not saved: it is not in {self._root}", step=step)
        except Exception as error:
            raise self._failed(step, error) from error
        if jax.process_index() == 0:
            try:
                make_durable(self.step_directory(step))
            except OSError as error:
                log.warning("step %d is saved, but may not outlive a power failure: %s", step, error)
            self._deleter.delete_expired()

    def is_saving_in_progress(self) -> bool:
        """True until the step is committed and what follows is done."""
        pending = self._pending  # another thread may take it away
        return pending is not None and not pending.done()

    def wait_until_finished(self) -> None:
        """Return once nothing is being saved, and what was saved outlives a power failure.

        Raises the failure of a background save that was not told yet.
        """
        with self.exclusive():
            if self._pending is not None:
                try:
                    self._pending.result()
                finally:
                    if self._pending.done():  # not where Ctrl-C ended the waiting
                        self._pending = None

    def check_for_errors(self) -> None:
        """Raise the failure of a background save that ended; returns at once while one is being written."""
        # Orbax's thread calls this while another one waits for it.
        pending = self._pending  # another thread may take it away
        if pending is not None and pending.done():
            self.wait_until_finished()

    def restore(self, step: int | None, *args: Any, **kwargs: Any) -> Any:
        """Load as Orbax does, unverified."""
        with self.exclusive():
            return super().restore(step, *args, **kwargs)

    def delete(self, step: int) -> None:
        """Delete a committed step, pinned or not.

        Raises CheckpointNotFoundError where there is none, DirectoryInUseError where another manager writes,
        CheckpointPermissionError where it may not be deleted, and CheckpointError where it cannot be.
        """
        step = whole_step(step)
        self.check_writable(f"step {step} is not deleted", step)
        with self.changing():
            self.wait_until_finished()
            try:
                self.claim()
                if not primary_says(step in self.all_steps()):
                    raise missing_step(step, self._root, self.all_steps())
                if jax.process_index() == 0:
                    remove_step(self.step_directory(step))
            except OSError as error:
                raise change_failure(error, f"step {step} is not deleted", step) from error
            primary_says(True)  # the others wait
            self.reload()

    def check_writable(self, what_fails: str, step: int) -> None:
        """Raise CheckpointPermissionError, which begins with `what_fails`, where this manager is read-only."""
        if self.read_only:
            raise CheckpointPermissionError(
                f"{what_fails}: the manager of {self._root} is read-only: set one up without read_only=True", step=step
            )

    def close(self) -> None:
        """Wait, let go of everything, and raise what failed and was not made good by a later save."""
        if self._access.forked:
            return  # what is in flight is the parent's
        with self.exclusive():
            if self._closed:
                return
            self._closed = True
            with contextlib.suppress(SaveFailedError):  # it is in _lost, and raised below once everything is let go
                self.wait_until_finished()
            try:
                super().close()
            finally:
                self._background.shutdown()
                self._access.release()
            if self._lost is not None:
                raise self._lost

    def __contextmanager__(self) -> Iterator[CheckpointManager]:
        try:
            yield self
        except BaseException as error:
            try:
                self.close()
            except CheckpointError as lost:  # the body's own error goes first
                if lost is not error:
                    error.add_note(f"and while closing: {lost}")
            raise
        self.close()

    def _check_step(self, step: int) -> None:
        newest = self.latest_step()
        exists = self.step_directory(step).exists()
        if not exists and (newest is None or step > newest):
            return
        what = "already exists" if exists else f"is older than the newest, {newest}"
        raise StepExistsError(
            f"step {step} {what} in {self._root}: save a later step, delete the steps from {step} on, "
            "or choose another directory"
        )

    def _failed(self, step: int, error: Exception) -> SaveFailedError:
        failure = save_failure(error, step, self._root)
        self._lost = failure
        log.error("%s", failure)
        settle_failed_save(self)
        if self._access.claimed and jax.process_index() == 0:
            remove_unfinished(self._root, step)
        return failure


def _let_finish(manager: weakref.ref[CheckpointManager]) -> None:
    """At the end of a program that did not close its manager: what is being saved needs threads to be saved."""
    found = manager()
    if found is not None and found._pending is not None and not found._access.forked:
        futures.wait([found._pending])


def _last_word(manager: weakref.ref[CheckpointManager]) -> None:
    """At the end of a program that did not close its manager: a save that failed is told on stderr."""
    found = manager()
    if found is not None and not found._closed and not found._access.forked:
        found.wait_until_finished()
