"""Deletion of steps, each whole or not at all, and of what killed writers left unfinished."""

from __future__ import annotations

import itertools
import logging
import shutil
from pathlib import Path

from artifex_bench.checkpointing.errors import CheckpointError
from artifex_bench.checkpointing.retention import Retention, find_expired_steps
from artifex_bench.checkpointing.step_info import StepInfo, read_step_info_or_warn
from artifex_bench.checkpointing.steps import list_steps

log = logging.getLogger(__name__)

TEMPORARY = ".orbax-checkpoint-tmp"  # Orbax's suffix: no reader mistakes a folder with it for a step
DISCARDED = f"{TEMPORARY}-deleted"


def delete_step(step_directory: Path) -> None:
    """Delete a committed step. It is renamed first, so that a kill in the middle leaves no incomplete step.

    Args:
        step_directory: The step's folder, or a link to it. The target of a link is left alone.

    Raises:
        OSError: If the step cannot be renamed (it is then whole), or some of its files cannot be deleted (the rest
            has a temporary name and is no longer a step).
    """
    names = itertools.chain([DISCARDED], (f"{DISCARDED}-{number}" for number in itertools.count(1)))
    targets = (step_directory.with_name(step_directory.name + name) for name in names)
    # An earlier deletion of a step of this number may have left its folder.
    target = next(path for path in targets if not path.exists())
    step_directory.rename(target)
    _delete_tree_or_link(target)


def delete_unfinished_save(directory: Path, step: int) -> None:
    """Delete the files of a failed save, which take the space that the next save needs. Errors are ignored.

    Args:
        directory: The directory of the checkpoints.
        step: The step that was not saved.
    """
    for path in directory.glob(f"{step}{TEMPORARY}*"):
        shutil.rmtree(path, ignore_errors=True)


def delete_leftovers(directory: Path) -> None:
    """Delete saves that never committed and deletions that never ended, and log each as a warning.

    Only the directory's one writer may call this, while it saves nothing: nobody else is then at work on them.

    Args:
        directory: The directory of the checkpoints.
    """
    for path in sorted(directory.glob(f"*{TEMPORARY}*")):
        try:
            _delete_tree_or_link(path)
            log.warning("deleted %s, which an interrupted save or deletion left behind", path)
        except OSError as error:
            log.warning("cannot delete %s, which an interrupted save or deletion left behind: %s", path, error)


def _delete_tree_or_link(path: Path) -> None:
    """Delete a folder with its contents, or a link without its target, which may lie in another directory."""
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path)


class Deleter:
    """Deletes the steps that a Retention does not keep, each time a newer step is committed."""

    def __init__(self, directory: Path, retention: Retention) -> None:
        """Start with no knowledge of the steps.

        Args:
            directory: The directory of the checkpoints.
            retention: The steps to keep.
        """
        self._directory = directory
        self._retention = retention
        # Read once per step: no other process changes a directory that this one writes to.
        self._infos: dict[int, StepInfo | None] = {}
        self._stuck: dict[int, str] = {}

    def forget(self, step: int) -> None:
        """Forget a step that is deleted or saved again.

        Args:
            step: The step's number.
        """
        self._infos.pop(step, None)
        self._stuck.pop(step, None)

    def delete_expired(self) -> None:
        """Delete the steps that nothing keeps. A step that cannot be deleted is logged, and tried again next time."""
        try:
            steps = list_steps(self._directory)
        except CheckpointError as error:
            log.warning("no old step is deleted: %s", error)
            return
        for step in find_expired_steps(self._retention, steps, self._get_info):
            try:
                delete_step(self._directory / str(step))
            except OSError as error:
                if self._stuck.get(step) != str(error):  # logged once, not after each save
                    log.warning("step %d cannot be deleted, although its Retention does not keep it: %s", step, error)
                self._stuck[step] = str(error)
            else:
                self.forget(step)

    def _get_info(self, step: int) -> StepInfo | None:
        if step not in self._infos:
            self._infos[step] = read_step_info_or_warn(self._directory / str(step), step)
        return self._infos[step]
