"""The checkpoint manager: Orbax's CheckpointManager, with errors that cannot be missed.

A background save that failed is raised at the next call and when the manager is closed. A step is listed once it is
committed, never before. Saving an existing or older step raises, and metrics are always kept.

Orbax writes and commits a step. `saving` does what comes before and after. Steps are listed from the directory at each
call.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from artifex_bench.checkpointing.access import ManagerAccess
from artifex_bench.checkpointing.errors import (
    CheckpointError,
    CheckpointPermissionError,
    SaveFailedError,
    make_missing_step_error,
)
from artifex_bench.checkpointing.formats import Format, resolve_format
from artifex_bench.checkpointing.orbax_handlers import make_handler_registry
from artifex_bench.checkpointing.retention import Retention
from artifex_bench.checkpointing.saving import OrbaxSave, Saver, build_save_arguments
from artifex_bench.checkpointing.step_info import read_step_info_or_warn, verify_metadata
from artifex_bench.checkpointing.steps import StepNames, list_steps, parse_step
from artifex_bench.compat import settle_failed_save


class CheckpointManager(ocp.CheckpointManager):
    """A manager of the checkpoints in one directory, made by `setup_checkpoint_manager`.

    Orbax's own methods keep their meaning. Threads may share a manager: they take turns. Only one manager writes to a
    directory, from its first save until it is closed or garbage collected. A forked process must make its own manager.

    Attributes:
        retention: The steps to keep.
        format: The format of new steps, or None for "auto".
        asynchronous: True if saves write in the background.
        read_only: True if the manager never writes.
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
        """Open the directory. Use `setup_checkpoint_manager`, which checks the arguments first.

        Args:
            directory: An existing local directory.
            retention: The steps to keep.
            format: "auto", a name in FORMATS, or a Format.
            asynchronous: Write saves in the background.
            read_only: Never write.
        """
        self.retention = retention
        self.format = resolve_format(format)
        self.asynchronous = asynchronous
        self.read_only = read_only
        self._root = directory
        self._access = ManagerAccess(directory, read_only=read_only)
        self._saver = Saver(directory, retention, self._access, asynchronous=asynchronous)
        self._closed = False
        self._orbax_options = ocp.CheckpointManagerOptions(
            preservation_policy=policies.LatestN(None),  # keep all: the Deleter decides which steps go
            create=False,
            read_only=read_only,
            enable_async_checkpointing=asynchronous,
            # If Orbax created directories in the background and one failed, its writers would wait for it for minutes.
            async_options=ocp.AsyncOptions(create_directories_asynchronously=False),
            save_interval_steps=0 if read_only else 1,
            step_name_format=StepNames(),
        )
        super().__init__(directory, options=self._orbax_options, handler_registry=make_handler_registry())

    # Reading the directory

    def step_directory(self, step: int) -> Path:
        """Return the folder of a committed step.

        Args:
            step: The step's number. The step need not exist.

        Returns:
            The folder's path.
        """
        return self._root / str(step)

    def all_steps(self, read: bool = False) -> list[int]:
        """List the committed steps. The directory is listed again at each call.

        Args:
            read: Unused. Orbax has it.

        Returns:
            The steps, oldest first, without a step that is still being saved.
        """
        return list_steps(self._root)

    def latest_step(self) -> int | None:
        """Find the newest committed step.

        Returns:
            The step, or None without steps.
        """
        return max(self.all_steps(), default=None)

    def best_step(self) -> int | None:
        """Find the committed step that is best by the Retention's metric.

        Steps with damaged metrics are left out, with a warning in the log.

        Returns:
            The step, or None if no step has the metric.

        Raises:
            CheckpointError: If the Retention names no metric.
        """
        if self.retention.metric is None:
            raise CheckpointError(
                "best_step needs a metric, and this manager's Retention names none: "
                "pass retention=Retention(metric='…') to setup_checkpoint_manager"
            )
        return self.retention.find_best({step: self.metrics(step) for step in self.all_steps()})

    def metrics(self, step: int) -> dict[str, float] | None:
        """Read the metrics of a step.

        Args:
            step: The step's number.

        Returns:
            The metrics by name, or None if the step has none. Damaged metrics are None too, with a warning in the log.
        """
        if not self.step_directory(step).is_dir():
            return None
        info = read_step_info_or_warn(self.step_directory(step), step)
        return dict(info.metrics) if info is not None and info.metrics is not None else None

    def is_pinned(self, step: int) -> bool:
        """Check whether a step was saved with `keep=True`.

        Args:
            step: The step's number.

        Returns:
            True for a pinned step, and for a step whose manifest is damaged, which may have been pinned.
        """
        if not self.step_directory(step).is_dir():
            return False
        info = read_step_info_or_warn(self.step_directory(step), step)
        return info is None or info.pinned

    def metadata(self, step: int | None = None) -> Any:
        """Read Orbax's metadata of a step, or of the directory.

        Args:
            step: The step's number, or None for the directory.

        Returns:
            Orbax's metadata.

        Raises:
            CheckpointNotFoundError: If the step does not exist.
            CorruptCheckpointError: If the step's metrics or custom metadata differ from the saved ones.
        """
        if step is None:
            return super().metadata()
        if step not in self.all_steps():
            raise make_missing_step_error(step, self._root, self.all_steps())
        return verify_metadata(self.step_directory(step), step, functools.partial(super().metadata, step))

    # Access

    def exclusive(self) -> contextlib.AbstractContextManager[None]:
        """Make the manager's other threads wait while a `with` block runs.

        Returns:
            The context manager. It raises CheckpointError in a forked process.
        """
        return self._access.exclusive()

    def changing(self) -> contextlib.AbstractContextManager[None]:
        """Make the manager's other threads wait, as `exclusive` does, around a save, a move or a deletion.

        Returns:
            The context manager. It raises CheckpointError in a forked process, and in a signal handler that interrupts
            another change.
        """
        return self._access.changing()

    def claim(self) -> None:
        """Become the directory's only writer until closed. Saving and deleting do this by themselves.

        Every process of a job calls this.

        Raises:
            DirectoryInUseError: If another manager writes to the directory.
            CheckpointError: If the manager is read-only or closed.
            OSError: If the directory is not writable.
        """
        self._access.claim()

    # Saving

    def save(self, step: int, *args: Any, keep: bool = False, mark: Any = None, **kwargs: Any) -> bool:
        """Save items as Orbax does. Use `save_items`, which adds digests.

        An older step that cannot be deleted is logged, and deleted by a later save: the new step counts as saved.

        Args:
            step: The step's number, newer than all committed steps.
            *args: Positional arguments of Orbax's `save`.
            keep: Pin the step, so that no Retention deletes it.
            mark: This package's entry in Orbax's metadata, see `orbax_metadata`.
            **kwargs: Keyword arguments of Orbax's `save`, such as `args`, `metrics` and `custom_metadata`.

        Returns:
            True. A step that is not saved raises.

        Raises:
            StepExistsError: If the step exists or is older than the newest one.
            ValueError: If a metric is missing or not a number, or JSON cannot hold the custom metadata.
            DirectoryInUseError: If another manager writes to the directory.
            DiskFullError: If there is no space left.
            CheckpointPermissionError: If the directory is not writable or the manager is read-only.
            SaveFailedError: If the step did not commit for another reason, or an earlier background save failed.
            CheckpointError: If the manager is closed, or in a forked process or an interrupting signal handler.
        """
        step = parse_step(step)
        self.check_writable(f"step {step} is not saved", step)
        with self.changing():
            self.wait_until_finished()
            arguments = build_save_arguments(step, self.retention, keep, mark, kwargs)
            # Lets plain Orbax read the metrics too. Orbax drops them without a best_fn, and warns if they are missing
            # with one.
            self._orbax_options.best_fn = self.retention.score if arguments["metrics"] is not None else None
            orbax = OrbaxSave(
                write=functools.partial(super().save, step, *args, **arguments),
                wait=super().wait_until_finished,
                settle=functools.partial(settle_failed_save, self),
            )
            self._saver.save(step, orbax)
        return True

    def is_saving_in_progress(self) -> bool:
        """Check whether a save is in progress.

        Returns:
            True until the step is committed and synced, and older steps are deleted.
        """
        return self._saver.in_progress

    def wait_until_finished(self) -> None:
        """Wait until no save is in progress and the saved steps would survive a power failure.

        Raises:
            SaveFailedError: If a background save failed and was not raised yet.
        """
        with self.exclusive():
            self._saver.wait()

    def check_for_errors(self) -> None:
        """Raise the failure of a background save that ended. Return at once while one is in progress.

        Raises:
            SaveFailedError: If a background save failed and was not raised yet.
        """
        # Orbax's own thread calls this while another thread waits for it.
        if self._saver.ended:
            self.wait_until_finished()

    def restore(self, step: int | None, *args: Any, **kwargs: Any) -> Any:
        """Load as Orbax does, unverified. Use `load_items`, which verifies.

        Args:
            step: The step's number, or None for the latest.
            *args: Positional arguments of Orbax's `restore`.
            **kwargs: Keyword arguments of Orbax's `restore`.

        Returns:
            What Orbax restored.
        """
        with self.exclusive():
            return super().restore(step, *args, **kwargs)

    def delete(self, step: int) -> None:
        """Delete a committed step, even a pinned one.

        Args:
            step: The step's number.

        Raises:
            CheckpointNotFoundError: If the step does not exist.
            DirectoryInUseError: If another manager writes to the directory.
            CheckpointPermissionError: If a permission to delete it is missing, or the manager is read-only.
            CheckpointError: If the step cannot be deleted for another reason.
        """
        step = parse_step(step)
        self.check_writable(f"step {step} is not deleted", step)
        with self.changing():
            self.wait_until_finished()
            self._saver.delete(step)
            self.reload()

    def check_writable(self, what_fails: str, step: int) -> None:
        """Check that the manager is not read-only.

        Args:
            what_fails: The start of the message, such as "step 3 is not saved".
            step: The step that was to be changed.

        Raises:
            CheckpointPermissionError: If the manager is read-only.
        """
        if self.read_only:
            raise CheckpointPermissionError(
                f"{what_fails} because the manager of {self._root} is read-only: make one without read_only=True",
                step=step,
            )

    def close(self) -> None:
        """Wait for the save in progress and let other managers write. In a forked process, do nothing.

        Raises:
            SaveFailedError: The last failure, unless a later save succeeded.
        """
        if self._access.forked:
            return  # a save in progress belongs to the parent
        with self.exclusive():
            if self._closed:
                return
            self._closed = True
            with contextlib.suppress(SaveFailedError):  # raised below, from `lost`, once everything is released
                self.wait_until_finished()
            try:
                super().close()
            finally:
                self._saver.close()
            if self._saver.lost is not None:
                raise self._saver.lost

    def __contextmanager__(self) -> Iterator[CheckpointManager]:
        """Close the manager after a `with` block. Orbax builds `__enter__` and `__exit__` on this."""
        try:
            yield self
        except BaseException as error:
            try:
                self.close()
            except CheckpointError as lost:  # the error of the `with` block is the one to raise
                if lost is not error:
                    error.add_note(f"closing the manager failed too: {lost}")
            raise
        self.close()
