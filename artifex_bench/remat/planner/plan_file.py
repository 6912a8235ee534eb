"""Choices in a file, so that later rounds of a run use the plan of the first."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from artifex_bench.remat.planner.choices import choice_from_json
from artifex_bench.remat.planner.layer_choice import Groups


def write_choices(path: Path, groups: Mapping[str, Groups]) -> None:
    """Write the choices of every stack. The file is replaced as a whole, so a reader never sees half of it."""
    draft = path.with_suffix(f".{os.getpid()}")
    path.parent.mkdir(parents=True, exist_ok=True)
    data = {name: [(count, choice.to_json()) for count, choice in chosen] for name, chosen in groups.items()}
    draft.write_text(json.dumps(data))
    os.replace(draft, path)


def read_choices(path: Path) -> dict[str, Groups] | None:
    """Read the choices of every stack; return None if the file is missing or is not JSON."""
    try:
        data = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return {name: tuple((count, choice_from_json(x)) for count, x in chosen) for name, chosen in data.items()}
