"""Causes of failed saves and loads: turn errors of Orbax and of the file system into this package's. Imports no JAX."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from artifex_bench.checkpointing.errors import (
    CheckpointError,
    CheckpointPermissionError,
    CorruptCheckpointError,
    DiskFullError,
    SaveFailedError,
)

# Orbax raises TensorStore's failures as ValueError or RuntimeError, so that only the text tells the cause.
_FULL_TEXT = ("RESOURCE_EXHAUSTED", "No space left on device", "Disk quota exceeded")
_EXHAUSTED_TEXT = ("RESOURCE_EXHAUSTED", "Too many open files", "Cannot allocate memory", "Out of memory")
_DENIED_TEXT = ("PERMISSION_DENIED", "Permission denied", "Read-only file system", "Operation not permitted")


def iterate_causes(error: BaseException) -> Iterator[BaseException]:
    """Iterate over an error and its causes, outermost first.

    Args:
        error: The error that was caught.

    Yields:
        The error, then each `__cause__` or `__context__`, each once.
    """
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def is_disk_full(error: BaseException) -> bool:
    """Check whether an error was caused by a full disk or an exhausted quota.

    Args:
        error: The error that was caught.

    Returns:
        True if the error or one of its causes has that errno or text.
    """
    return any(_matches(e, (errno.ENOSPC, errno.EDQUOT), _FULL_TEXT) for e in iterate_causes(error))


def is_permission_denied(error: BaseException) -> bool:
    """Check whether an error was caused by a missing permission or a read-only file system.

    Args:
        error: The error that was caught.

    Returns:
        True if the error or one of its causes has that errno or text.
    """
    return any(_matches(e, (errno.EACCES, errno.EPERM, errno.EROFS), _DENIED_TEXT) for e in iterate_causes(error))


def is_resource_exhausted(error: BaseException) -> bool:
    """Check whether an error was caused by a lack of memory or of file handles in this process.

    Args:
        error: The error that was caught.

    Returns:
        True if the error or one of its causes is a MemoryError or has that errno or text.
    """
    numbers = (errno.ENOMEM, errno.EMFILE, errno.ENFILE)
    return any(isinstance(e, MemoryError) or _matches(e, numbers, _EXHAUSTED_TEXT) for e in iterate_causes(error))


def _matches(error: BaseException, numbers: tuple[int, ...], texts: tuple[str, ...]) -> bool:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in numbers
    return any(text in str(error) for text in texts)


def make_save_error(error: BaseException, step: int, directory: object) -> SaveFailedError:
    """Make the error of a save that failed.

    Args:
        error: What Orbax or the file system raised.
        step: The step that was to be saved.
        directory: The directory of the checkpoints, for the message.

    Returns:
        A DiskFullError, a CheckpointPermissionError, or else a SaveFailedError. A SaveFailedError is returned as it is.
    """
    if isinstance(error, SaveFailedError):
        return error
    cause = _get_first_line(error)
    if is_disk_full(error):
        return DiskFullError(
            f"step {step} is not saved because {directory} has no space left: free space or keep fewer steps, "
            f"then save again; older steps are intact ({cause})",
            step=step,
        )
    if is_permission_denied(error):
        return CheckpointPermissionError(
            f"step {step} is not saved because {directory} is not writable: grant write permission or choose "
            f"another directory; older steps are intact ({cause})",
            step=step,
        )
    return SaveFailedError(
        f"step {step} is not saved in {directory} ({type(error).__name__}: {cause}): remove the cause, "
        "then save again; older steps are intact",
        step=step,
    )


def make_load_error(error: Exception, step: int, folder: object) -> CheckpointError:
    """Make the error of a load that failed. Damage is reported only if no other cause explains the failure.

    Args:
        error: What Orbax or the file system raised.
        step: The step that was to be loaded.
        folder: The step's folder, for the message.

    Returns:
        A CheckpointPermissionError, a CheckpointError if memory or file handles ran out, or else a
        CorruptCheckpointError. A CheckpointError is returned as it is.
    """
    if isinstance(error, CheckpointError):
        return error
    cause = f"{type(error).__name__}: {_get_first_line(error)}"
    if is_permission_denied(error):
        return CheckpointPermissionError(
            f"step {step}: {folder} is not readable: grant read permission ({cause})", step=step
        )
    if is_resource_exhausted(error):
        return CheckpointError(
            f"step {step}: {folder} could not be read because memory or file handles ran out: "
            f"free some, then load again ({cause})"
        )
    return CorruptCheckpointError(
        f"step {step}: {folder} cannot be read ({cause}): load an older step", step=step, file=str(folder)
    )


def make_change_error(error: OSError, what_fails: str, step: int) -> CheckpointError:
    """Make the error of a move or a deletion that failed.

    Args:
        error: What the file system raised.
        what_fails: The start of the message, such as "step 3 is not deleted".
        step: The step that was to be moved or deleted.

    Returns:
        A CheckpointPermissionError if a permission is missing, or else a CheckpointError.
    """
    reason = f"{what_fails} ({error.filename or ''}: {error.strerror or error})"
    if is_permission_denied(error):
        return CheckpointPermissionError(f"{reason}: grant write permission, then try again", step=step)
    return CheckpointError(f"{reason}: remove the cause, then try again")


def _get_first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0][:300] or type(error).__name__
