"""This package's mark in Orbax's metadata, which tells that a step was saved with digests.

A step whose digests were deleted must not pass for a step of plain Orbax, which never had any. The mark is stored apart
from the digests: in the metadata of the step and of each item.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MARK = "artifex_bench"
STEP_METADATA = "_CHECKPOINT_METADATA"
TREE_METADATA = "_METADATA"


def read_mark(step_directory: Path) -> dict[str, Any] | None:
    """Read the mark in a step's metadata.

    Args:
        step_directory: The step's folder.

    Returns:
        The mark's entries, {} without a mark (plain Orbax), or None if the metadata is damaged.
    """
    try:
        text = (step_directory / STEP_METADATA).read_text()
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        return None
    try:
        found = json.loads(text)["custom_metadata"] or {}
        return dict(found.get(MARK, {}))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def item_is_marked(item_directory: Path) -> bool:
    """Check whether this package wrote an item.

    Args:
        item_directory: The item's folder in a step.

    Returns:
        True if the item's metadata has the mark, or is too damaged to tell.
    """
    try:
        metadata = json.loads((item_directory / TREE_METADATA).read_text())
        return MARK in (metadata.get("custom_metadata") or {})
    except FileNotFoundError:
        return False
    except (OSError, ValueError, AttributeError):
        return True
