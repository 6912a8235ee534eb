"""StepInfo: a step's pin, metrics and custom metadata, which decide whether the step is kept.

It is stored in the step's manifest, under the digest of the file. A damaged StepInfo reads as None, and its step is
kept: one flipped bit must neither delete a step nor change which one is best. Steps of earlier releases and of plain
Orbax have this data only in Orbax's own files, which nothing verifies. It is used if those files can be read.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from artifex_bench.checkpointing import digests
from artifex_bench.checkpointing.errors import CorruptCheckpointError
from artifex_bench.checkpointing.orbax_metadata import MARK, item_is_marked, read_mark

log = logging.getLogger(__name__)

METRICS = Path("metrics", "metrics")  # Orbax's file for them, in the step's folder


@dataclass(frozen=True)
class StepInfo:
    """The data of a step besides its arrays.

    Attributes:
        pinned: True if no Retention may delete the step.
        metrics: The metrics by name, or None without metrics.
        custom_metadata: The caller's metadata, or None if it is unknown.
    """

    pinned: bool = False
    metrics: Mapping[str, float] | None = None
    custom_metadata: Mapping[str, Any] | None = None


def read_step_info(step_directory: Path, step: int) -> StepInfo | None:
    """Read the StepInfo of a committed step.

    Args:
        step_directory: The step's folder.
        step: The step's number.

    Returns:
        The StepInfo, or None if it is damaged.
    """
    try:
        fields = digests.read_info_fields(step_directory, step)
        if fields is not None:
            return StepInfo(**fields)  # a TypeError if a later release added a field
        return StepInfo(_read_marked_pin(step_directory), _read_orbax_metrics(step_directory))
    except (CorruptCheckpointError, OSError, ValueError, TypeError):
        return None


def read_step_info_or_warn(step_directory: Path, step: int) -> StepInfo | None:
    """Read the StepInfo of a committed step, and log a warning if it is damaged.

    Args:
        step_directory: The step's folder.
        step: The step's number.

    Returns:
        The StepInfo, or None if it is damaged.
    """
    info = read_step_info(step_directory, step)
    if info is None:
        log.warning("step %d: the pin and metrics in %s are damaged, so the step is kept", step, step_directory)
    return info


def verify_metadata(step_directory: Path, step: int, read: Callable[[], Any]) -> Any:
    """Read Orbax's metadata of a step and compare it with the step's StepInfo.

    Args:
        step_directory: The step's folder.
        step: The step's number.
        read: Reads Orbax's metadata.

    Returns:
        Orbax's metadata.

    Raises:
        CorruptCheckpointError: If it differs from the StepInfo, or either is damaged.
    """
    try:
        metadata = read()
        if _matches_step_info(read_step_info(step_directory, step), metadata):
            return metadata
    except (ValueError, TypeError, KeyError, AttributeError):
        pass
    raise CorruptCheckpointError(
        f"step {step}: the metadata in {step_directory} changed after it was saved: use another step, "
        "or restore the files from a copy",
        step=step,
        file=str(step_directory),
    )


def _matches_step_info(info: StepInfo | None, metadata: Any) -> bool:
    """Check whether Orbax's metadata of a step equals its StepInfo."""
    if info is None:
        return False
    custom = {name: value for name, value in (metadata.custom_metadata or {}).items() if name != MARK}
    saved = custom if info.custom_metadata is None else info.custom_metadata
    pairs = ((saved, custom), (info.metrics or {}, metadata.metrics or {}))
    return all(json.dumps(dict(a), sort_keys=True) == json.dumps(b, sort_keys=True) for a, b in pairs)


def check_custom_metadata(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """Check the caller's metadata of a step.

    Args:
        metadata: A dict with text keys and JSON values, or None.

    Returns:
        The metadata as it comes back from JSON, {} for None.

    Raises:
        ValueError: If JSON cannot hold it, or a key is reserved.
    """
    if metadata is None:
        return {}
    rule = f"must be a dict with text keys other than {MARK!r} and values that JSON can hold"
    if not isinstance(metadata, Mapping) or any(not isinstance(k, str) or k == MARK for k in metadata):
        raise ValueError(f"custom_metadata {metadata!r}: {rule}")
    try:
        text = json.dumps(dict(metadata), ensure_ascii=False)
        text.encode()  # fails for half a surrogate pair
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"custom_metadata {metadata!r}: {rule} ({error})") from error
    as_json: dict[str, Any] = json.loads(text)
    return as_json


def _read_marked_pin(step_directory: Path) -> bool:
    """Read the pin from Orbax's metadata. Raise ValueError if the step had one that is not readable."""
    mark = read_mark(step_directory)
    if mark is None:
        raise ValueError("the step's metadata is damaged")
    if (step_directory / digests.DIGESTS_ITEM).is_dir():
        if not isinstance(mark.get("pinned"), bool):
            raise ValueError("the step's mark is damaged")
    elif "digests" in mark or any(item_is_marked(path) for path in step_directory.iterdir() if path.is_dir()):
        raise ValueError("the step's manifest is missing")
    return mark.get("pinned", False) is not False


def _read_orbax_metrics(step_directory: Path) -> Mapping[str, float] | None:
    """Read the metrics from Orbax's file. Raise ValueError if it does not hold numbers by name."""
    file = step_directory / METRICS
    if not file.parent.is_dir():
        return None
    metrics = json.loads(file.read_text())
    if not isinstance(metrics, dict) or not all(isinstance(value, (int, float)) for value in metrics.values()):
        raise ValueError(f"{file} does not hold numbers by name")
    return metrics
