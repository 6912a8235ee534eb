"""Exceptions of the checkpointing package. Imports no JAX.

Each message is one line: the wrong value, the rule, and the remedy. The same data is in attributes.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from typing import Any


class CheckpointError(Exception):
    """Base class of this package's errors. Steps that were saved before the error are intact."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Let pickle, and so multiprocessing, copy the error with its attributes, which `__init__` requires."""
        return _rebuild_error, (type(self), self.args, self.__dict__)


def _rebuild_error(kind: type[CheckpointError], args: tuple[Any, ...], attributes: dict[str, Any]) -> CheckpointError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(attributes)
    return error


class CheckpointNotFoundError(CheckpointError):
    """The requested directory, step or item does not exist.

    Attributes:
        step: The step that was requested, or None if the directory is missing.
        available_steps: The committed steps, if the step does not exist.
        missing_items: The requested items that the step lacks.
        available_items: The items of the step, if one was missing.
    """

    def __init__(
        self,
        message: str,
        *,
        step: int | None = None,
        available_steps: Sequence[int] = (),
        missing_items: Sequence[str] = (),
        available_items: Sequence[str] = (),
    ) -> None:
        """Make the error. The attributes describe its arguments."""
        super().__init__(message)
        self.step = step
        self.available_steps = tuple(available_steps)
        self.missing_items = tuple(missing_items)
        self.available_items = tuple(available_items)


class DirectoryInUseError(CheckpointError):
    """Another manager writes to the directory, in this process or in another one.

    Attributes:
        directory: The directory of the checkpoints.
        process: The id of the process that writes, or None if it is unknown.
        host: The name of that process's machine, or "" if it is unknown.
    """

    def __init__(self, message: str, *, directory: str, process: int | None = None, host: str = "") -> None:
        """Make the error. The attributes describe its arguments."""
        super().__init__(message)
        self.directory, self.process, self.host = directory, process, host


class StepDeletedError(CheckpointNotFoundError):
    """A process that saves deleted the step while this one was reading it."""


class UnsupportedPathError(CheckpointError, ValueError):
    """The path is not that of a local directory, or Orbax or TensorStore would read it differently."""


class StepExistsError(CheckpointError):
    """The step is saved already, or is older than the newest one. Saving it would replace history.

    Attributes:
        step: The step that was to be saved.
        newest: The newest committed step, or None if the step's folder is the only one and is not committed.
    """

    def __init__(self, message: str, *, step: int, newest: int | None) -> None:
        """Make the error. The attributes describe its arguments."""
        super().__init__(message)
        self.step, self.newest = step, newest


class TemplateMismatchError(CheckpointError):
    """The template has another structure, container, shape, dtype or sharding than the saved tree allows.

    Attributes:
        path: The first path that differs, such as "model/layers/0/kernel".
        expected: What the template has at the path, such as "float32[8,4]".
        found: What the checkpoint has at the path.
    """

    def __init__(self, message: str, *, path: str, expected: str, found: str) -> None:
        """Make the error. The attributes describe its arguments."""
        super().__init__(message)
        self.path, self.expected, self.found = path, expected, found


class CorruptCheckpointError(CheckpointError):
    """The stored data differs from the saved data.

    Attributes:
        step: The damaged step.
        file: The damaged file or directory.
        path: The path of the first damaged array, such as "model/norm/scale", or "" if no array is known.
        paths: The paths of all damaged arrays.
    """

    def __init__(self, message: str, *, step: int, file: str, paths: Sequence[str] = ()) -> None:
        """Make the error. The attributes describe its arguments."""
        super().__init__(message)
        self.step, self.file = step, file
        self.path, self.paths = paths[0] if paths else "", tuple(paths)


class UnverifiedCheckpointError(CheckpointError):
    """The step has no digests, because plain Orbax wrote it, and the caller asked for a verified step.

    Attributes:
        step: The step without digests.
    """

    def __init__(self, message: str, *, step: int) -> None:
        """Make the error. The attributes describe its arguments."""
        super().__init__(message)
        self.step = step


class UnsupportedLeafError(CheckpointError, TypeError):
    """A leaf that cannot be saved: it is not an array, a number, a text or a PRNG key.

    Attributes:
        path: The leaf's path in its tree, or "" if the whole tree is meant.
    """

    def __init__(self, message: str, *, path: str = "") -> None:
        """Make the error. The attributes describe its arguments."""
        super().__init__(message)
        self.path = path


class SaveFailedError(CheckpointError):
    """A save that did not commit.

    Attributes:
        step: The step that is not on disk.
    """

    def __init__(self, message: str, *, step: int) -> None:
        """Make the error. The attributes describe its arguments."""
        super().__init__(message)
        self.step = step


class DiskFullError(SaveFailedError):
    """The file system, or the quota, has no space left for the step."""


class CheckpointPermissionError(SaveFailedError):
    """The directory is not readable or writable, its file system is read-only, or the manager is.

    Attributes:
        step: The step that was to be read, saved, moved or deleted, or -1 if the error concerns the directory.
    """


class UnverifiedCheckpointWarning(UserWarning):
    """A checkpoint of plain Orbax was loaded. It has no digests, so damage would go unnoticed."""


def make_missing_step_error(step: int, directory: object, steps: Sequence[int]) -> CheckpointNotFoundError:
    """Make the error for a step that does not exist.

    Args:
        step: The step that was requested.
        directory: The directory of the checkpoints, for the message.
        steps: The committed steps.

    Returns:
        The error, which names the committed steps.
    """
    choice = f"choose one of {', '.join(map(str, steps))}" if steps else "check the directory, which has no steps"
    return CheckpointNotFoundError(
        f"step {step} does not exist in {directory}: {choice}", step=step, available_steps=steps
    )


def make_unknown_name_error(what: str, name: object, valid: Collection[str]) -> ValueError:
    """Make the error for a name that is not in a table.

    Args:
        what: What the name stands for, such as "format".
        name: The unknown name.
        valid: The names in the table.

    Returns:
        The error, with the nearest name if one is near, and the valid names.
    """
    near = difflib.get_close_matches(str(name), valid, 1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return ValueError(f"unknown {what} {name!r}: {hint}valid are {', '.join(valid)}")
