"""The manager: Orbax's CheckpointManager, made to tell what it does not tell by itself.

A save that failed in the background is raised at the next call and at the end; a step is reported once it is committed,
never before; saving an existing or older step, and metrics that nobody would read, are errors or kept, never dropped.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import math
import os
import shutil
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from artifex_bench.checkpointing import retention as retentions
from artifex_bench.checkpointing.durability import make_durable
from artifex_bench.checkpointing.errors import (
    CheckpointError,
    CheckpointPermissionError,
    SaveFailedError,
    StepExistsError,
    change_failure,
    missing_step,
    save_failure,
)
from artifex_bench.checkpointing.formats import Format, resolve_format
from artifex_bench.checkpointing.handlers import DigestHandler, DigestRestore, DigestSave, TreeHandler, TreeSave
from artifex_bench.checkpointing.marks import MARK, read_mark
from artifex_bench.checkpointing.names import Names, list_steps, whole_step
from artifex_bench.checkpointing.paths import open_directory
from artifex_bench.checkpointing.retention import Retention

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
    """See the module; made by `setup_checkpoint_manager`. Orbax's own methods keep their meaning."""

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
        self._pins: dict[int, bool] = {}
        self._pending: int | None = None
        self._lost: SaveFailedError | None = None
        self._closed = False
        registry = ocp.handlers.DefaultCheckpointHandlerRegistry()
        trees = TreeHandler()
        registry.add(None, TreeSave, trees)
        registry.add(None, ocp.args.PyTreeRestore, trees)
        registry.add(None, DigestSave, digests := DigestHandler())
        registry.add(None, DigestRestore, digests)
        self._orbax_options = ocp.CheckpointManagerOptions(
            preservation_policy=retentions.policy(retention, self.is_pinned),
            create=False,
            read_only=read_only,
            enable_async_checkpointing=asynchronous,
            # Made in the background, a directory that cannot be made leaves the writers waiting for it, for minutes.
            async_options=ocp.AsyncOptions(create_directories_asynchronously=False),
            save_interval_steps=0 if read_only else 1,
            step_name_format=Names(),
        )
        super().__init__(directory, options=self._orbax_options, handler_registry=registry)
        atexit.register(_last_word, weakref.ref(self))

    # What is there

    def step_directory(self, step: int) -> Path:
        """Where a committed step lies."""
        return self._root / str(step)

    def all_steps(self, read: bool = False) -> list[int]:
        """The committed steps, oldest first: a step in the background's hands is not among them.

        With `read=True`, and always by a read-only manager, they are listed anew: others may save and delete some.
        """
        if read or self.read_only:
            return list_steps(self._root)
        steps = super().all_steps()
        return [s for s in steps if s != self._pending or self.step_directory(s).is_dir()]

    def latest_step(self) -> int | None:
        """The newest committed step, or None."""
        return max(self.all_steps(), default=None)

    def best_step(self) -> int | None:
        """The committed step that is best by the Retention's metric, or None where no step has it.

        Raises CheckpointError where the Retention names no metric.
        """
        if self.retention.metric is None:
            raise CheckpointError("best_step needs Retention(metric='…'): this manager's Retention names none")
        scored = [(self.retention.score(self.metrics(step)), step) for step in self.all_steps()]
        return max((s for s in scored if s[0] > -math.inf), default=(0.0, None))[1]

    def metrics(self, step: int) -> Any:
        """The metrics saved with a step, or None where there are none or they are damaged (which is logged)."""
        try:
            return super().metrics(step)
        except (ValueError, OSError) as error:
            log.warning("step %d: its metrics in %s cannot be read: %s", step, self.step_directory(step), error)
            return None

    def is_pinned(self, step: int) -> bool:
        """True for a step saved with `keep=True`, and, to be safe, for one whose own metadata is damaged."""
        if step not in self._pins:
            mark = read_mark(self.step_directory(step))
            self._pins[step] = mark is None or bool(mark.get("pinned"))
        return self._pins[step]

    # Saving

    def save(self, step: int, *args: Any, keep: bool = False, **kwargs: Any) -> bool:
        """Save as Orbax does; `keep=True` pins the step. True, or an exception: never a silent False.

        Raises the failure of an earlier background save, StepExistsError for an existing or older step, ValueError
        for metrics that are not numbers or are missing, and DiskFullError, CheckpointPermissionError or
        SaveFailedError for a save that did not commit.
        """
        step = whole_step(step)
        self.check_writable(f"step {step} is not saved", step)
        self.wait_until_finished()
        self._check_step(step)
        kwargs["metrics"] = self.retention.checked(kwargs.get("metrics"))
        mark = {"pinned": keep, **kwargs.pop("mark", {})}
        kwargs["custom_metadata"] = {**(kwargs.get("custom_metadata") or {}), MARK: mark}
        self._pins[step] = keep
        # Orbax drops metrics where it has no best_fn, and warns of their absence where it has one.
        self._orbax_options.best_fn = self.retention.score if kwargs["metrics"] is not None else None
        try:
            done = super().save(step, *args, **kwargs)
        except (CheckpointError, TypeError):
            raise
        except Exception as error:
            raise self._failed(step, error) from error
        if not done:
            raise SaveFailedError(f"step {step} is not saved: Orbax's save policy refused it", step=step)
        self._pending, self._lost = step, None
        if not self.asynchronous:
            self.wait_until_finished()
        return True

    def wait_until_finished(self) -> None:
        """Return once nothing is being saved, and what was saved outlives a power failure.

        Raises the failure of a background save that was not told yet.
        """
        step = self._pending
        try:
            super().wait_until_finished()
            if step is not None and not self.step_directory(step).is_dir():
                raise SaveFailedError(f"step {step} is not saved: it is not in {self._root}", step=step)
        except Exception as error:
            if step is None:
                raise
            self._pending = None
            raise self._failed(step, error) from error
        self._pending = None
        if step is not None and jax.process_index() == 0:
            make_durable(self.step_directory(step))

    def check_for_errors(self) -> None:
        """Raise the failure of a background save that ended; returns at once while one is being written."""
        if self._pending is not None and not self.is_saving_in_progress():
            self.wait_until_finished()

    def delete(self, step: int) -> None:
        """Delete a committed step, pinned or not.

        Raises CheckpointNotFoundError where there is none, CheckpointPermissionError where it may not be deleted, and
        CheckpointError where it cannot be.
        """
        step = whole_step(step)
        self.check_writable(f"step {step} is not deleted", step)
        self.wait_until_finished()
        if step not in self.all_steps():
            self.reload()  # another manager may have saved it
        if step not in self.all_steps():
            raise missing_step(step, self._root, self.all_steps())
        try:
            super().delete(step)
        except OSError as error:
            raise change_failure(error, f"step {step} is not deleted", step) from error
        self._pins.pop(step, None)

    def check_writable(self, what_fails: str, step: int) -> None:
        """Raise CheckpointPermissionError, which begins with `what_fails`, where this manager is read-only."""
        if self.read_only:
            raise CheckpointPermissionError(
                f"{what_fails}: the manager of {self._root} is read-only: set one up without read_only=True", step=step
            )

    def close(self) -> None:
        """Wait, let go of everything, and raise what failed and was not made good by a later save."""
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(SaveFailedError):  # it is in _lost, and raised below once everything is let go
            self.wait_until_finished()
        super().close()
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
        exists = self.step_directory(step).exists()  # also one that another manager saved: Orbax would replace it
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
        self._pins.pop(step, None)
        log.error("%s", failure)
        # What was half written would hold the space that the next save needs.
        if jax.process_index() == 0:
            for half in self._root.glob(f"{step}.orbax-checkpoint-tmp*"):
                shutil.rmtree(half, ignore_errors=True)
        self.reload()  # Orbax has forgotten the steps that this one was to replace
        return failure


def _last_word(manager: weakref.ref[CheckpointManager]) -> None:
    """At the end of a program that did not close its manager: a save that failed is told on stderr."""
    found = manager()
    if found is not None and not found._closed:
        found.wait_until_finished()
