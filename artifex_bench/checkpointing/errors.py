"""What can go wrong with a checkpoint: each a type of its own, with the value, the rule and the remedy. No JAX."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence


class CheckpointError(Exception):
    """Any failure of this library that a caller can act on; the steps saved before it are intact."""


class CheckpointNotFoundError(CheckpointError):
    """The directory, the step or the item asked for is not there."""


class DirectoryInUseError(CheckpointError):
    """Another manager writes to the directory, in this process or another."""


class StepDeletedError(CheckpointNotFoundError):
    """The step was deleted, by the retention of a process that saves, while it was being read."""


class UnsupportedPathError(CheckpointError, ValueError):
    """A path that is no local directory's: a URL, an empty path, or one that Orbax or TensorStore reads otherwise."""


class StepExistsError(CheckpointError):
    """The step is already saved, or is older than the newest saved step: saving it would replace history."""


class TemplateMismatchError(CheckpointError):
    """The template asks for another structure, shape or dtype than was saved; names the first differing path.

    `path` is the first differing path, `expected` what the template has there and `found` what the checkpoint has.
    """

    def __init__(self, message: str, *, path: str, expected: str, found: str) -> None:
        super().__init__(message)
        self.path, self.expected, self.found = path, expected, found


class CorruptCheckpointError(CheckpointError):
    """What is stored is not what was saved; names the step, the file or directory, and the array where one is known.

    `step` is the step, `file` the damaged file or directory, `path` the array's path or "".
    """

    def __init__(self, message: str, *, step: int, file: str, path: str = "") -> None:
        super().__init__(message)
        self.step, self.file, self.path = step, file, path


class UnverifiedCheckpointError(CheckpointError):
    """The step has no digests, because plain Orbax wrote it, and an unverified load was not allowed."""


class UnsupportedLeafError(CheckpointError, TypeError):
    """A leaf that is no array, number, text or PRNG key, and so cannot be saved."""


class SaveFailedError(CheckpointError):
    """A save that did not commit. `step` is the step that is not on disk."""

    def __init__(self, message: str, *, step: int) -> None:
        super().__init__(message)
        self.step = step


class DiskFullError(SaveFailedError):
    """The file system, or the quota, has no room for the step."""


class CheckpointPermissionError(SaveFailedError):
    """The directory may not be read or written, its file system is read-only, or the manager is."""


class UnverifiedCheckpointWarning(UserWarning):
    """A checkpoint without digests (of plain Orbax) was loaded: damage to its data would go unseen."""


# Orbax hands TensorStore's failures on as ValueError or RuntimeError: only the text tells what happened.
_FULL_TEXT = ("RESOURCE_EXHAUSTED", "No space left on device", "Disk quota exceeded")
_EXHAUSTED_TEXT = ("RESOURCE_EXHAUSTED", "Too many open files", "Cannot allocate memory", "Out of memory")
_DENIED_TEXT = ("PERMISSION_DENIED", "Permission denied", "Read-only file system", "Operation not permitted")


def chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what caused it, outermost first."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def is_full(error: BaseException) -> bool:
    """True where the error, or its cause, is a full disk or an exhausted quota."""
    return any(_matches(e, (errno.ENOSPC, errno.EDQUOT), _FULL_TEXT) for e in chain(error))


def is_denied(error: BaseException) -> bool:
    """True where the error, or its cause, is a missing permission or a read-only file system."""
    return any(_matches(e, (errno.EACCES, errno.EPERM, errno.EROFS), _DENIED_TEXT) for e in chain(error))


def is_exhausted(error: BaseException) -> bool:
    """True where the error, or its cause, is a lack of memory or of file handles in this process."""
    numbers = (errno.ENOMEM, errno.EMFILE, errno.ENFILE)
    return any(isinstance(e, MemoryError) or _matches(e, numbers, _EXHAUSTED_TEXT) for e in chain(error))


def _matches(error: BaseException, numbers: tuple[int, ...], texts: tuple[str, ...]) -> bool:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in numbers
    return any(text in str(error) for text in texts)


def save_failure(error: BaseException, step: int, directory: object) -> SaveFailedError:
    """The documented error for a save of `step` that ended in `error`."""
    if isinstance(error, SaveFailedError):
        return error
    cause = _first_line(error)
    if is_full(error):
        return DiskFullError(
            f"step {step} is not saved: no space left for it in {directory}; older steps are intact: "
            f"free space or keep fewer steps, then save again ({cause})",
            step=step,
        )
    if is_denied(error):
        return CheckpointPermissionError(
            f"step {step} is not saved: {directory} may not be written; older steps are intact: "
            f"grant write permission or choose another directory ({cause})",
            step=step,
        )
    return SaveFailedError(
        f"step {step} is not saved in {directory}; older steps are intact: {type(error).__name__}: {cause}",
        step=step,
    )


def load_failure(error: Exception, step: int, folder: object) -> CheckpointError:
    """The documented error for a load of `step` that ended in `error`: damage only where nothing else explains it."""
    if isinstance(error, CheckpointError):
        return error
    cause = f"{type(error).__name__}: {_first_line(error)}"
    if is_denied(error):
        return CheckpointPermissionError(
            f"step {step}: {folder} may not be read: grant read permission ({cause})", step=step
        )
    if is_exhausted(error):
        return CheckpointError(
            f"step {step}: {folder} could not be read, for lack of memory or file handles: "
            f"free some, then load again ({cause})"
        )
    return CorruptCheckpointError(
        f"step {step}: {folder} cannot be read: {cause}: load an older step", step=step, file=str(folder)
    )


def change_failure(error: OSError, what_fails: str, step: int) -> CheckpointError:
    """The documented error for a step that could not be moved or deleted; begins with `what_fails`."""
    message = f"{what_fails}: {error.filename or ''}: {error.strerror or error}"
    return CheckpointPermissionError(message, step=step) if is_denied(error) else CheckpointError(message)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0][:300] or type(error).__name__


def missing_step(step: int, directory: object, steps: Sequence[int]) -> CheckpointNotFoundError:
    """The error for a step that is not there, naming those that are."""
    there = f"there are {', '.join(map(str, steps))}" if steps else "there is none"
    return CheckpointNotFoundError(f"no step {step} in {directory}: {there}")
