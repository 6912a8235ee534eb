"""Steps: which numbers they may have, and how they are found on disk.

They are found as Orbax does, but a step whose own metadata is damaged, or may not be read, is still found.

Orbax reads every step's time of commit when a manager is opened, and one damaged file would keep all steps from being
read. What the arrays hold is verified by their digests, whatever that file says.
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

from orbax.checkpoint.path import step as steps

from artifex_bench.checkpointing.errors import CheckpointError
from artifex_bench.checkpointing.paths import open_directory

log = logging.getLogger(__name__)

_NAME = re.compile("0|[1-9][0-9]*")  # Orbax's standard name; it is given when the step is committed
MOST_LISTINGS = 10
LAST_STEP = 2**63 - 1  # a larger number has no place in NumPy's and JAX's integers, a much larger one in no file name


def whole_step(step: Any) -> int:
    """The step as an int, from an integer of Python, NumPy or JAX. Raises ValueError for anything else."""
    if isinstance(step, bool) or not hasattr(step, "__index__"):
        raise ValueError(f"step {step!r}: must be a whole number of 0 or more")
    try:
        number = operator.index(step)
    except TypeError:  # arrays of anything but one integer
        raise ValueError(f"step {step!r}: must be a whole number of 0 or more") from None
    if not 0 <= number <= LAST_STEP:
        shown = number if number.bit_length() < 128 else f"of {number.bit_length()} bits"
        raise ValueError(f"step {shown}: must be a whole number of 0 or more, and below 2**63")
    return number


def list_steps(directory: Path) -> list[int]:
    """The committed steps in a directory, oldest first. Raises what `open_directory` raises.

    They are listed until two listings agree: one that is made while a step is renamed into the directory, and an older
    one is deleted from it, may show neither.
    """
    open_directory(directory, create=False)
    try:
        steps = _list_once(directory)
        for _ in range(MOST_LISTINGS):
            before, steps = steps, _list_once(directory)
            if steps == before:
                break
    except OSError as error:
        raise CheckpointError(f"cannot list the steps in {directory}: {error.strerror or error}") from error
    return steps


def _list_once(directory: Path) -> list[int]:
    with os.scandir(directory) as entries:
        numbers = (int(entry.name) for entry in entries if _NAME.fullmatch(entry.name) and entry.is_dir())
        return sorted(number for number in numbers if number <= LAST_STEP)


class Step(steps.Metadata):
    """A step on disk; its time is the folder's where its metadata cannot be read."""

    @property
    def commit_timestamp_nsecs(self) -> int | None:
        """Nanoseconds since the epoch, or None."""
        try:
            found: int | None = super().commit_timestamp_nsecs
        except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
            log.warning("step %d: its metadata in %s cannot be read: %s", self.step, self.path, error)
            return None
        return found

    @property
    def commit_timestamp(self) -> datetime.datetime:
        """When the step was committed; the epoch for one that another process has just deleted."""
        try:
            return super().commit_timestamp
        except OSError:
            return datetime.datetime.fromtimestamp(0, tz=datetime.UTC)


class Names(steps.NameFormat):
    """Orbax's standard names: the step's number."""

    def __init__(self) -> None:
        self._standard = steps.standard_name_format()

    def build_name(self, step: int) -> str:
        """The folder's name."""
        return str(self._standard.build_name(step))

    def find_all(self, base_path: Any) -> Iterator[Step]:
        """Every committed step below a folder."""
        return (Step(found.step, found.path) for found in self._standard.find_all(base_path))

    def find_step(self, base_path: Any, step: int) -> Step:
        """That step. Raises ValueError where it is not there."""
        found = self._standard.find_step(base_path, step)
        return Step(found.step, found.path)
