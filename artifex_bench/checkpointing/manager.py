"""The manager: Orbax's CheckpointManager, made to report what it does not report by itself.

A save that failed in the background is raised at the next call and at the end; a step is reported once it is committed,
never before; saving an existing or older step, and metrics that nobody would read, are errors or kept, never dropped.

Orbax writes and commits a step; `saving` does what goes before and after. What is there is listed from the directory,
each time.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from artifex_bench.checkpointing.access import Access
from artifex_bench.checkpointing.errors import (
    CheckpointError,
    CheckpointPermissionError,
    SaveFailedError,
    missing_step,
)
from artifex_bench.checkpointing.formats import Format, resolve_format
from artifex_bench.checkpointing.handlers import registry
from artifex_bench.checkpointing.names import Names, list_steps, whole_step
from artifex_bench.checkpointing.retention import Retention
from artifex_bench.checkpointing.saving import OrbaxSave, Saver, save_arguments
from artifex_bench.checkpointing.step_info import known_info, verified_metadata
from artifex_bench.compat import settle_failed_save


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
        self._saver = Saver(directory, retention, self._access, asynchronous=asynchronous)
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

    # What is there

    def step_directory(self, step: int) -> Path:
        """Where a committed step lies."""
        return self._root / str(step)

    def all_steps(self, read: bool = False) -> list[int]:
        """The committed steps, oldest first, from a new listing; without a step that is still being saved."""
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
        if not self.step_directory(step).is_dir():
            return False
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
        return verified_metadata(self.step_directory(step), step, functools.partial(super().metadata, step))

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

    def save(self, step: int, *args: Any, keep: bool = False, mark: Any = None, **kwargs: Any) -> bool:
        """Save as Orbax does; `keep=True` pins the step. True, or an exception: never a silent False.

        `mark` is what this library's own entry in Orbax's metadata says, see `marks`.

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
            arguments = save_arguments(step, self.retention, keep, mark, kwargs)
            # For other readers. Orbax drops metrics where it has no best_fn, and warns of their absence where it has.
            self._orbax_options.best_fn = self.retention.score if arguments["metrics"] is not None else None
            orbax = OrbaxSave(
                write=functools.partial(super().save, step, *args, **arguments),
                wait=super().wait_until_finished,
                settle=functools.partial(settle_failed_save, self),
            )
            self._saver.save(step, orbax)
        return True

    def is_saving_in_progress(self) -> bool:
        """True until the step is committed and what follows is done."""
        return self._saver.in_progress

    def wait_until_finished(self) -> None:
        """Return once nothing is being saved, and what was saved outlives a power failure.

        Raises the failure of a background save that was not raised yet.
        """
        with self.exclusive():
            self._saver.wait()

    def check_for_errors(self) -> None:
        """Raise the failure of a background save that ended; returns at once while one is being written."""
        # Orbax's thread calls this while another one waits for it.
        if self._saver.ended:
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
            self._saver.delete(step)
            self.reload()

    def check_writable(self, what_fails: str, step: int) -> None:
        """Raise CheckpointPermissionError, which begins with `what_fails`, where this manager is read-only."""
        if self.read_only:
            raise CheckpointPermissionError(
                f"{what_fails}: the manager of {self._root} is read-only: set one up without read_only=True", step=step
            )

    def close(self) -> None:
        """Wait, let go of everything, and raise the last failure unless a later save succeeded."""
        if self._access.forked:
            return  # what is in flight is the parent's
        with self.exclusive():
            if self._closed:
                return
            self._closed = True
            with contextlib.suppress(
                SaveFailedError
            ):  # it is the Saver's `lost`, raised below once everything is let go
                self.wait_until_finished()
            try:
                super().close()
            finally:
                self._saver.close()
            if self._saver.lost is not None:
                raise self._saver.lost

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
