"""How steps leave a directory: whole or not at all; and what killed writers left in it."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from artifex_bench.checkpointing.errors import CheckpointError
from artifex_bench.checkpointing.names import list_steps
from artifex_bench.checkpointing.retention import Retention, expired
from artifex_bench.checkpointing.step_info import StepInfo, known_info

log = logging.getLogger(__name__)

TEMPORARY = ".orbax-checkpoint-tmp"  # Orbax's: no reader takes a folder of such a name for a step
DISCARDED = f"{TEMPORARY}-deleted"


def remove_step(step_directory: Path) -> None:
    """Delete a committed step. It is renamed first: a kill in the middle leaves no step in parts.

    Raises OSError; the step is then whole, or what is left of it has a temporary name and is no step any more.
    """
    target = step_directory.with_name(step_directory.name + DISCARDED)
    number = 0
    while target.exists():  # left there by an earlier deletion of a step of this number
        number += 1
        target = step_directory.with_name(f"{step_directory.name}{DISCARDED}-{number}")
    step_directory.rename(target)
    _remove(target)


def remove_unfinished(directory: Path, step: int) -> None:
    """Delete what a failed save of a step has written: it would hold the space that the next save needs."""
    for path in directory.glob(f"{step}{TEMPORARY}*"):
        shutil.rmtree(path, ignore_errors=True)


def remove_leftovers(directory: Path) -> None:
    """Delete saves that never committed and deletions that never ended, and log each.

    Only for the directory's one writer, while it saves nothing: nobody else can be at work on them.
    """
    for path in sorted(directory.glob(f"*{TEMPORARY}*")):
        try:
            _remove(path)
            log.warning("removed %s, a save or deletion that was left unfinished", path)
        except OSError as error:
            log.warning("cannot remove %s, a save or deletion that was left unfinished: %s", path, error)


def _remove(path: Path) -> None:
    """Delete a folder, or a link to one: where it leads is not this directory's."""
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path)


class Deleter:
    """Deletes the steps that a Retention does not keep, each time one more is committed."""

    def __init__(self, directory: Path, retention: Retention) -> None:
        self._directory = directory
        self._retention = retention
        self._infos: dict[int, StepInfo | None] = {}  # nobody else changes a directory that is written here
        self._stuck: dict[int, str] = {}

    def forget(self, step: int) -> None:
        """The step is not what it was: it is deleted, or saved again."""
        self._infos.pop(step, None)
        self._stuck.pop(step, None)

    def delete_expired(self) -> None:
        """Delete what nothing keeps. A step that cannot be deleted is logged, and is tried again the next time."""
        try:
            steps = list_steps(self._directory)
        except CheckpointError as error:
            log.warning("no step is deleted: %s", error)
            return
        for step in expired(self._retention, steps, self._info):
            try:
                remove_step(self._directory / str(step))
            except OSError as error:
                if self._stuck.get(step) != str(error):  # once, not each time
                    log.warning("step %d is to be deleted by its Retention, but cannot be: %s", step, error)
                self._stuck[step] = str(error)
            else:
                self.forget(step)

    def _info(self, step: int) -> StepInfo | None:
        if step not in self._infos:
            self._infos[step] = known_info(self._directory / str(step), step)
        return self._infos[step]
