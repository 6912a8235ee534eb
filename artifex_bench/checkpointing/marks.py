"""The second place, apart from the digests themselves, that says a step was saved with digests.

A step whose digests were deleted must not pass for one of plain Orbax, which never had any: the step's metadata and
each item's metadata carry our mark.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MARK = "artifex_bench"
STEP_METADATA = "_CHECKPOINT_METADATA"
TREE_METADATA = "_METADATA"


def read_mark(step_directory: Path) -> dict[str, Any] | None:
    """Our entry in a step's own metadata: {} where it has none (plain Orbax), None where the file is damaged."""
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
    """True where this library wrote the item, or where its metadata is too damaged to tell."""
    try:
        metadata = json.loads((item_directory / TREE_METADATA).read_text())
        return MARK in (metadata.get("custom_metadata") or {})
    except FileNotFoundError:
        return False
    except (OSError, ValueError, AttributeError):
        return True
