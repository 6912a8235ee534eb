"""Step numbers: which are valid, how steps are named on disk, and how they are listed.

Orbax reads the commit time of every step when it opens a manager, so one damaged metadata file would hide all steps.
The names here let such a step be listed too. Its arrays are verified by their digests, whatever that file says.
"""

from __future__ import annotations

import datetime
import logging
import operator
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orbax.checkpoint.path import step as orbax_steps

from artifex_bench.checkpointing.errors import CheckpointError
from artifex_bench.checkpointing.paths import open_directory

log = logging.getLogger(__name__)

_NAME = re.compile("0|[1-9][0-9]*")  # Orbax's standard name, which a step gets when it is committed
MAX_LISTINGS = 10
LAST_STEP = 2**63 - 1  # the largest that fits NumPy's and JAX's integers


def parse_step(step: Any) -> int:
    """Convert a step to an int.

    Args:
        step: An integer of Python, NumPy or JAX.

    Returns:
        The number.

    Raises:
        ValueError: If it is not a whole number from 0 to LAST_STEP.
    """
    rule = "must be a whole number from 0 to 2**63 - 1"
    try:
        if isinstance(step, bool):
            raise TypeError
        number = operator.index(step)
    except TypeError:  # for an array too, unless it is one integer
        raise ValueError(f"step {step!r}: {rule}") from None
    if not 0 <= number <= LAST_STEP:
        shown = number if number.bit_length() < 128 else f"of {number.bit_length()} bits"
        raise ValueError(f"step {shown}: {rule}")
    return number


def list_steps(directory: Path) -> list[int]:
    """List the committed steps in a directory.

    The directory is listed until two listings agree. A listing made while one step is renamed into the directory and an
    older one is deleted may show neither.

    Args:
        directory: The directory of the checkpoints.

    Returns:
        The steps, oldest first.

    Raises:
        CheckpointNotFoundError: If the directory does not exist.
        CheckpointPermissionError: If it is not readable.
        CheckpointError: If it cannot be listed for another reason.
    """
    open_directory(directory, create=False)
    try:
        steps = _list_steps_once(directory)
        for _ in range(MAX_LISTINGS):
            before, steps = steps, _list_steps_once(directory)
            if steps == before:
                break
    except OSError as error:
        raise CheckpointError(
            f"cannot list the steps in {directory} ({error.strerror or error}): remove the cause, then try again"
        ) from error
    return steps


def _list_steps_once(directory: Path) -> list[int]:
    with os.scandir(directory) as entries:
        numbers = (int(entry.name) for entry in entries if _NAME.fullmatch(entry.name) and entry.is_dir())
        return sorted(number for number in numbers if number <= LAST_STEP)


class StepMetadata(orbax_steps.Metadata):
    """Orbax's metadata of a step. Its times have fallbacks if the step's metadata cannot be read."""

    @property
    def commit_timestamp_nsecs(self) -> int | None:
        """Commit time in nanoseconds since the epoch, or None if the metadata cannot be read."""
        try:
            timestamp: int | None = super().commit_timestamp_nsecs
        except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
            log.warning("step %d: the metadata in %s cannot be read: %s", self.step, self.path, error)
            return None
        return timestamp

    @property
    def commit_timestamp(self) -> datetime.datetime:
        """Commit time, or the epoch for a step that another process has just deleted."""
        try:
            return super().commit_timestamp
        except OSError:
            return datetime.datetime.fromtimestamp(0, tz=datetime.UTC)


class StepNames(orbax_steps.NameFormat):
    """Orbax's standard step names: the number alone."""

    def __init__(self) -> None:
        """Take Orbax's standard names."""
        self._standard = orbax_steps.standard_name_format()

    def build_name(self, step: int) -> str:
        """Build the name of a step's folder.

        Args:
            step: The step's number.

        Returns:
            The name.
        """
        return str(self._standard.build_name(step))

    def find_all(self, base_path: Any) -> Iterator[StepMetadata]:
        """Iterate over the committed steps in a folder.

        Args:
            base_path: The directory of the checkpoints.

        Returns:
            An iterator over the steps.
        """
        return (StepMetadata(found.step, found.path) for found in self._standard.find_all(base_path))

    def find_step(self, base_path: Any, step: int) -> StepMetadata:
        """Find one committed step.

        Args:
            base_path: The directory of the checkpoints.
            step: The step's number.

        Returns:
            The step.

        Raises:
            ValueError: If the step does not exist.
        """
        found = self._standard.find_step(base_path, step)
        return StepMetadata(found.step, found.path)
