"""What was said of a step when it was saved, and decides its fate: its pin, its metrics, the caller's metadata.

It lies in the step's manifest, under the digest of the file. What cannot be verified is None, and None is kept: one
flipped bit must neither delete a step nor change which one is best. Steps of earlier releases and of plain Orbax have
it in Orbax's own files alone, which nothing verifies: it is believed wherever those files are whole.
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
from artifex_bench.checkpointing.marks import MARK, item_is_marked, read_mark

log = logging.getLogger(__name__)

METRICS = Path("metrics", "metrics")  # where Orbax puts them


@dataclass(frozen=True)
class StepInfo:
    """Whether the step is pinned, its metrics (None: it has none), and the caller's metadata (None: unknown)."""

    pinned: bool = False
    metrics: Mapping[str, float] | None = None
    custom_metadata: Mapping[str, Any] | None = None


def read_info(step_directory: Path, step: int) -> StepInfo | None:
    """The StepInfo of a committed step, or None where it is damaged and so unknown."""
    try:
        found = digests.read_info(step_directory, step)
        if found is not None:
            return StepInfo(**found)  # a TypeError where a later release says more of a step
        return StepInfo(_marked_pin(step_directory), _orbax_metrics(step_directory))
    except (CorruptCheckpointError, OSError, ValueError, TypeError):
        return None


def known_info(step_directory: Path, step: int) -> StepInfo | None:
    """As `read_info`, and a damaged one is logged."""
    info = read_info(step_directory, step)
    if info is None:
        log.warning("step %d: its pin and metrics in %s are damaged: the step is kept", step, step_directory)
    return info


def verified_metadata(step_directory: Path, step: int, read: Callable[[], Any]) -> Any:
    """Orbax's metadata of a step, from `read`. Raises CorruptCheckpointError where its StepInfo says otherwise."""
    try:
        found = read()
        if _is_as_saved(read_info(step_directory, step), found):
            return found
    except (ValueError, TypeError, KeyError, AttributeError):
        pass
    raise CorruptCheckpointError(
        f"step {step}: the metadata in {step_directory} is not what was saved", step=step, file=str(step_directory)
    )


def _is_as_saved(info: StepInfo | None, metadata: Any) -> bool:
    """True where Orbax's metadata of a step says what its StepInfo says."""
    if info is None:
        return False
    custom = {name: value for name, value in (metadata.custom_metadata or {}).items() if name != MARK}
    saved = custom if info.custom_metadata is None else info.custom_metadata
    pairs = ((saved, custom), (info.metrics or {}, metadata.metrics or {}))
    return all(json.dumps(dict(ours), sort_keys=True) == json.dumps(theirs, sort_keys=True) for ours, theirs in pairs)


def checked_metadata(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """The caller's metadata as it comes back from JSON. Raises ValueError for what JSON does not hold."""
    if metadata is None:
        return {}
    rule = f"must be a dict from texts other than {MARK!r} to what JSON holds"
    if not isinstance(metadata, Mapping) or any(not isinstance(k, str) or k == MARK for k in metadata):
        raise ValueError(f"custom_metadata {metadata!r}: {rule}")
    try:
        text = json.dumps(dict(metadata), ensure_ascii=False)
        text.encode()  # not for half a surrogate pair
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"custom_metadata {metadata!r}: {rule} ({error})") from error
    as_json: dict[str, Any] = json.loads(text)
    return as_json


def _marked_pin(step_directory: Path) -> bool:
    """The pin as Orbax's metadata has it. Raises ValueError where it was there and is not readable."""
    mark = read_mark(step_directory)
    if mark is None:
        raise ValueError("the step's metadata is damaged")
    if (step_directory / digests.ITEM).is_dir():
        if not isinstance(mark.get("pinned"), bool):
            raise ValueError("the step's mark is damaged")
    elif "digests" in mark or any(item_is_marked(path) for path in step_directory.iterdir() if path.is_dir()):
        raise ValueError("the step's manifest is gone")
    return mark.get("pinned", False) is not False


def _orbax_metrics(step_directory: Path) -> Mapping[str, float] | None:
    file = step_directory / METRICS
    if not file.parent.is_dir():
        return None
    metrics = json.loads(file.read_text())
    if not isinstance(metrics, dict) or not all(isinstance(value, (int, float)) for value in metrics.values()):
        raise ValueError(f"{file} does not hold numbers by name")
    return metrics
